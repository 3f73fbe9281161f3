package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/engine/source/files"
	"github.com/cairn-backup/cairn/index"
)

// repositoryFlags are those of every command that opens a repository.
func repositoryFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "repo", Aliases: []string{"r"}, EnvVars: []string{"CAIRN_REPO"}, Usage: "the repository: a `PATH` or URL"},
		&cli.StringFlag{Name: "key-file", Aliases: []string{"k"}, Usage: "unlock with the age or SSH identity in `FILE` [$CAIRN_KEY_FILE]"},
		&cli.StringFlag{Name: "password-file", Usage: "unlock with the passphrase in the first line of `FILE` [$CAIRN_PASSWORD_FILE]"},
		&cli.StringFlag{Name: "cache-dir", EnvVars: []string{"CAIRN_CACHE_DIR"}, Usage: "keep this host's cache of the index in `DIR`"},
	)
}

// openDestination turns --repo into a place. It is the one function that knows which kinds of places there are.
func openDestination(c *cli.Context) (destination.Destination, string, error) {
	where := c.String("repo")
	if where == "" {
		return nil, "", usagef("no repository is named").hint("give --repo PATH, or set CAIRN_REPO")
	}
	path := where
	if scheme, rest, isURL := strings.Cut(where, "://"); isURL {
		if scheme != "file" {
			return nil, "", usagef("repository %s: this cairn has no destination of the kind %q", where, scheme).
				hint("use a path, or file:// and a path")
		}
		path = rest
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, "", fmt.Errorf("repository %s: %w", where, err)
	}
	d, err := local.New(path)
	if err != nil {
		return nil, "", fmt.Errorf("repository %s: %w", where, err)
	}
	return d, where, nil
}

// openStore opens the chunk store alone; most commands want withRepository. The caller closes it.
func (p *program) openStore(c *cli.Context) (*chunkstore.Store, error) {
	d, where, err := openDestination(c)
	if err != nil {
		return nil, err
	}
	store, err := chunkstore.Open(c.Context, d, p.unlocker(c))
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", where, err)
	}
	return store, nil
}

// withRepository runs a command's work between opening and closing the repository.
func (p *program) withRepository(c *cli.Context, work func(context.Context, *index.Repository) error) error {
	store, err := p.openStore(c)
	if err != nil {
		return err
	}
	defer store.Close()
	repo, err := p.openIndex(c, store)
	if err != nil {
		return fmt.Errorf("open repository %s: %w", c.String("repo"), err)
	}
	err = work(c.Context, repo)
	if closeErr := repo.Close(); err == nil && closeErr != nil {
		return fmt.Errorf("close repository: %w", closeErr)
	}
	return err
}

func (p *program) openIndex(c *cli.Context, store *chunkstore.Store) (*index.Repository, error) {
	cache, err := p.cacheDir(c)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read the host's name: %w", err)
	}
	return index.Open(c.Context, store, index.Options{
		CacheDir: cache, Now: p.now, Random: p.random, Host: host,
		Warn: func(err error) { p.warn(safeLines(err.Error())) },
	})
}

func (p *program) cacheDir(c *cli.Context) (string, error) {
	if dir := c.String("cache-dir"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil { // a daemon without HOME
		return filepath.Join(os.TempDir(), fmt.Sprintf("cairn-cache-%d", os.Getuid())), nil
	}
	return filepath.Join(dir, "cairn"), nil
}

// unlocker finds the key when it is asked for: never, for a repository without encryption. A flag goes before
// the environment, a key file before a passphrase, and the terminal comes last.
func (p *program) unlocker(c *cli.Context) keys.Unlocker {
	return unlockFunc(func() ([]age.Identity, error) {
		keyFile, err := p.keyFile(c)
		if err != nil {
			return nil, err
		}
		if keyFile != "" {
			return keys.IdentityFile(keyFile).Identities()
		}
		passphrase, err := p.passphrase(c, false)
		if err != nil {
			return nil, err
		}
		return keys.Passphrase(passphrase).Identities()
	})
}

// keyFile is the key file that was asked for, or "" when a passphrase was, or nothing.
func (p *program) keyFile(c *cli.Context) (string, error) {
	file, password := c.String("key-file"), c.String("password-file")
	switch {
	case file != "" && password != "":
		return "", usagef("--key-file and --password-file exclude each other")
	case file != "" || password != "":
		return file, nil
	}
	return p.getenv("CAIRN_KEY_FILE"), nil
}

type unlockFunc func() ([]age.Identity, error)

func (f unlockFunc) Identities() ([]age.Identity, error) { return f() }

// passphrase takes it from the password file, the environment or the terminal, where a new one is asked for twice.
func (p *program) passphrase(c *cli.Context, isNew bool) (string, error) {
	path := c.String("password-file")
	if path == "" {
		path = p.getenv("CAIRN_PASSWORD_FILE")
	}
	if path != "" {
		return readPassword(path)
	}
	if secret := p.getenv("CAIRN_PASSWORD"); secret != "" {
		return secret, nil
	}
	if isNew {
		return p.newPassphrase()
	}
	return p.ask("passphrase: ")
}

func (p *program) newPassphrase() (string, error) {
	secret, err := p.ask("new passphrase: ")
	if err != nil {
		return "", err
	}
	again, err := p.ask("once more: ")
	if err != nil {
		return "", err
	}
	if secret != again {
		return "", failf("try again", "the two passphrases differ")
	}
	return secret, nil
}

func (p *program) ask(prompt string) (string, error) {
	if !terminal(p.in) {
		return "", failf("give --key-file FILE or --password-file FILE, or set CAIRN_KEY_FILE, CAIRN_PASSWORD_FILE or CAIRN_PASSWORD",
			"a key is needed, and there is no terminal to ask for one")
	}
	fmt.Fprint(p.err, prompt)
	secret, err := term.ReadPassword(int(p.in.Fd()))
	fmt.Fprintln(p.err)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	if len(secret) == 0 {
		return "", failf("type at least one character", "the passphrase is empty")
	}
	return string(secret), nil
}

// fileSource makes the source of a backup of paths on this host, with the name to give its restore points.
func (p *program) fileSource(c *cli.Context, d destination.Destination) (source.Source, string, error) {
	paths := c.Args().Slice()
	name := c.String("source")
	if name == "" {
		name = files.DefaultName(paths)
	}
	if name == "" {
		return nil, "", usagef("these paths give the source no name").hint("name it with --source NAME")
	}
	options := files.Options{
		Excludes: c.StringSlice("exclude"), ExcludeIfPresent: c.StringSlice("exclude-if-present"),
		ExcludeCaches: c.Bool("exclude-caches"), OneFileSystem: c.Bool("one-file-system"),
		Warn: func(message string) { p.warn(safeLines(message)) },
	}
	for _, path := range c.StringSlice("exclude-file") {
		more, err := files.ReadExcludeFile(path)
		if err != nil {
			return nil, "", err
		}
		options.Excludes = append(options.Excludes, more...)
	}
	if place, ok := d.(destination.Directory); ok {
		options.Avoid = []string{place.Directory()}
	}
	src, err := files.New(paths, options)
	if err != nil {
		return nil, "", err
	}
	return src, name, nil
}

// fileRecipients gives who can open what is sealed to the identities in a key file.
func fileRecipients(path string) ([]age.Recipient, error) {
	identities, err := keys.IdentityFile(path).Identities()
	if err != nil {
		return nil, err
	}
	var all []age.Recipient
	for _, identity := range identities {
		switch i := identity.(type) {
		case *age.X25519Identity:
			all = append(all, i.Recipient())
		case *age.HybridIdentity:
			all = append(all, i.Recipient())
		case *agessh.Ed25519Identity:
			all = append(all, i.Recipient())
		case *agessh.RSAIdentity:
			all = append(all, i.Recipient())
		default:
			return nil, failf("give its public half with --recipient", "key file %s: cannot tell the public key of a %T", path, identity)
		}
	}
	return all, nil
}

// maxPassword bounds what is read of a password file, bytes.
const maxPassword = 64 << 10

func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the password file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", fmt.Errorf("read the password file: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", failf("write the passphrase into its first line", "password file %s: its first line is empty", path)
	}
	return line, nil
}

// makeKeyFile writes a new age identity to a file that must not exist yet, readable by its owner alone.
func (p *program) makeKeyFile(path string) (*age.X25519Identity, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make key file: %w", err)
	}
	_, err = fmt.Fprintf(f, "# cairn key file (an age identity), made %s\n# public key: %s\n%s\n",
		p.now().UTC().Format("2006-01-02T15:04:05Z"), identity.Recipient(), identity)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write key file %s: %w", path, err), os.Remove(path))
	}
	return identity, nil
}
