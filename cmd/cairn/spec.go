package main

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// place is what a SPEC names: a path in a restore point.
type place struct {
	point *index.Point
	path  string // with a leading slash
}

// String is the place as a SPEC.
func (l place) String() string { return l.point.Source + "@" + l.point.Name + ":" + l.path }

// place finds the restore point that a SPEC names. Whether its path exists is not looked at.
func (p *program) place(ctx context.Context, repo *index.Repository, text string) (place, error) {
	spec, err := index.ParseSpec(text)
	if err != nil {
		return place{}, usagef("%v", err).hint("a SPEC is SOURCE@WHEN:/path, for example Documents@3d:/letters")
	}
	points, broken := p.points(ctx, repo)
	point, err := index.Resolve(points, spec.Source, spec.When, p.now())
	if err != nil {
		return place{}, errors.Join(err, broken)
	}
	return place{point, spec.Path}, nil
}

// entry finds what a place names. If there is nothing, the error says what stands nearby.
func entry(ctx context.Context, repo *index.Repository, at place) (*tree.Entry, error) {
	e, err := tree.Find(ctx, repo, at.point.Root.ID, at.path)
	if err == nil {
		return e, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, failf(nearby(ctx, repo, at), "there is no %s in %s@%s", safe(at.path), safe(at.point.Source), at.point.Name)
}

// How many names a hint gives, and how many are looked at for it.
const (
	hintNames = 8
	hintLooks = 10_000
)

// nearby says what exists in the deepest directory on the way to a missing path.
func nearby(ctx context.Context, repo *index.Repository, at place) string {
	missing, dir := path.Base(at.path), path.Dir(path.Clean(at.path))
	parent, err := tree.Find(ctx, repo, at.point.Root.ID, dir)
	for err != nil || !parent.IsDir() {
		if dir == "/" || dir == "." {
			return ""
		}
		missing, dir = path.Base(dir), path.Dir(dir)
		parent, err = tree.Find(ctx, repo, at.point.Root.ID, dir)
	}
	names := firstNames(ctx, repo, parent)
	if len(names) == 0 {
		return safe(dir) + " is there, and empty"
	}
	if near := nearest(missing, names); near != "" {
		return "did you mean " + safe(path.Join(dir, near)) + "?"
	}
	return safe(dir) + " holds " + some(names)
}

func firstNames(ctx context.Context, repo *index.Repository, dir *tree.Entry) []string {
	var names []string
	d, err := tree.OpenDir(ctx, repo, dir.Child)
	if err != nil {
		return nil
	}
	for e, err := range d.Entries(ctx, "") {
		if err != nil || len(names) == hintLooks {
			break
		}
		names = append(names, e.Name)
	}
	return names
}

// some lists the first few of many names.
func some(names []string) string {
	shown := make([]string, 0, hintNames)
	for _, n := range names[:min(len(names), hintNames)] {
		shown = append(shown, safe(n))
	}
	text := strings.Join(shown, ", ")
	if more := len(names) - len(shown); more > 0 {
		text += " and " + count(int64(more)) + " more"
	}
	return text
}
