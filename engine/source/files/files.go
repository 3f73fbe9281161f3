package files

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index/tree"
)

// Options choose what is backed up. The zero value takes everything below the paths.
type Options struct {
	// Excludes are patterns in the form of gitignore, relative to the root of the source; the last that
	// matches decides, and one that begins with "!" takes back in.
	Excludes []string
	// ExcludeIfPresent are names; of a directory that holds one of them only that name and the directory are kept.
	ExcludeIfPresent []string
	// ExcludeCaches keeps of directories with a valid CACHEDIR.TAG only that tag.
	ExcludeCaches bool
	// OneFileSystem keeps directories that are mount points, but not what is in them.
	OneFileSystem bool
	// Avoid are directories that are left out wherever they are met, whatever path leads there: the repository.
	Avoid []string
	// Warn, when not nil, is told about what was left out though nobody asked for it. It may be called from
	// several goroutines, one at a time.
	Warn func(message string)
}

// Source is a set of paths on this host.
type Source struct {
	parts    []part
	o        Options
	excludes patterns
	avoid    []place
	owners   owners

	warn   sync.Mutex
	warned map[string]bool
}

// part is one of the paths.
type part struct{ name, path string }

// place is the identity of a directory on this host.
type place struct{ device, inode uint64 }

var _ source.Source = (*Source)(nil)

// New makes a source of the paths, which are made absolute. One directory is itself the root of the tree; one
// file, or several paths, stand in it under their last elements, which must differ.
func New(paths []string, o Options) (*Source, error) {
	if len(paths) == 0 {
		return nil, errors.New("no path to back up")
	}
	s := &Source{o: o, warned: make(map[string]bool)}
	seen := make(map[string]string)
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("make %q absolute: %w", p, err)
		}
		name := lastElement(abs)
		if other, taken := seen[name]; taken && len(paths) > 1 {
			return nil, fmt.Errorf("%s and %s would both stand under the name %q: back them up under two sources", other, abs, name)
		}
		if name == "" && len(paths) > 1 {
			return nil, fmt.Errorf("%s has no name to stand under beside other paths: back it up as a source of its own", abs)
		}
		seen[name] = abs
		s.parts = append(s.parts, part{name, abs})
	}
	slices.SortFunc(s.parts, func(a, b part) int { return strings.Compare(a.name, b.name) })
	var err error
	if s.excludes, err = parsePatterns(o.Excludes); err != nil {
		return nil, err
	}
	for _, dir := range o.Avoid {
		if p, err := placeOf(dir); err == nil {
			s.avoid = append(s.avoid, p)
		}
	}
	return s, nil
}

// Describe implements source.Source.
func (s *Source) Describe() source.Description {
	d := source.Description{Kind: "files"}
	for _, p := range s.parts {
		d.Paths = append(d.Paths, p.path)
	}
	var settings []string
	for _, e := range s.o.Excludes {
		settings = append(settings, fmt.Sprintf("exclude %q", e))
	}
	for _, e := range s.o.ExcludeIfPresent {
		settings = append(settings, fmt.Sprintf("exclude-if-present %q", e))
	}
	if s.o.ExcludeCaches {
		settings = append(settings, "exclude-caches")
	}
	if s.o.OneFileSystem {
		settings = append(settings, "one-file-system")
	}
	d.Settings = strings.Join(settings, "\n")
	return d
}

// Root implements source.Source.
func (s *Source) Root(ctx context.Context, e *tree.Entry) (source.Dir, error) {
	t := &top{s: s}
	for _, p := range s.parts {
		if err := s.refuseRepository(p.path); err != nil {
			return nil, err
		}
		var part tree.Entry
		if err := s.statPath(p.path, &part); err != nil {
			return nil, fmt.Errorf("look at the source: %w", err)
		}
		if len(s.parts) == 1 && part.IsDir() {
			*e = part
			return s.openRoot(p.path, e)
		}
		t.mtime = max(t.mtime, part.Mtime)
	}
	*e = tree.Entry{Type: tree.Directory, Mode: 0o755, Mtime: t.mtime, Ctime: t.mtime, Links: 1}
	s.self(e)
	return t, nil
}

// openRoot opens the only directory of a source and adds its xattrs to e.
func (s *Source) openRoot(path string, e *tree.Entry) (source.Dir, error) {
	d, err := s.openPath(path, e)
	if err != nil {
		return nil, fmt.Errorf("open the source: %w", err)
	}
	if err := d.ownDetails(e); err != nil {
		return nil, errors.Join(fmt.Errorf("read the attributes of %s: %w", path, err), d.Close())
	}
	return d, nil
}

// refuseRepository fails when path is a directory to avoid or lies in one.
func (s *Source) refuseRepository(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("look at the source: %w", err)
	}
	for dir := real; ; dir = filepath.Dir(dir) {
		if p, err := placeOf(dir); err == nil && slices.Contains(s.avoid, p) {
			if dir == real {
				return fmt.Errorf("%s: %w", path, source.ErrRepository)
			}
			return fmt.Errorf("%s lies in the repository %s: %w", path, dir, source.ErrRepository)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// avoided says whether e is a directory to leave out, and tells so once.
func (s *Source) avoided(e *tree.Entry, path string) bool {
	if e.Type != tree.Directory || !slices.Contains(s.avoid, place{e.Device, e.Inode}) {
		return false
	}
	s.tell(fmt.Sprintf("left out %q: it is the repository itself", path))
	return true
}

// tell passes a message on, each but once.
func (s *Source) tell(message string) {
	s.warn.Lock()
	defer s.warn.Unlock()
	if s.o.Warn != nil && !s.warned[message] {
		s.warned[message] = true
		s.o.Warn(message)
	}
}

// top is the root of a source of several paths, or of one that is a file.
type top struct {
	s     *Source
	mtime int64
}

func (t *top) Names(context.Context) ([]string, error) {
	var names []string
	for _, p := range t.s.parts {
		names = append(names, p.name)
	}
	return names, nil
}

func (t *top) path(name string) (string, error) {
	for _, p := range t.s.parts {
		if p.name == name {
			return p.path, nil
		}
	}
	return "", &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

func (t *top) Stat(name string, e *tree.Entry) error {
	path, err := t.path(name)
	if err != nil {
		return err
	}
	if err := t.s.statPath(path, e); err != nil {
		return err
	}
	e.Name = name
	return nil
}

func (t *top) Details(e *tree.Entry) error {
	path, err := t.path(e.Name)
	if err != nil {
		return err
	}
	return t.s.pathDetails(path, e)
}

func (t *top) Dir(e *tree.Entry) (source.Dir, error) {
	path, err := t.path(e.Name)
	if err != nil {
		return nil, err
	}
	d, err := t.s.openPath(path, e)
	if err != nil {
		return nil, err
	}
	d.rel = e.Name + "/"
	return d, nil
}

func (t *top) File(e *tree.Entry) (source.File, error) {
	path, err := t.path(e.Name)
	if err != nil {
		return nil, err
	}
	return t.s.openFile(path)
}

func (t *top) Close() error { return nil }

// DefaultName is the name of a source made from these paths when the user gives none: the last element of
// the only path. It is empty when there are several paths, or when the path has no last element ("/").
func DefaultName(paths []string) string {
	if len(paths) != 1 {
		return ""
	}
	abs, err := filepath.Abs(paths[0])
	if err != nil {
		return ""
	}
	return lastElement(abs)
}

// lastElement is the last element of an absolute path, empty for a root.
func lastElement(abs string) string {
	if name := filepath.Base(abs); name != string(filepath.Separator) && name != "." && filepath.Dir(abs) != abs {
		return name
	}
	return ""
}

// ReadExcludeFile reads patterns, one a line, from a file.
func ReadExcludeFile(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read exclude patterns: %w", err)
	}
	defer f.Close()
	var lines []string
	for in := bufio.NewScanner(f); ; {
		if !in.Scan() {
			if err := in.Err(); err != nil {
				return nil, fmt.Errorf("read exclude patterns from %s: %w", path, err)
			}
			return lines, nil
		}
		lines = append(lines, strings.TrimSuffix(in.Text(), "\r"))
	}
}
