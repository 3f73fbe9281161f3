package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

func (p *program) catCommand() *cli.Command {
	return &cli.Command{
		Name:      "cat",
		Usage:     "print files of a restore point",
		ArgsUsage: "SPEC...",
		Description: examples("Writes the content of files to standard output, and stops at the first byte that cannot be read.",
			"cairn cat Documents@3d:/letters/home.txt", "cairn cat db@latest:/dump.sql.gz | zcat | less"),
		Flags: repositoryFlags(),
		Action: func(c *cli.Context) error {
			if err := want(c, 1, -1); err != nil {
				return err
			}
			return p.withRepository(c, func(ctx context.Context, repo *index.Repository) error {
				for _, text := range c.Args().Slice() {
					if err := p.cat(ctx, repo, text); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (p *program) cat(ctx context.Context, repo *index.Repository, text string) error {
	at, err := p.place(ctx, repo, text)
	if err != nil {
		return err
	}
	e, err := entry(ctx, repo, at)
	if err != nil {
		return err
	}
	if e.Type != tree.File {
		return failf("`cairn ls` lists directories and shows where symlinks lead", "%s is a %s, not a file", safe(at.path), inWords(e.Type))
	}
	if e.Flags&tree.Changed != 0 {
		p.warn(safe(at.path) + " kept changing while it was backed up; its content may mix two states")
	}
	out := bufio.NewWriterSize(p.out, 1<<20)
	if err := writeContent(ctx, repo, e, out); err != nil {
		return fmt.Errorf("read %s: %w", safe(at.String()), err)
	}
	if e.Flags&tree.Unreadable != 0 {
		p.problem(at.path, fmt.Errorf("could not be read entirely when it was backed up"))
		return errPartial
	}
	return nil
}

// inWords is a type of entry in a sentence.
func inWords(t tree.Type) string {
	switch t {
	case tree.Directory:
		return "directory"
	case tree.FIFO:
		return "FIFO"
	case tree.CharDevice, tree.BlockDevice:
		return "device"
	}
	return t.String()
}

func writeContent(ctx context.Context, repo *index.Repository, e *tree.Entry, out *bufio.Writer) (err error) {
	defer func() {
		if flushErr := out.Flush(); err == nil {
			err = flushErr
		}
	}()
	var chunk []byte
	for extent, err := range tree.Extents(ctx, repo, e) {
		if err != nil {
			return err
		}
		if extent.Hole() {
			if _, err := io.CopyN(out, zeros{}, extent.Length); err != nil {
				return err
			}
			continue
		}
		if chunk, err = repo.ReadChunk(ctx, extent.ID, chunk); err != nil {
			return err
		}
		if _, err := out.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// zeros reads as zero bytes without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
