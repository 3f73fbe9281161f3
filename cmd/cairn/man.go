package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func (p *program) manCommand() *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "print the man page",
		Description: examples("Prints the man page in roff.", "cairn man | man -l -", "cairn man > /usr/local/share/man/man1/cairn.1"),
		Action: func(c *cli.Context) error {
			if err := want(c, 0, 0); err != nil {
				return err
			}
			describe(c.App.Commands)
			page, err := c.App.ToManWithSection(1)
			if err != nil {
				return fmt.Errorf("write the man page: %w", err)
			}
			_, err = fmt.Fprint(p.out, page)
			return err
		},
	}
}

// describe puts descriptions and examples where the library's man page has a place for them: the usage text.
func describe(commands []*cli.Command) {
	for _, c := range commands {
		c.UsageText = c.HelpName + " " + c.ArgsUsage + "\n\n" + c.Description
		describe(c.Subcommands)
	}
}
