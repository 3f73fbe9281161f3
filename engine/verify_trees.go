package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// packDamage says what of which packs cannot be read any more.
type packDamage map[chunkstore.PackID]*damagedPack

type damagedPack struct {
	absent  bool               // there is no such object
	missing bool               // absent, or nothing of it can be read
	frames  map[uint32]bool    // that do not open, by offset
	ranges  []chunkstore.Range // of the payload
}

func newDamagedPack(c chunkstore.Check) *damagedPack {
	d := &damagedPack{absent: c.Missing, missing: c.Missing, ranges: c.LostRanges, frames: map[uint32]bool{}}
	var where *chunkstore.DamageError
	if errors.As(c.Err, &where) && where.Length == 0 { // the whole object
		d.missing = true
	}
	for _, f := range c.BadFrames {
		d.frames[f.Offset] = true
	}
	return d
}

// places gives what is lost as the index takes it.
func (p packDamage) places() []index.LostPlaces {
	var all []index.LostPlaces
	for id, d := range p {
		l := index.LostPlaces{Pack: id, Whole: d.missing}
		for offset := range d.frames {
			if !d.missing {
				l.Frames = append(l.Frames, offset)
			}
		}
		if l.Whole || len(l.Frames) > 0 {
			all = append(all, l)
		}
	}
	return all
}

// lost says whether the chunk at a place cannot be read.
func (p packDamage) lost(l chunkstore.Location) bool {
	d := p[l.Pack]
	if d == nil {
		return false
	}
	if d.missing || d.frames[l.Offset] {
		return true
	}
	from, to := int64(l.Offset), int64(l.Offset)+int64(l.Sealed)
	for _, r := range d.ranges {
		if r.Offset < to && from < r.Offset+r.Length {
			return true
		}
	}
	return false
}

// maxClean bounds the memory of directories known to be whole; past it directories are walked more than once.
const maxClean = 1 << 20

// treeCheck looks for every chunk of the trees of all restore points. A directory found whole is not walked
// again where another restore point shares it; one with damage is, so that the files are named in each.
type treeCheck struct {
	v     *verifier
	clean map[uint64]struct{} // by the first bytes of the node's id, which is a keyed hash
	point *index.Point
	path  []string

	searched bool // the repository was searched for a chunk that the index did not list
}

// checkPoints walks the trees of all restore points.
func (v *verifier) checkPoints(ctx context.Context) error {
	points, err := v.repo.Points(ctx)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	// Records that cannot be read have been found as objects; err has no more to tell than that.
	if err != nil && v.report.LostPoints == 0 {
		v.find(Finding{Kind: PointLost, Message: err.Error()})
	}
	// A backup that committed meanwhile refers to packs that are newer than the index as it was read.
	if err := v.repo.Refresh(ctx); err != nil {
		return err
	}
	t := &treeCheck{v: v, clean: map[uint64]struct{}{}}
	for _, p := range points {
		t.point = p
		if _, err := t.root(ctx, p.Root.ID); err != nil {
			return fmt.Errorf("verify %s@%s: %w", p.Source, p.Name, err)
		}
		v.report.Points++
	}
	return nil
}

func (t *treeCheck) root(ctx context.Context, id chunkstore.ID) (clean bool, err error) {
	if t.isClean(id) {
		return true, nil
	}
	root, err := tree.Root(ctx, t.v.repo, id)
	if err != nil {
		return false, t.lostDirectory(ctx, err)
	}
	clean, err = t.dir(ctx, root)
	t.remember(id, clean && err == nil)
	return clean, err
}

// dir checks what is in a directory, whose path is t.path.
func (t *treeCheck) dir(ctx context.Context, e *tree.Entry) (clean bool, err error) {
	if e.Child == (chunkstore.ID{}) || t.isClean(e.Child) {
		return true, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	d, err := tree.OpenDir(ctx, t.v.repo, e.Child)
	if err != nil {
		return false, t.lostDirectory(ctx, err)
	}
	clean = true
	told := false
	for e, err := range d.Entries(ctx, "") {
		if err != nil {
			clean = false
			if !told {
				if err := t.lostDirectory(ctx, err); err != nil {
					return false, err
				}
				told = true
			}
			continue
		}
		t.v.report.Entries++
		t.path = append(t.path, e.Name)
		whole, err := t.entry(ctx, e)
		t.path = t.path[:len(t.path)-1]
		if err != nil {
			return false, err
		}
		clean = clean && whole
	}
	t.remember(e.Child, clean)
	return clean, nil
}

func (t *treeCheck) entry(ctx context.Context, e *tree.Entry) (clean bool, err error) {
	switch e.Type {
	case tree.Directory:
		return t.dir(ctx, e)
	case tree.File:
		return t.file(ctx, e)
	}
	return true, nil
}

// file looks for each chunk of a file.
func (t *treeCheck) file(ctx context.Context, e *tree.Entry) (clean bool, err error) {
	var lost []ByteRange
	var cause string
	off := int64(0)
	for x, err := range tree.Extents(ctx, t.v.repo, e) {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		why := ""
		switch {
		case err != nil:
			why = fmt.Sprintf("its content list cannot be read: %v", err)
		case !x.Hole():
			if why, err = t.chunk(ctx, x.ID); err != nil {
				return false, err
			}
		}
		if why != "" {
			if n := len(lost); n > 0 && lost[n-1].Offset+lost[n-1].Length == off {
				lost[n-1].Length += x.Length
			} else {
				lost = append(lost, ByteRange{off, x.Length})
			}
			if cause == "" {
				cause = why
			}
		}
		off += x.Length
	}
	if len(lost) == 0 {
		return true, nil
	}
	sum := int64(0)
	for _, r := range lost {
		sum += r.Length
	}
	t.v.find(t.finding(FileLost, lost, fmt.Sprintf("%d of %d bytes are lost: %s", sum, e.Size, cause)))
	return false, nil
}

// chunk says why a chunk cannot be read; "" when it can.
func (t *treeCheck) chunk(ctx context.Context, id chunkstore.ID) (why string, err error) {
	t.v.report.Chunks++
	l, ok, err := t.v.repo.Locate(id)
	if err == nil && ok && len(t.v.damage) > 0 && t.v.damage.lost(l) {
		if other, found, err := t.v.repo.Elsewhere(ctx, id, l); found && err == nil {
			l = other
		}
	}
	if err == nil && !ok && !t.searched {
		t.searched = true
		var missing *index.MissingError
		if l, err = t.v.repo.Find(ctx, id); err == nil {
			ok = true
		} else if errors.As(err, &missing) {
			err = nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("locate chunk %s: %w", id, err)
	}
	if !ok {
		return fmt.Sprintf("no index object lists chunk %s", id), nil
	}
	if len(t.v.damage) > 0 && t.v.damage.lost(l) {
		return fmt.Sprintf("chunk %s is in the damaged part of %s", id, l.Pack.ObjectName()), nil
	}
	return "", nil
}

// lostDirectory enters that a node of the directory at t.path cannot be read.
func (t *treeCheck) lostDirectory(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.v.find(t.finding(DirectoryLost, nil, fmt.Sprintf("entries are lost: %v", err)))
	return nil
}

func (t *treeCheck) finding(kind FindingKind, ranges []ByteRange, message string) Finding {
	return Finding{Kind: kind, Source: t.point.Source, Point: t.point.Name, Path: "/" + strings.Join(t.path, "/"),
		Ranges: ranges, Message: message}
}

func (t *treeCheck) isClean(id chunkstore.ID) bool {
	_, ok := t.clean[binary.LittleEndian.Uint64(id[:])]
	return ok
}

func (t *treeCheck) remember(id chunkstore.ID, clean bool) {
	if clean && len(t.clean) < maxClean {
		t.clean[binary.LittleEndian.Uint64(id[:])] = struct{}{}
	}
}
