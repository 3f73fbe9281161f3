package index

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// seen is this host's memory of how far the repository had come. Whoever holds the storage cannot forge a restore
// point, but can put back an old state of the whole; then something that this host has seen is missing. The memory rests
// in the cache folder: a host that loses it merely cannot tell.
type seen struct {
	path string // empty: nothing is remembered beyond the process
	warn func(error)

	mu      sync.Mutex
	loaded  bool
	broken  bool   // the file cannot be read, and that was told
	settled uint64 // number of a point that is missing, and was explained or told of
	older   bool   // the log of marks is from before
	memory  memory
}

// memory is the file, JSON.
type memory struct {
	Format   int    `json:"format"`
	Sequence uint64 `json:"sequence"` // the highest of a restore point
	Source   text   `json:"source,omitempty"`
	Name     string `json:"name,omitempty"`
	Marks    uint64 `json:"marks,omitempty"` // the highest number of the log of marks
}

// RollbackError: something that this host has seen in the repository is missing, and nothing tells that it was
// forgotten.
type RollbackError struct {
	What string
}

// Error says what is missing and what that may mean.
func (e *RollbackError) Error() string {
	return e.What + " is missing, though this host has seen it and nobody forgot it: the repository was put back to an older state, or it was deleted"
}

// watch compares the records that are listed with what this host remembers, warns when the newest that it saw is
// missing without having been forgotten, and remembers the newest.
func (r *Repository) watch(ctx context.Context, listed []destination.Info) {
	there := make(map[uint64]string, len(listed))
	newest := uint64(0)
	for _, info := range listed {
		if n, ok := parseRecordName(info.Name); ok {
			there[n] = info.Name
			newest = max(newest, n)
		}
	}
	if m, missing := r.seen.missing(there); missing {
		// With the log unreadable nobody can tell that the point was forgotten, and the warning is in place.
		state, _, err := r.loadMarks(ctx)
		if err != nil && ctx.Err() != nil {
			return
		}
		r.seen.settle(m, state != nil && state.forgotten.contain(m.Sequence))
	}
	if newest > 0 {
		r.points.mu.Lock()
		p := r.points.byName[there[newest]]
		r.points.mu.Unlock()
		r.seen.pointIs(newest, p)
	}
}

// load reads the file once. mu must be held.
func (s *seen) load() {
	if s.loaded || s.path == "" {
		return
	}
	s.loaded = true
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var m memory
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err == nil && m.Format != 1 {
		err = fmt.Errorf("unknown format %d", m.Format)
	}
	if err != nil && s.broken {
		return
	}
	if s.broken = err != nil; s.broken {
		s.warn(fmt.Errorf("what this host remembers of the repository cannot be read, so that a rollback would not be noticed: %w", err))
		return
	}
	s.memory = m
}

// reload takes in what other processes remembered meanwhile. mu must be held.
func (s *seen) reload() {
	s.loaded = false
	s.load()
}

// last is the highest sequence number that was seen.
func (s *seen) last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	return s.memory.Sequence
}

// missing tells whether the newest point that was seen is not there, and that was not settled yet.
func (s *seen) missing(there map[uint64]string) (memory, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	n := s.memory.Sequence
	_, ok := there[n]
	return s.memory, n > 0 && !ok && s.settled != n
}

// settle warns that a point is missing unless it was forgotten, and has done with it.
func (s *seen) settle(m memory, forgotten bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled == m.Sequence {
		return
	}
	s.settled = m.Sequence
	if forgotten {
		return
	}
	what := fmt.Sprintf("restore point number %d", m.Sequence)
	if m.Name != "" {
		what += fmt.Sprintf(" (%s@%s)", m.Source, m.Name)
	}
	s.warn(&RollbackError{What: what})
}

// pointIs remembers a restore point if it is the newest so far; p may be nil.
func (s *seen) pointIs(sequence uint64, p *Point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	if sequence <= s.memory.Sequence {
		return
	}
	if s.reload(); sequence <= s.memory.Sequence {
		return
	}
	s.memory.Sequence, s.memory.Source, s.memory.Name = sequence, "", ""
	if p != nil {
		s.memory.Source, s.memory.Name = text(p.Source), p.Name
	}
	s.save()
}

// marksAre remembers the highest number of the log of marks, and warns when it is one from before.
func (s *seen) marksAre(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	switch {
	case n > s.memory.Marks:
		s.reload()
		s.memory.Marks, s.older = max(n, s.memory.Marks), false
		s.save()
	case n < s.memory.Marks && !s.older:
		s.older = true
		s.warn(s.oldMarks())
	}
}

// marksRolledBack is an error when the log of marks is from before.
func (s *seen) marksRolledBack() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.older {
		return s.oldMarks()
	}
	return nil
}

func (s *seen) oldMarks() error {
	return &RollbackError{What: fmt.Sprintf("state number %d of pins, tags and forgotten points", s.memory.Marks)}
}

// marksChanged says that somebody set marks here who knew of the warning: what is there now is what counts.
func (s *seen) marksChanged(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	if s.memory.Marks != n {
		s.memory.Marks, s.older = n, false
		s.save()
	}
}

// save writes the file: whole, so that nobody reads half of it. mu must be held.
func (s *seen) save() {
	if s.path == "" {
		return
	}
	s.memory.Format = 1
	b, err := json.Marshal(s.memory)
	if err == nil {
		err = writeWhole(s.path, b)
	}
	if err != nil {
		s.warn(fmt.Errorf("remember how far the repository has come, to notice a rollback: %w", err))
		s.path = "" // once is enough
	}
}

// writeWhole gives a file a new content by a rename.
func writeWhole(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
