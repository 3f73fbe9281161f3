package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindGoesDownAPath(t *testing.T) {
	m := newMemory()
	root := m.store(t, dir{"a": dir{"b": dir{"c": "content"}}, "f": "x"})
	for path, want := range map[string]string{"": "", "/": "", ".": "", "a": "a", "/a/b/c": "c", "a//b/./": "b", "f": "f"} {
		e, err := Find(t.Context(), m, root, path)
		if err != nil || e.Name != want {
			t.Errorf("%q: %v, %v", path, e, err)
		}
	}
	for _, path := range []string{"x", "a/x", "f/x", "..", "a/.."} {
		_, err := Find(t.Context(), m, root, path)
		if pe := (*fs.PathError)(nil); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &pe) || pe.Path != path {
			t.Errorf("%q: %v", path, err)
		}
	}
	if e, err := Root(t.Context(), m, root); err != nil || e.Mode != 0o755 || e.Below != (Totals{4, 2, 2, 8}) {
		t.Errorf("root %+v, %v", e, err)
	}
}

func TestWalkGoesInOrderAndSkips(t *testing.T) {
	m := newMemory()
	root := m.store(t, dir{"a": dir{"1": "x", "2": "y", "3": "z"}, "a.b": "x", "c": dir{"d": dir{}}})
	for stop, want := range map[string]string{
		"nowhere": " a a/1 a/2 a/3 a.b c c/d",
		"a":       " a a.b c c/d",
		"a/2":     " a a/1 a/2 a.b c c/d",
		"a.b":     " a a/1 a/2 a/3 a.b",
		"":        "",
	} {
		var seen []string
		err := Walk(t.Context(), m, root, func(path string, e *Entry) error {
			seen = append(seen, path)
			if path == stop {
				return fs.SkipDir
			}
			return nil
		})
		if got := strings.Join(seen, " "); err != nil || got != want {
			t.Errorf("skip at %q: %q, %v; want %q", stop, got, err, want)
		}
	}
	seen := 0
	if err := Walk(t.Context(), m, root, func(string, *Entry) error { seen++; return fs.SkipAll }); err != nil || seen != 1 {
		t.Errorf("skip all: %v after %d", err, seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := Walk(ctx, m, root, func(string, *Entry) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDiffTellsWhatChanged(t *testing.T) {
	m := newMemory()
	same := dir{"x": "x", "y": dir{"z": "z"}}
	old := m.store(t, dir{"gone": "x", "grown": "a", "same": same, "turned": dir{"in": "x"}, "turning": "x", "z": dir{"deep": dir{"f": "1"}},
		"mode": Entry{Type: FIFO, Mode: 0o600}, "ctime": Entry{Type: FIFO, Ctime: 1, Inode: 1, Links: 1}})
	cur := m.store(t, dir{"new": dir{"f": "x"}, "grown": "ab", "same": same, "turned": "x", "turning": dir{"in": "x"}, "z": dir{"deep": dir{"f": "2"}},
		"mode": Entry{Type: FIFO, Mode: 0o644}, "ctime": Entry{Type: FIFO, Ctime: 2, Inode: 2, Links: 2}})
	var got []string
	m.loads = 0
	err := Diff(t.Context(), m, old, cur, func(c Change) error {
		got = append(got, fmt.Sprint(c.Kind, " ", c.Path))
		if (c.Old == nil) != (c.Kind == Added) || (c.New == nil) != (c.Kind == Removed) {
			t.Errorf("%s: old %v, new %v", c.Path, c.Old, c.New)
		}
		return nil
	})
	want := []string{"removed gone", "modified grown", "metadata mode", "added new", "added new/f", "modified turned", "removed turned/in",
		"modified turning", "added turning/in", "modified z/deep/f"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if m.loads > 13 {
		t.Errorf("%d nodes read", m.loads)
	}
	if err := Diff(t.Context(), m, old, old, func(Change) error { return io.ErrUnexpectedEOF }); err != nil {
		t.Error(err)
	}
}

func TestDirectoryThatWasNotReadIsEmpty(t *testing.T) {
	m := newMemory()
	root := m.store(t, dir{"unread": Entry{Type: Directory, Flags: Unreadable}})
	seen := 0
	if err := Walk(t.Context(), m, root, func(string, *Entry) error { seen++; return nil }); err != nil || seen != 2 {
		t.Errorf("%v after %d", err, seen)
	}
	if _, err := Find(t.Context(), m, root, "unread/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
