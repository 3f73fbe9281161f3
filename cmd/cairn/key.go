package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/keys"
)

func (p *program) keyCommand() *cli.Command {
	return &cli.Command{
		Name:  "key",
		Usage: "list, add and remove what opens the repository",
		Description: examples(`A repository has one master key, sealed once for each key slot. Any slot opens it; the last one cannot be removed.
Removing a slot keeps that key from opening the repository from now on; whoever has read the master key with it before
still knows it.`,
			"cairn key list", "cairn key add --new-key-file /media/usb/cairn.key", "cairn key add --new-passphrase", "cairn key remove 3f2a"),
		Subcommands: []*cli.Command{p.keyListCommand(), p.keyAddCommand(), p.keyRemoveCommand()},
	}
}

func (p *program) keyListCommand() *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "list the key slots",
		Description: examples("Lists the key slots.", "cairn key list"),
		Flags:       repositoryFlags(jsonFlag()),
		Action: func(c *cli.Context) error {
			if err := want(c, 0, 0); err != nil {
				return err
			}
			store, err := p.openStore(c)
			if err != nil {
				return err
			}
			defer store.Close()
			slots, err := store.Slots(c.Context)
			if err != nil {
				return fmt.Errorf("list the key slots: %w", err)
			}
			t := table{heads: []string{"SLOT", "KIND", "ADDED", "LABEL"}}
			for _, s := range slots {
				if c.Bool("json") {
					if err := p.printJSON(slotReport{s.ID, s.Kind, s.Label, s.Created}); err != nil {
						return err
					}
				}
				t.add(s.ID, s.Kind, moment(s.Created), p.shown(s.Label))
			}
			if !c.Bool("json") {
				t.print(p.out)
			}
			return nil
		},
	}
}

type slotReport struct {
	Slot    string    `json:"slot"`
	Kind    string    `json:"kind"`
	Label   string    `json:"label"`
	Created time.Time `json:"created"`
}

func (p *program) keyAddCommand() *cli.Command {
	return &cli.Command{
		Name:  "add",
		Usage: "add a key slot",
		Description: examples("Adds a key that opens the repository, and prints its slot.",
			"cairn key add --new-key-file /media/usb/cairn.key", "cairn key add --new-passphrase",
			"cairn key add --recipient age1...", "cairn key add --recipient \"$(cat colleague.pub)\" --label colleague"),
		Flags: repositoryFlags(
			&cli.StringFlag{Name: "new-key-file", Usage: "add the key in `FILE`, which is made when it is missing"},
			&cli.StringFlag{Name: "new-password-file", Usage: "add the passphrase in the first line of `FILE`"},
			&cli.BoolFlag{Name: "new-passphrase", Usage: "add a passphrase typed at the terminal"},
			&cli.StringFlag{Name: "recipient", Usage: "add the age or SSH public key `KEY`"},
			&cli.StringFlag{Name: "label", Usage: "call the slot `NAME`"},
			jsonFlag()),
		Action: p.keyAddAction,
	}
}

func (p *program) keyAddAction(c *cli.Context) error {
	if err := want(c, 0, 0); err != nil {
		return err
	}
	given := 0
	for _, flag := range []string{"new-key-file", "new-password-file", "new-passphrase", "recipient"} {
		if c.IsSet(flag) {
			given++
		}
	}
	if given != 1 {
		return usagef("key add: give exactly one key to add").hint("--new-key-file, --new-password-file, --new-passphrase or --recipient")
	}
	store, err := p.openStore(c)
	if err != nil {
		return err
	}
	defer store.Close()
	if store.Config().Plain { // before a key file is made
		return fmt.Errorf("add a key slot: %w", chunkstore.ErrPlain)
	}
	recipients, label, err := p.newRecipients(c)
	if err != nil {
		return err
	}
	if c.IsSet("label") {
		label = c.String("label")
	}
	for _, r := range recipients {
		slot, err := store.AddSlot(c.Context, r, label, p.now())
		if err != nil {
			return fmt.Errorf("add a key slot: %w", err)
		}
		if c.Bool("json") {
			if err := p.printJSON(slotReport{slot.ID, slot.Kind, slot.Label, slot.Created}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(p.out, slot.ID)
	}
	return nil
}

func (p *program) newRecipients(c *cli.Context) ([]age.Recipient, string, error) {
	switch {
	case c.IsSet("new-key-file"):
		path := c.String("new-key-file")
		d, _, err := openDestination(c)
		if err != nil {
			return nil, "", err
		}
		recipients, _, err := p.keyFileRecipients(path, d)
		return recipients, "key file " + filepath.Base(path), err
	case c.IsSet("recipient"):
		r, err := keys.ParseRecipient(strings.TrimSpace(c.String("recipient")))
		if err != nil {
			return nil, "", usagef("--recipient: %v", err)
		}
		return []age.Recipient{r}, "recipient", nil
	}
	var passphrase string
	var err error
	if c.IsSet("new-password-file") {
		passphrase, err = readPassword(c.String("new-password-file"))
	} else {
		passphrase, err = p.newPassphrase(c.Context)
	}
	if err != nil {
		return nil, "", err
	}
	r, err := keys.PassphraseRecipient(passphrase)
	return []age.Recipient{r}, "passphrase", err
}

func (p *program) keyRemoveCommand() *cli.Command {
	return &cli.Command{
		Name:        "remove",
		Usage:       "remove a key slot",
		ArgsUsage:   "SLOT",
		Description: examples("Removes a key slot; its first letters are enough. The last one cannot be removed.", "cairn key remove 3f2a"),
		Flags:       repositoryFlags(),
		Action: func(c *cli.Context) error {
			if err := want(c, 1, 1); err != nil {
				return err
			}
			store, err := p.openStore(c)
			if err != nil {
				return err
			}
			defer store.Close()
			slots, err := store.Slots(c.Context)
			if err != nil {
				return fmt.Errorf("list the key slots: %w", err)
			}
			id, prefix := "", c.Args().First()
			for _, s := range slots {
				if strings.HasPrefix(s.ID, prefix) {
					if id != "" {
						return usagef("key remove: more than one slot begins with %q", prefix).hint("give more letters of it")
					}
					id = s.ID
				}
			}
			if id == "" {
				id = prefix // the store says that there is none
			}
			if err := store.RemoveSlot(c.Context, id); err != nil {
				return fmt.Errorf("remove key slot %s: %w", safe(id), err)
			}
			return nil
		},
	}
}
