//go:build !linux

package engine

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cairn-backup/cairn/index/tree"
)

// place is the target of a restore where Linux's calls are missing. It stays inside the target by os.Root, and restores
// files, directories, symlinks, hard links, modes and times; owners, attributes and special files are noted as missing.
type place struct {
	root      *folder
	dir       *os.Root
	isNew     bool
	overwrite bool
	notes     notes
	temps     atomic.Uint64
}

type folderHandle struct{}

func (h *folderHandle) init() {}

func openPlace(target string, overwrite bool) (*place, error) {
	p := &place{overwrite: overwrite, root: newFolder(nil, "", nil)}
	if err := os.MkdirAll(target, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(target)
	if err != nil {
		return nil, err
	}
	p.dir = dir
	f, err := dir.Open(".")
	if err != nil {
		dir.Close()
		return nil, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	p.isNew = errors.Is(err, io.EOF)
	return p, nil
}

func (p *place) fresh() bool { return p.isNew }

func (p *place) close() { p.dir.Close() }

func endsRestore(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS)
}

// inTarget gives the path of a name relative to the target.
func inTarget(f *folder, name string) string {
	path := name
	for ; f != nil && f.parent != nil; f = f.parent {
		path = filepath.Join(f.name, path)
	}
	if path == "" {
		return "."
	}
	return path
}

func (p *place) look(f *folder, name string) (exists, isDir bool, err error) {
	info, err := p.dir.Lstat(inTarget(f, name))
	if errors.Is(err, iofs.ErrNotExist) {
		return false, false, nil
	}
	return err == nil, err == nil && info.IsDir(), err
}

func (p *place) names(f *folder, fn func(name string) error) error {
	dir, err := p.dir.Open(inTarget(f, ""))
	if err != nil {
		return err
	}
	list, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return err
	}
	for _, name := range list {
		if err := fn(name); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) makeFolder(f *folder) (found bool, err error) {
	path := inTarget(f.parent, f.name)
	exists, isDir, err := p.look(f.parent, f.name)
	switch {
	case err != nil:
		return false, err
	case exists && isDir:
		return true, nil
	case exists && !p.overwrite:
		return false, errExists
	case exists:
		if err := p.dir.Remove(path); err != nil {
			return false, fmt.Errorf("replace what has that name: %w", err)
		}
	}
	return false, p.dir.Mkdir(path, 0o700)
}

func (p *place) finishFolder(f *folder) error {
	if f.entry == nil {
		return nil
	}
	return p.attributes(inTarget(f, ""), f.entry)
}

func (p *place) attributes(path string, e *tree.Entry) error {
	if len(e.Xattrs) > 0 {
		p.notes.add("xattrs", "extended attributes of %d entries were not restored: not supported on this system")
	}
	if err := p.dir.Chmod(path, e.FileMode()&(iofs.ModePerm|iofs.ModeSticky)); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if err := p.dir.Chtimes(path, time.Time{}, time.Unix(0, e.Mtime)); err != nil {
		return fmt.Errorf("set modification time: %w", err)
	}
	return nil
}

var errExists = errors.New("something of that name is there")

type output struct {
	place      *place
	file       *os.File
	path, temp string
}

func (p *place) create(f *folder, e *tree.Entry, _ bool) (*output, error) {
	o := &output{place: p, path: inTarget(f, e.Name)}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	file, err := p.dir.OpenFile(o.path, flags, 0o600)
	if errors.Is(err, iofs.ErrExist) && p.overwrite {
		if _, isDir, _ := p.look(f, e.Name); isDir {
			return nil, errors.New("create: a directory has that name")
		}
		o.temp = inTarget(f, p.tempName())
		file, err = p.dir.OpenFile(o.temp, flags, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	o.file = file
	return o, nil
}

func (p *place) tempName() string {
	return ".cairn-restore-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(p.temps.Add(1), 10) + ".in-progress"
}

func (o *output) replaces() bool { return o.temp != "" }

func (o *output) writeAt(data []byte, offset int64) error {
	_, err := o.file.WriteAt(data, offset)
	return err
}

func (o *output) finish(e *tree.Entry) error {
	var err error
	if e.Flags&tree.Unreadable == 0 {
		err = o.file.Truncate(e.Size)
	}
	if closing := o.file.Close(); err == nil {
		err = closing
	}
	path := o.path
	if o.temp != "" {
		path = o.temp
	}
	if err == nil {
		err = o.place.attributes(path, e)
	}
	if o.temp == "" {
		return err
	}
	if err == nil {
		err = o.place.dir.Rename(o.temp, o.path)
	}
	if err != nil {
		_ = o.place.dir.Remove(o.temp)
	}
	return err
}

func (o *output) discard() {
	o.file.Close()
	path := o.path
	if o.temp != "" {
		path = o.temp
	}
	_ = o.place.dir.Remove(path)
}

func (p *place) makeOther(f *folder, e *tree.Entry) error {
	if e.Type != tree.Symlink {
		return fmt.Errorf("make %s: not supported on this system", e.Type)
	}
	path := inTarget(f, e.Name)
	if p.overwrite {
		if exists, isDir, _ := p.look(f, e.Name); exists && !isDir {
			_ = p.dir.Remove(path)
		}
	}
	return p.dir.Symlink(e.Target, path)
}

func (p *place) link(from *folder, fromName string, to *folder, name string) error {
	path := inTarget(to, name)
	if p.overwrite {
		if exists, isDir, _ := p.look(to, name); exists && !isDir {
			_ = p.dir.Remove(path)
		}
	}
	return p.dir.Link(inTarget(from, fromName), path)
}
