package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

func (p *program) initCommand() *cli.Command {
	return &cli.Command{
		Name:  "init",
		Usage: "make a repository",
		Description: examples(`Makes an empty repository. What unlocks it is chosen here: a key file (made when it is missing; it is what scripts and
daemons use), a passphrase, or age and SSH recipients. Without one of them, nobody can read the repository: keep the key
file in a second place too, and not only on the machine that is backed up.

--parity K+M cuts packs into K parts of data and M of parity: any M parts of K+M may be lost. It cannot be changed later.`,
			"cairn init --repo /mnt/disk/backups --key-file ~/.config/cairn/key",
			"cairn init --repo /mnt/disk/backups --parity 20+4",
			"cairn init --repo /mnt/disk/backups --recipient \"$(cat ~/.ssh/id_ed25519.pub)\"",
			"cairn init --repo /mnt/disk/public --no-encryption"),
		Flags: repositoryFlags(
			&cli.StringFlag{Name: "parity", Value: "10+2", Usage: "data and parity parts, `K+M`"},
			&cli.StringSliceFlag{Name: "recipient", Usage: "the age or SSH public key `KEY` opens it too"},
			jsonFlag()),
		Action: p.initAction,
	}
}

func (p *program) initAction(c *cli.Context) error {
	if err := want(c, 0, 0); err != nil {
		return err
	}
	shape, err := stripe.ParseShape(c.String("parity"))
	if err != nil {
		return usagef("--parity: %v", err).hint("for example 10+2")
	}
	d, where, err := openDestination(c)
	if err != nil {
		return err
	}
	plain, err := notEncrypted(c)
	if err != nil {
		return err
	}
	options := chunkstore.InitOptions{Shape: shape, Plain: plain, Random: p.random, Now: p.now()}
	undo := func() error { return nil }
	others := holdsOthers(d)
	if !options.Plain {
		if err := vacant(c.Context, d, where); err != nil {
			return err
		}
		if options.Recipients, options.Labels, undo, err = p.initRecipients(c, d); err != nil {
			return err
		}
	}
	store, err := chunkstore.Init(c.Context, d, options)
	if err != nil {
		return errors.Join(fmt.Errorf("make repository %s: %w", where, err), undo())
	}
	defer store.Close()
	if others {
		p.warn(safe(where) + " was not empty: what else lies there is no part of the repository, and `cairn verify` will name it")
	}
	p.rememberPlace(c, where, store)
	config := store.Config()
	if c.Bool("json") {
		return p.printJSON(map[string]any{"repository": hex.EncodeToString(config.Repository[:]), "place": where,
			"parity": config.Shape.String(), "encrypted": !config.Plain, "created": config.Created})
	}
	encrypted := "encrypted"
	if config.Plain {
		encrypted = "NOT encrypted"
	}
	fmt.Fprintf(p.out, "repository %x made at %s, %s, parity %s\n", config.Repository[:4], safe(where), encrypted, config.Shape)
	return nil
}

// vacant finds out early, before a key is made or a passphrase asked for, that there is a repository already.
func vacant(ctx context.Context, d destination.Destination, where string) error {
	_, err := destination.Stat(ctx, d, "config")
	switch {
	case err == nil:
		return fmt.Errorf("make repository %s: %w", where, chunkstore.ErrRepositoryExists)
	case errors.Is(err, destination.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("make repository %s: %w", where, err)
}

// holdsOthers says whether a directory that is to be a repository holds something already.
func holdsOthers(d destination.Destination) bool {
	place, ok := d.(destination.Directory)
	if !ok {
		return false
	}
	f, err := os.Open(place.Directory())
	if err != nil {
		return false // the common case: it is made now
	}
	defer f.Close()
	names, _ := f.Readdirnames(1)
	return len(names) > 0
}

// initRecipients gives who may open the new repository, and what takes back a key file that was made for it.
func (p *program) initRecipients(c *cli.Context, d destination.Destination) (all []age.Recipient, labels []string, undo func() error, err error) {
	undo = func() error { return nil }
	for _, text := range c.StringSlice("recipient") {
		r, err := keys.ParseRecipient(strings.TrimSpace(text))
		if err != nil {
			return nil, nil, undo, usagef("--recipient: %v", err)
		}
		all, labels = append(all, r), append(labels, "recipient")
	}
	keyFile, err := p.keyFile(c)
	if err != nil {
		return nil, nil, undo, err
	}
	if keyFile != "" {
		recipients, undoKey, err := p.keyFileRecipients(keyFile, d)
		if err != nil {
			return nil, nil, undo, err
		}
		undo = undoKey
		for _, r := range recipients {
			all, labels = append(all, r), append(labels, "key file "+filepath.Base(keyFile))
		}
	} else if len(all) == 0 || c.IsSet("password-file") {
		passphrase, err := p.passphrase(c, true)
		if err != nil {
			return nil, nil, undo, err
		}
		r, err := keys.PassphraseRecipient(passphrase)
		if err != nil {
			return nil, nil, undo, err
		}
		all, labels = append(all, r), append(labels, "passphrase")
	}
	return all, labels, undo, nil
}

// keyFileRecipients reads a key file, or makes it.
func (p *program) keyFileRecipients(path string, d destination.Destination) ([]age.Recipient, func() error, error) {
	kept := func() error { return nil }
	_, err := os.Stat(path)
	switch {
	case err == nil:
		recipients, err := fileRecipients(path)
		return recipients, kept, err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, kept, fmt.Errorf("read key file: %w", err)
	}
	if place, ok := d.(destination.Directory); ok && within(path, place.Directory()) {
		return nil, kept, failf("choose another place for it: whoever finds the repository would find its key",
			"key file %s would lie in the repository itself", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, kept, fmt.Errorf("make key file: %w", err)
	}
	identity, err := p.makeKeyFile(path)
	if err != nil {
		return nil, kept, err
	}
	p.note("new key in %s: keep a copy in another place; without it nobody can read the repository", safe(path))
	return []age.Recipient{identity.Recipient()}, func() error {
		p.note("the new key in %s is removed again", safe(path))
		return os.Remove(path)
	}, nil
}

func within(path, dir string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
