package local

import (
	"container/list"
	"errors"
	"os"
	"sync"
	"syscall"
)

// openFiles is how many files reads keep open: enough for the packs that a mount moves among, few beside a
// process's usual limit of 1024.
const openFiles = 64

// files keeps the most recently read files open, because opening costs more than reading a few cells.
type files struct {
	limit int

	mu    sync.Mutex
	byKey map[string]*list.Element
	order *list.List // of *handle, most recent first
}

type handle struct {
	path string
	file *os.File
}

func newFiles(limit int) *files {
	return &files{limit: limit, byKey: map[string]*list.Element{}, order: list.New()}
}

// open returns the open file of a path. It may be closed by other opens at any time: a reader that meets os.ErrClosed
// asks again. (A read that has begun always ends before the close.)
func (f *files) open(path string) (*os.File, error) {
	f.mu.Lock()
	if e, ok := f.byKey[path]; ok {
		f.order.MoveToFront(e)
		file := e.Value.(*handle).file
		f.mu.Unlock()
		if !isUnlinked(file) {
			return file, nil
		}
		f.drop(path) // another process has put a mended object in its place, or removed it
	} else {
		f.mu.Unlock()
	}
	opened, err := os.Open(path)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		f.clear() // what is kept for later is the first to go
		opened, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	if e, ok := f.byKey[path]; ok { // another was faster
		file := e.Value.(*handle).file
		f.mu.Unlock()
		opened.Close()
		return file, nil
	}
	f.byKey[path] = f.order.PushFront(&handle{path, opened})
	var old *os.File
	if f.order.Len() > f.limit {
		last := f.order.Back()
		f.order.Remove(last)
		delete(f.byKey, last.Value.(*handle).path)
		old = last.Value.(*handle).file
	}
	f.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return opened, nil
}

// drop closes the file of a path, if it is open.
func (f *files) drop(path string) {
	f.mu.Lock()
	e, ok := f.byKey[path]
	if ok {
		f.order.Remove(e)
		delete(f.byKey, path)
	}
	f.mu.Unlock()
	if ok {
		e.Value.(*handle).file.Close()
	}
}

// clear closes all.
func (f *files) clear() {
	f.mu.Lock()
	all := f.order
	f.order, f.byKey = list.New(), map[string]*list.Element{}
	f.mu.Unlock()
	for e := all.Front(); e != nil; e = e.Next() {
		e.Value.(*handle).file.Close()
	}
}
