//go:build !linux

package main

import (
	"github.com/urfave/cli/v2"

	"github.com/cairn-backup/cairn/fs"
)

func (p *program) mountInBackground(*cli.Context) error { return fs.ErrUnsupported }

func (p *program) detach(*cli.Context) (bool, error) { return false, nil }
