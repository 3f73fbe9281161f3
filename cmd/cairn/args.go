package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts a command line into the order that the cli library understands: command, its flags, "--",
// arguments. So flags may stand before the command, before the arguments or after them; everything behind a
// "--" is an argument.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 || slices.Contains(args, "--generate-bash-completion") {
		return args, nil
	}
	var command *cli.Command
	var words, flags, rest []string
	commands := app.Commands
	everywhere := allFlags(app)
	for i := 1; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case len(arg) > 1 && arg[0] == '-':
			known := everywhere
			if command != nil && len(command.Subcommands) == 0 {
				known = command.Flags
			}
			flags = append(flags, canonical(known, arg)...)
			if takesValue(known, arg) {
				if i+1 == len(args) {
					return nil, usagef("flag %s needs a value", arg)
				}
				i++
				flags = append(flags, args[i])
			}
		case len(rest) == 0 && find(commands, arg) != nil:
			command = find(commands, arg)
			commands = command.Subcommands
			words = append(words, arg)
		default:
			rest = append(rest, arg)
		}
	}
	arranged := slices.Concat(args[:1], words, flags)
	if len(rest) > 0 && command != nil && len(command.Subcommands) == 0 {
		arranged = append(arranged, "--")
	}
	return append(arranged, rest...), nil
}

// canonical writes a flag by its first name, because the library refuses one that is written in two ways on one line
// (-e and --exclude), and takes letters behind one dash (-lR) apart.
func canonical(flags []cli.Flag, arg string) []string {
	name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if f := flagNamed(flags, name); f != nil {
		arg = "--" + f.Names()[0]
		if hasValue {
			arg += "=" + value
		}
		return []string{arg}
	}
	if strings.HasPrefix(arg, "--") || hasValue || len(name) < 2 {
		return []string{arg}
	}
	var letters []string
	for _, letter := range name {
		f, isBool := flagNamed(flags, string(letter)).(*cli.BoolFlag)
		if !isBool {
			return []string{arg}
		}
		letters = append(letters, "--"+f.Name)
	}
	return letters
}

func flagNamed(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func allFlags(app *cli.App) []cli.Flag {
	flags := slices.Clone(app.Flags)
	var gather func([]*cli.Command)
	gather = func(commands []*cli.Command) {
		for _, c := range commands {
			flags = append(flags, c.Flags...)
			gather(c.Subcommands)
		}
	}
	gather(app.Commands)
	return flags
}

// takesValue says whether the word after a flag belongs to it. An unknown flag takes none: the library will
// report it.
func takesValue(flags []cli.Flag, arg string) bool {
	if strings.Contains(arg, "=") {
		return false
	}
	f := flagNamed(flags, strings.TrimLeft(arg, "-"))
	_, isBool := f.(*cli.BoolFlag)
	return f != nil && !isBool
}
