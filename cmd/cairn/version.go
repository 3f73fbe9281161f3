package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/chunkstore"
)

func (p *program) versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version",
		Description: examples("Prints the version of the program and of the repository format.", "cairn version"),
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := want(c, 0, 0); err != nil {
				return err
			}
			if c.Bool("json") {
				return p.printJSON(map[string]any{"version": version, "format": chunkstore.FormatVersion, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintf(p.out, "cairn %s, repository format %d (%s %s/%s)\n", version, chunkstore.FormatVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
