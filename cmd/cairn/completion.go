package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// The shells ask the program itself what could come next: with --generate-bash-completion as the last word it prints it.
const (
	bashCompletion = `_cairn() {
  local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  if [[ $cur == -* ]]; then words+=("$cur"); fi
  mapfile -t COMPREPLY < <(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur")
}
complete -o bashdefault -o default -F _cairn cairn
`
	zshCompletion = `#compdef cairn
_cairn() {
  local -a before answers
  before=("${(@)words[1,CURRENT-1]}")
  if [[ ${words[CURRENT]} == -* ]]; then before+=("${words[CURRENT]}"); fi
  answers=("${(@f)$("${before[@]}" --generate-bash-completion 2>/dev/null)}")
  if [[ -n ${answers[1]} ]]; then _describe cairn answers; else _files; fi
}
compdef _cairn cairn
`
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a completion script for a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: examples("Prints a script that teaches a shell cairn's commands and flags.",
			"source <(cairn completion bash)", "cairn completion fish > ~/.config/fish/completions/cairn.fish"),
		Action: func(c *cli.Context) error {
			if err := want(c, 1, 1); err != nil {
				return err
			}
			var script string
			var err error
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				if script, err = c.App.ToFishCompletion(); err != nil {
					return fmt.Errorf("write the completion script: %w", err)
				}
			default:
				return usagef("completion: there is no script for %q", shell).hint("bash, zsh or fish")
			}
			_, err = fmt.Fprint(p.out, script)
			return err
		},
	}
}
