package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

const longDescription = `cairn keeps backups as a file system. Every completed backup is a restore point that stands alone; mounted, all
restore points are one read-only tree, so that ls, grep -r, diff -r and cp -a are the restore tools.

A repository is named by --repo or CAIRN_REPO and unlocked by --key-file or CAIRN_KEY_FILE (an age or SSH identity file),
--password-file or CAIRN_PASSWORD_FILE, CAIRN_PASSWORD, or a passphrase typed at the terminal.

A SPEC names something in a repository: SOURCE@WHEN:/path. WHEN is latest (the default), a restore point's name, a time
(2026-11-20, 2026-11-20T14:00: the newest restore point not after it) or an age (3d, 12h, 2w, 1mo, 1y: likewise). Times are
UTC, as in the names of restore points, unless they end in an offset (2026-11-20T14:00+02:00).

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, but some files could not be read or damage was found;
130 interrupted.`

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:                      "cairn",
		Usage:                     "backups as a file system",
		UsageText:                 "cairn COMMAND [flags] [arguments]",
		Description:               longDescription,
		Version:                   version,
		Writer:                    p.out,
		ErrWriter:                 p.err,
		Reader:                    p.in,
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true,                         // a comma may stand in a pattern
		ExitErrHandler:            func(*cli.Context, error) {}, // errors.go decides
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return usagef("%v", err)
		},
		Commands: []*cli.Command{
			p.initCommand(), p.backupCommand(), p.pointsCommand(), p.lsCommand(), p.catCommand(), p.findCommand(),
			p.versionsCommand(), p.diffCommand(), p.mountCommand(), p.umountCommand(), p.restoreCommand(), p.verifyCommand(),
			p.repairCommand(), p.forgetCommand(), p.pruneCommand(), p.tagCommand(), p.pinCommand(), p.unpinCommand(), p.keyCommand(), p.statsCommand(), p.versionCommand(), p.manCommand(), p.completionCommand(),
		},
	}
	app.Action = unknownCommand("cairn", app.Commands)
	for _, c := range app.Commands {
		prepare(c)
	}
	return app
}

// prepare gives a command what all of them share.
func prepare(c *cli.Command) {
	c.HideHelpCommand = true
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		return usagef("%v", err).hint("cairn %s --help shows the flags", c.Name)
	}
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
	if len(c.Subcommands) > 0 {
		c.Action = unknownCommand("cairn "+c.Name, c.Subcommands)
	}
}

// unknownCommand is what happens when no command was named below another, or one that there is not.
func unknownCommand(above string, commands []*cli.Command) cli.ActionFunc {
	return func(c *cli.Context) error {
		if !c.Args().Present() {
			if c.Command != nil && len(c.Command.Subcommands) > 0 && c.Lineage()[1].Command != nil {
				return cli.ShowSubcommandHelp(c)
			}
			return cli.ShowAppHelp(c)
		}
		name := c.Args().First()
		err := usagef("there is no command %q", name)
		if known := elsewhereCalled[name]; known != "" {
			return err.hint("%s", known)
		}
		if near := nearest(name, commandNames(commands)); near != "" {
			return err.hint("did you mean %q?", near)
		}
		return err.hint("%s --help lists the commands", above)
	}
}

// elsewhereCalled says what commands that people know from other programs are called here.
var elsewhereCalled = map[string]string{
	"snapshots": "`cairn points` lists restore points",
	"list":      "`cairn points` lists restore points, `cairn ls SPEC` what is in one",
	"create":    "`cairn init` makes a repository, `cairn backup` a restore point",
	"check":     "`cairn verify` finds damage",
	"extract":   "`cairn restore SPEC --to DIR` restores",
	"dump":      "`cairn cat SPEC` prints a file",
	"info":      "`cairn stats` says what the repository holds",
	"unlock":    "cairn has no locks that could be left behind",
	"forget":    "this version of cairn does not drop restore points",
	"prune":     "this version of cairn does not drop restore points",
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Names()...)
	}
	return names
}

// examples sets a command's examples below its description.
func examples(description string, lines ...string) string {
	return description + "\n\nExamples:\n  " + strings.Join(lines, "\n  ")
}

// want checks how many arguments a command was given; most < 0 means any number.
func want(c *cli.Context, least, most int) error {
	n := c.NArg()
	if n >= least && (most < 0 || n <= most) {
		return nil
	}
	usage := strings.TrimSpace("usage: " + c.Command.HelpName + " " + c.Command.ArgsUsage)
	if n < least {
		return usagef("%s: an argument is missing", c.Command.Name).hint("%s", usage)
	}
	return usagef("%s: %q is one argument too many", c.Command.Name, c.Args().Get(most)).hint("%s", usage)
}

// nearest gives the candidate that is most like a word, or "" when none is near.
func nearest(word string, candidates []string) string {
	best, bestDistance := "", len(word)/3+2
	for _, c := range candidates {
		if d := distance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters must change to make one word the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = slices.Min([]int{change, row[j] + 1, row[j+1] + 1})
		}
	}
	return row[len(b)]
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON, one object a line"}
}
