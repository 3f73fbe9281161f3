package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

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
		if advice := misread(points, text, p.now()); advice != "" {
			err = failf(advice, "%w", err)
		}
		return place{}, errors.Join(err, broken)
	}
	return place{point, spec.Path}, nil
}

// misread says how to write a SPEC that was probably meant otherwise than it reads, or "".
func misread(points []*index.Point, text string, now time.Time) string {
	known := func(source string) bool {
		return slices.ContainsFunc(points, func(p *index.Point) bool { return p.Source == source })
	}
	before, at, hasPath := strings.Cut(text, ":/")
	if known(before) { // though it has an @ or ends in a colon
		text = before + "@latest"
		if hasPath {
			text += ":/" + at
		}
		return "that source needs a time behind its name: " + safe(text)
	}
	before, at, _ = strings.Cut(text, ":")
	source, when, _ := strings.Cut(before, "@")
	isTime := strings.Contains(when, "T") // whose colon it is then
	if _, offset := now.Zone(); isTime && offset != 0 && known(source) {
		whole, path, _ := strings.Cut(text, ":/")
		return "times are UTC, as in the names of restore points; one of this place ends in its offset: " + safe(whole+now.Format("-07:00")+":/"+path)
	}
	if at != "" && !isTime && known(source) {
		return "a path begins with a slash: " + safe(before+":/"+at)
	}
	return ""
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
	return nil, failf(elsewhere(ctx, repo, at), "there is no %s in %s@%s", safe(at.path), safe(at.point.Source), at.point.Name)
}

// elsewhere says where a missing path is: in another restore point, or nearby under another name.
func elsewhere(ctx context.Context, repo *index.Repository, at place) string {
	versions, _ := repo.Versions(ctx, at.point.Source, at.path) // a hint: what cannot be read is told elsewhere
	if len(versions) == 0 {
		return nearby(ctx, repo, at)
	}
	holder := versions[0].Points[0]
	return fmt.Sprintf("%s holds it; `cairn versions %s` shows every state of it",
		safe(holder.Source+"@"+holder.Name), safe(holder.Source+":"+at.path))
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
