//go:build !linux

package fs

import (
	"context"

	"github.com/cairn-backup/cairn/index"
)

// Mounted is a mount that serves; there is none on this system.
type Mounted struct{}

// Mount answers ErrUnsupported.
func Mount(ctx context.Context, repo *index.Repository, dir string, o Options) (*Mounted, error) {
	return nil, ErrUnsupported
}

// Wait answers ErrUnsupported.
func (m *Mounted) Wait() error { return ErrUnsupported }

// Unmount answers ErrUnsupported.
func (m *Mounted) Unmount() error { return ErrUnsupported }

// Unmount answers ErrUnsupported.
func Unmount(dir string) error { return ErrUnsupported }
