package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/cairn-backup/cairn/chunkstore/keys"
)

// unlocking finds the key when it is asked for. A flag goes before the environment, a key file before a passphrase, and
// the terminal, which comes last, is asked only once it is known that the repository is encrypted.
type unlocking struct {
	p     *program
	c     *cli.Context
	tried string // what was found, for the message when it does not fit
}

// given is the unlocking when a flag or the environment names a key, and nil when nothing does or a repository without
// encryption was asked for.
func (u *unlocking) given() (keys.Unlocker, error) {
	if plain, err := notEncrypted(u.c); plain || err != nil {
		return nil, err
	}
	keyFile, err := u.p.keyFile(u.c)
	if err != nil {
		return nil, err
	}
	if keyFile == "" && u.p.passphraseFrom(u.c) == theTerminal {
		return nil, nil
	}
	return u, nil
}

// notEncrypted says whether a repository without encryption was asked for; then a key in the environment does not count.
func notEncrypted(c *cli.Context) (bool, error) {
	if c.Bool("no-encryption") && (c.IsSet("key-file") || c.IsSet("password-file")) {
		return false, usagef("--no-encryption excludes --key-file and --password-file")
	}
	return c.Bool("no-encryption"), nil
}

// Identities reads the key file, or takes the passphrase.
func (u *unlocking) Identities() ([]age.Identity, error) {
	keyFile, err := u.p.keyFile(u.c)
	if err != nil {
		return nil, err
	}
	if keyFile != "" {
		u.tried = "the key file " + safe(keyFile)
		identities, err := keys.IdentityFile(keyFile).Identities()
		return identities, keyFileAdvice(err)
	}
	passphrase, err := u.p.passphrase(u.c, false)
	if err != nil {
		return nil, err
	}
	u.tried = "the passphrase of " + u.p.passphraseFrom(u.c)
	return keys.Passphrase(passphrase).Identities()
}

// keyFileAdvice adds to an error of a key file what to do next.
func keyFileAdvice(err error) error {
	switch {
	case err == nil, errors.Is(err, os.ErrPermission):
		return err
	case errors.Is(err, os.ErrNotExist):
		return failf("check --key-file and CAIRN_KEY_FILE; a copy of the file does as well, and so does any other key of the repository", "%w", err)
	}
	return failf("a key file holds an age identity (AGE-SECRET-KEY-1...) or the private half of an SSH key without a passphrase", "%w", err)
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

// passphrase takes it from the password file, the environment or the terminal, where a new one is asked for twice.
func (p *program) passphrase(c *cli.Context, isNew bool) (string, error) {
	path := cmp.Or(c.String("password-file"), p.getenv("CAIRN_PASSWORD_FILE"))
	if path != "" {
		return readPassword(path)
	}
	if secret := p.getenv("CAIRN_PASSWORD"); secret != "" {
		return secret, nil
	}
	if isNew {
		return p.newPassphrase(c.Context)
	}
	return p.ask(c.Context, "passphrase: ")
}

const theTerminal = "the terminal"

// passphraseFrom says where passphrase takes it from.
func (p *program) passphraseFrom(c *cli.Context) string {
	path := cmp.Or(c.String("password-file"), p.getenv("CAIRN_PASSWORD_FILE"))
	switch {
	case path != "":
		return "the password file " + safe(path)
	case p.getenv("CAIRN_PASSWORD") != "":
		return "CAIRN_PASSWORD"
	}
	return theTerminal
}

func (p *program) newPassphrase(ctx context.Context) (string, error) {
	secret, err := p.ask(ctx, "new passphrase: ")
	if err != nil {
		return "", err
	}
	again, err := p.ask(ctx, "once more: ")
	if err != nil {
		return "", err
	}
	if secret != again {
		return "", failf("try again", "the two passphrases differ")
	}
	return secret, nil
}

// ask reads a passphrase from the terminal without showing it. An interrupt ends it at once and leaves the terminal as it
// was; the read itself cannot be called off, and ends with the process.
func (p *program) ask(ctx context.Context, prompt string) (string, error) {
	if !terminal(p.in) {
		return "", failf("give --key-file FILE or --password-file FILE, or set CAIRN_KEY_FILE, CAIRN_PASSWORD_FILE or CAIRN_PASSWORD",
			"a key is needed, and there is no terminal to ask for one")
	}
	fd := int(p.in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	fmt.Fprint(p.err, prompt)
	var secret []byte
	done := make(chan error, 1)
	go func() {
		var err error
		secret, err = term.ReadPassword(fd)
		done <- err
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(p.err)
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	case err = <-done:
	}
	fmt.Fprintln(p.err)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	if len(secret) == 0 {
		return "", failf("type at least one character", "the passphrase is empty")
	}
	return string(secret), nil
}

// fileRecipients gives who can open what is sealed to the identities in a key file.
func fileRecipients(path string) ([]age.Recipient, error) {
	identities, err := keys.IdentityFile(path).Identities()
	if err != nil {
		return nil, keyFileAdvice(err)
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
