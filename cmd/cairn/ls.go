package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

func (p *program) lsCommand() *cli.Command {
	return &cli.Command{
		Name:      "ls",
		Usage:     "list a directory of a restore point",
		ArgsUsage: "[SPEC]",
		Description: examples("Lists what a SPEC names, or the sources when there is none.",
			"cairn ls", "cairn ls Documents", "cairn ls -l Documents@3d:/letters", "cairn ls -R --json Documents@2026-11-20"),
		Flags: repositoryFlags(
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "with modes, owners, sizes and times"},
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, Usage: "with everything below; names are paths then"},
			jsonFlag()),
		Action: p.lsAction,
	}
}

func (p *program) lsAction(c *cli.Context) error {
	if err := want(c, 0, 1); err != nil {
		return err
	}
	return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
		if !c.Args().Present() {
			return p.listSources(ctx, repo, c.Bool("json"))
		}
		at, err := p.place(ctx, repo, c.Args().First())
		if err != nil {
			return err
		}
		e, err := entry(ctx, repo, at)
		if err != nil {
			return err
		}
		list := &listing{p: p, json: c.Bool("json"), long: c.Bool("long")}
		switch {
		case !e.IsDir():
			return list.show(path.Base(at.path), e)
		case e.Child.IsZero():
			p.problem(at.path, errors.New("the directory could not be read when it was backed up"))
			return errPartial
		case c.Bool("recursive"):
			return tree.Walk(ctx, repo, e.Child, func(path string, e *tree.Entry) error {
				if path == "" {
					return nil
				}
				return list.show(path, e)
			})
		}
		d, err := tree.OpenDir(ctx, repo, e.Child)
		if err != nil {
			return err
		}
		for e, err := range d.Entries(ctx, "") {
			if err != nil {
				return err
			}
			if err := list.show(e.Name, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *program) listSources(ctx context.Context, repo *index.Repository, asJSON bool) error {
	points, err := p.points(ctx, repo)
	if err != nil && len(points) == 0 {
		return err
	}
	last := ""
	for _, point := range points { // by source
		if point.Source == last {
			continue
		}
		last = point.Source
		if asJSON {
			if err := p.printJSON(map[string]string{"source": last}); err != nil {
				return err
			}
		} else {
			fmt.Fprintln(p.out, p.shown(last))
		}
	}
	return nil
}

// listing prints entries.
type listing struct {
	p          *program
	json, long bool
}

func (l *listing) show(name string, e *tree.Entry) error {
	if l.json {
		return l.p.printJSON(entryJSON(name, e))
	}
	text := l.p.shown(name)
	if l.long {
		if e.Type == tree.Symlink {
			text += " -> " + l.p.shown(e.Target)
		}
		text = fmt.Sprintf("%s %3d %-8s %-8s %s %s %s", modeText(e), e.Links, owner(e.User, e.UID), owner(e.Group, e.GID), sizeText(e),
			moment(time.Unix(0, e.Mtime)), text)
		if remark := flagText(e.Flags); remark != "" {
			text += "  (" + remark + ")"
		}
	}
	_, err := fmt.Fprintln(l.p.out, text)
	return err
}

func owner(name string, id uint32) string {
	if name != "" {
		return name
	}
	return fmt.Sprint(id)
}

func sizeText(e *tree.Entry) string {
	if e.Type == tree.CharDevice || e.Type == tree.BlockDevice {
		major, minor := e.Rdev>>8&0xfff, e.Rdev&0xff|e.Rdev>>12&0xfff00
		return fmt.Sprintf("%12s", fmt.Sprintf("%d, %d", major, minor))
	}
	n := e.Size
	if e.IsDir() {
		n = e.Below.Bytes
	}
	return fmt.Sprintf("%12d", n)
}

func flagText(flags uint8) string {
	var words []string
	if flags&tree.Changed != 0 {
		words = append(words, "changed while it was read")
	}
	if flags&tree.Unreadable != 0 {
		words = append(words, "could not be read")
	}
	return strings.Join(words, ", ")
}

// modeText is the mode as ls -l has it.
func modeText(e *tree.Entry) string {
	letters := map[tree.Type]byte{tree.File: '-', tree.Directory: 'd', tree.Symlink: 'l', tree.FIFO: 'p', tree.Socket: 's', tree.CharDevice: 'c', tree.BlockDevice: 'b'}
	text := []byte("?rwxrwxrwx")
	if letter, ok := letters[e.Type]; ok {
		text[0] = letter
	}
	for i := range 9 {
		if e.Mode&(1<<(8-i)) == 0 {
			text[i+1] = '-'
		}
	}
	special := func(bit uint32, at int, with, without byte) {
		if e.Mode&bit == 0 {
			return
		}
		if text[at] == 'x' {
			text[at] = with
		} else {
			text[at] = without
		}
	}
	special(0o4000, 3, 's', 'S')
	special(0o2000, 6, 's', 'S')
	special(0o1000, 9, 't', 'T')
	return string(text)
}

// The JSON form of an entry.
type entryReport struct {
	jsonName
	Type    string    `json:"type"`
	Mode    string    `json:"mode"`
	Size    int64     `json:"size"`
	Mtime   time.Time `json:"mtime"`
	Ctime   time.Time `json:"ctime"`
	UID     uint32    `json:"uid"`
	GID     uint32    `json:"gid"`
	User    string    `json:"user,omitempty"`
	Group   string    `json:"group,omitempty"`
	Inode   uint64    `json:"inode"`
	Links   uint32    `json:"links"`
	Rdev    uint64    `json:"rdev,omitempty"`
	Target  string    `json:"target,omitempty"`
	Xattrs  []string  `json:"xattrs,omitempty"`
	Content string    `json:"content,omitempty"` // the directory's node
	Flags   string    `json:"flags,omitempty"`
}

func entryJSON(name string, e *tree.Entry) entryReport {
	r := entryReport{
		jsonName: nameJSON(name), Type: e.Type.String(), Mode: fmt.Sprintf("%04o", e.Mode), Size: e.Size,
		Mtime: time.Unix(0, e.Mtime).UTC(), Ctime: time.Unix(0, e.Ctime).UTC(), UID: e.UID, GID: e.GID, User: e.User, Group: e.Group,
		Inode: e.Inode, Links: e.Links, Rdev: e.Rdev, Target: e.Target, Flags: flagText(e.Flags),
	}
	if e.IsDir() {
		r.Content = hex.EncodeToString(e.Child[:])
	}
	for _, x := range e.Xattrs {
		r.Xattrs = append(r.Xattrs, x.Name)
	}
	return r
}
