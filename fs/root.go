//go:build linux

package fs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// root is the mount's topmost folder: the sources that have restore points.
type root struct{ v *view }

func (r *root) attr(out *fuse.Attr) {
	c := r.v.points.Load()
	made(out, syscall.S_IFDIR|0o755, uint32(2+len(c.names)), c.changed)
}
func (r *root) keep() time.Duration { return brief }
func (r *root) fixed() bool         { return false }

func (r *root) find(ctx context.Context, name string) (child, error) {
	if r.v.current(ctx).sources[name] == nil {
		return child{}, errNoEntry
	}
	return child{name: name, kind: &source{v: r.v, name: name}}, nil
}

func (r *root) list(ctx context.Context, after string) ([]child, string, error) {
	if after != "" {
		return nil, "", nil
	}
	var batch []child
	for _, name := range r.v.current(ctx).names {
		batch = append(batch, child{name: name, kind: &source{v: r.v, name: name}})
	}
	return batch, "/", nil
}
