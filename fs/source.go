//go:build linux

package fs

import (
	"context"
	"strings"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// The names in a source's folder that are no restore points.
const (
	latestName   = "latest"
	versionsName = ".versions"
	whenPrefix   = "@"
)

// source is the folder of one source: its restore points, latest, and unlisted @WHEN and .versions. Those two stay out of
// the listing so that a find or cp -r of the folder does not walk every state of every file again.
type source struct {
	v    *view
	name string
}

func (s *source) attr(out *fuse.Attr) {
	h := s.v.points.Load().history(s.name)
	made(out, syscall.S_IFDIR|0o755, uint32(2+len(h.points)), h.changed())
}
func (s *source) keep() time.Duration { return brief }
func (s *source) fixed() bool         { return false }

func (s *source) find(ctx context.Context, name string) (child, error) {
	c := s.v.current(ctx)
	h := c.history(s.name)
	if p := h.byName[name]; p != nil {
		return s.v.pointChild(ctx, p), nil
	}
	switch {
	case len(h.points) == 0:
	case name == latestName:
		return linkTo(name, h.latest()), nil
	case name == versionsName:
		return child{name: name, kind: newVersions(s.v, s.name)}, nil
	case strings.HasPrefix(name, whenPrefix) && len(name) > 1 && s.v.now != nil:
		p, err := index.Resolve(h.points, s.name, name[len(whenPrefix):], s.v.now())
		if err != nil {
			return child{}, errNoEntry
		}
		return linkTo(name, p), nil
	}
	return child{}, errNoEntry
}

func (s *source) list(ctx context.Context, after string) ([]child, string, error) {
	if after != "" {
		return nil, "", nil
	}
	h := s.v.current(ctx).history(s.name)
	var batch []child
	for _, p := range h.points {
		if _, known := s.v.roots.Load(p.Sequence); known {
			batch = append(batch, s.v.pointChild(ctx, p))
			continue
		}
		batch = append(batch, child{name: p.Name}) // reading a tree for each of perhaps thousands would be slow
	}
	if len(h.points) > 0 {
		batch = append(batch, linkTo(latestName, h.latest()))
	}
	return batch, "/", nil
}

// linkTo is a symlink to a restore point of the same folder.
func linkTo(name string, p *index.Point) child {
	return child{name: name, salt: mix(p.Sequence, xxhash.Sum64String(p.Name)),
		kind: &link{to: p.Name, changed: p.Finished, kept: brief}}
}

// pointChild is the folder of a restore point: the topmost directory that was backed up, kept only briefly, since it
// goes when the point is forgotten.
func (v *view) pointChild(ctx context.Context, p *index.Point) child {
	e, err := v.rootEntry(ctx, p)
	if err != nil {
		v.report("/"+p.Source+"/"+p.Name, err)
	}
	c := v.entryChild(p.Sequence, e)
	c.name, c.salt = p.Name, mix(p.Sequence, 0)
	if d, ok := c.kind.(*dir); ok {
		d.kept = brief
		if c.ino == 0 {
			c.ino = mix(p.Sequence, 2)
		}
	}
	return c
}

// rootEntry is the topmost directory of a restore point, or a stand-in that shows the point's times when it cannot be
// read: then listing it gives the error.
func (v *view) rootEntry(ctx context.Context, p *index.Point) (*tree.Entry, error) {
	if e, ok := v.roots.Load(p.Sequence); ok {
		return e.(*tree.Entry), nil
	}
	e, err := tree.Root(ctx, v.repo, p.Root.ID)
	if err != nil {
		return &tree.Entry{Type: tree.Directory, Mode: 0o700, Child: p.Root.ID, Mtime: p.Finished.UnixNano(), Ctime: p.Finished.UnixNano()}, err
	}
	if e.Mtime == 0 && e.Mode == 0 { // a bare directory, without the metadata of a topmost one
		bare := *e
		bare.Type, bare.Mode = tree.Directory, 0o755
		bare.Mtime, bare.Ctime = p.Finished.UnixNano(), p.Finished.UnixNano()
		e = &bare
	}
	v.roots.Store(p.Sequence, e)
	return e, nil
}
