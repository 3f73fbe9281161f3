package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

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
		&cli.BoolFlag{Name: "no-encryption", Usage: "the repository is not encrypted: anybody may read and alter it; damage is still found"},
		&cli.BoolFlag{Name: "accept-changed", Usage: "take the repository for the right one though this host knows another at its place"},
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
	key := &unlocking{p: p, c: c}
	unlocker, err := key.given()
	if err != nil {
		return nil, err
	}
	store, err := chunkstore.Open(c.Context, d, unlocker)
	if errors.Is(err, chunkstore.ErrKeyNeeded) && !c.Bool("no-encryption") {
		store, err = chunkstore.Open(c.Context, d, key) // from the terminal
	}
	if errors.Is(err, keys.ErrWrongKey) && !holdsObjects(c.Context, d, "keys/") {
		return nil, failf("put the folder keys/ back from a copy of the repository; without a slot of it no key opens the repository",
			"open repository %s: all its key slots are gone", where)
	}
	if errors.Is(err, keys.ErrWrongKey) && key.tried != "" {
		return nil, fmt.Errorf("open repository %s with %s: %w", where, key.tried, err)
	}
	if errors.Is(err, chunkstore.ErrNoRepository) && holdsObjects(c.Context, d, "points/", "packs/") {
		return nil, failf("put config or spare/ back from a copy of the repository; make no new one there",
			"open repository %s: its config and the spare copy of it are gone, while the rest is there", where)
	}
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", where, err)
	}
	if err := p.checkPlace(c, where, store); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// holdsObjects says whether a destination holds anything in one of some folders of a repository.
func holdsObjects(ctx context.Context, d destination.Destination, folders ...string) bool {
	found := false
	enough := errors.New("enough")
	for _, folder := range folders {
		_ = d.List(ctx, folder, func(destination.Info) error { // for a better message only
			found = true
			return enough
		})
	}
	return found
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
	err := index.CheckSource(name)
	if err == nil && strings.ContainsFunc(name, unicode.IsControl) {
		err = fmt.Errorf("%q cannot be the name of a source: it has a control character", name)
	}
	if err != nil {
		return nil, "", usagef("%v", err).hint("name it with --source NAME")
	}
	for _, path := range paths {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			return nil, "", failf("nothing was backed up; check the path, and whether its disk is mounted",
				"back up %s: there is no %s", safe(name), safe(path))
		}
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
