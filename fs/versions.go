//go:build linux

package fs

import (
	"context"
	"errors"
	iofs "io/fs"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// versions is a folder below .versions: one path of a source over all its restore points. Its children are the names that
// stand below that path in any of them, as folders again, and every distinct state of the path that is no directory, under
// the name of the oldest restore point that has it.
type versions struct {
	v      *view
	source string
	name   string
	above  *versions // nil at the top

	mu     sync.Mutex
	of     *catalog // what states was found from
	states []state
}

// state is one distinct state of a path.
type state struct {
	e     *tree.Entry
	since *index.Point // the oldest restore point that has it
}

func newVersions(v *view, source string) *versions { return &versions{v: v, source: source} }

// resolve gives the distinct states of the path, found anew when the restore points have changed.
func (n *versions) resolve(ctx context.Context) ([]state, error) {
	c := n.v.current(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == c {
		return n.states, nil
	}
	var found []state
	if n.above == nil {
		for _, p := range c.history(n.source).points {
			e, err := n.v.rootEntry(ctx, p)
			if err != nil {
				n.v.report("/"+p.Source+"/"+p.Name, err)
				continue
			}
			found = addState(found, e, p)
		}
	} else {
		above, err := n.above.resolve(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range above {
			e, err := n.v.lookup(ctx, s.e, n.name)
			if err != nil {
				n.v.report("/"+n.source+"/"+s.since.Name, err)
			}
			if e != nil {
				found = addState(found, e, s.since)
			}
		}
	}
	n.of, n.states = c, found
	return found, nil
}

// addState adds a state unless an equal one is there; points come oldest first at the top, and are kept so.
func addState(states []state, e *tree.Entry, p *index.Point) []state {
	for i := range states {
		if tree.SameContent(states[i].e, e) {
			if p.Sequence < states[i].since.Sequence {
				states[i].since = p
			}
			return states
		}
	}
	return append(states, state{e, p})
}

// lookup finds a name in a directory; nil when it is not there or e is no directory.
func (v *view) lookup(ctx context.Context, e *tree.Entry, name string) (*tree.Entry, error) {
	if !e.IsDir() || e.Child.IsZero() {
		return nil, nil
	}
	d, err := v.openDir(ctx, e.Child)
	if err != nil {
		return nil, err
	}
	found, err := d.Lookup(ctx, name)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, nil
	}
	return found, err
}

// attr shows who may look: nobody sees here what the directories of the restore points would hide.
func (n *versions) attr(out *fuse.Attr) {
	made(out, syscall.S_IFDIR, 1, time.Time{})
	states, err := n.resolve(n.v.ctx)
	if err != nil {
		return
	}
	perm := uint32(0o555)
	for i, s := range states {
		mode := s.e.Mode
		if !s.e.IsDir() {
			mode |= mode & 0o444 >> 2 // who may read the file may enter the folder of its versions
		}
		perm &= mode
		switch {
		case i == 0:
			out.Uid, out.Gid = s.e.UID, s.e.GID
		case out.Uid != s.e.UID || out.Gid != s.e.GID:
			out.Uid, out.Gid = 0, 0
			perm &= perm & 0o005 * 0o111 // only what everybody may, since the owners differ
		}
		setTimes(out, max(s.e.Mtime, int64(out.Mtime)*1e9+int64(out.Mtimensec)), s.e.Ctime)
	}
	out.Mode |= perm
}

func (n *versions) keep() time.Duration { return brief }
func (n *versions) fixed() bool         { return false }

func (n *versions) find(ctx context.Context, name string) (child, error) {
	states, err := n.resolve(ctx)
	if err != nil {
		return child{}, err
	}
	if slices.ContainsFunc(states, func(s state) bool { return s.e.IsDir() }) {
		below := n.below(name)
		if found, err := below.resolve(ctx); err != nil || len(found) > 0 {
			return child{name: name, kind: below}, err
		}
	}
	for _, s := range states {
		if !s.e.IsDir() && s.since.Name == name {
			return n.stateChild(s), nil
		}
	}
	return child{}, errNoEntry
}

func (n *versions) below(name string) *versions {
	return &versions{v: n.v, source: n.source, name: name, above: n}
}

func (n *versions) stateChild(s state) child {
	c := n.v.entryChild(s.since.Sequence, s.e)
	c.name, c.salt = s.since.Name, mix(s.since.Sequence, 1)
	return c
}

// list gives the versions first, then the names below, as many at once as the first leaf of each state holds: a name is given
// once all states have been read up to it.
func (n *versions) list(ctx context.Context, after string) ([]child, string, error) {
	states, err := n.resolve(ctx)
	if err != nil {
		return nil, "", err
	}
	var batch []child
	if after == "" {
		for _, s := range states {
			if !s.e.IsDir() {
				batch = append(batch, n.stateChild(s))
			}
		}
		sort.Slice(batch, func(i, j int) bool { return batch[i].name < batch[j].name })
	}
	names, next, err := n.names(ctx, states, strings.TrimPrefix(after, "/"))
	if err != nil {
		return nil, "", err
	}
	for _, name := range names {
		batch = append(batch, child{name: name})
	}
	return batch, "/" + next, nil
}

// names gives the next names of all directories among the states, and the last of them.
func (n *versions) names(ctx context.Context, states []state, after string) ([]string, string, error) {
	seen := map[string]bool{}
	horizon := "" // the least last name of a leaf: what is behind it may be incomplete
	for _, s := range states {
		if !s.e.IsDir() || s.e.Child.IsZero() {
			continue
		}
		d, err := n.v.openDir(ctx, s.e.Child)
		if err != nil {
			return nil, "", err
		}
		for leaf, err := range d.Leaves(ctx, after) {
			if err != nil {
				return nil, "", err
			}
			for i := range leaf {
				seen[leaf[i].Name] = true
			}
			if len(leaf) > 0 {
				if last := leaf[len(leaf)-1].Name; horizon == "" || last < horizon {
					horizon = last
				}
				break
			}
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		if name <= horizon {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names, horizon, nil
}
