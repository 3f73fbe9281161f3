package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// Commit makes the restore point: it waits until all packs are durable, lists their chunks in an index object and only
// then creates the record, whose creation completes the backup. It fills in Sequence, Name and Format, and, where p leaves
// them empty, Source, Host, User, the times and their zone, Kind and what the session counted. Root must be stored. The point returned is the one in the
// repository. On an error there is no restore point, what was stored stays for the next backup, and the session has
// ended, except after a *CondemnedError: then it takes chunks again, and the tree has to be stored anew.
func (s *Session) Commit(ctx context.Context, p *Point) (*Point, error) {
	if err := s.end(); err != nil {
		return nil, err
	}
	done := *p
	err := s.flush(ctx)
	if err == nil {
		err = s.complete(&done)
	}
	if err == nil {
		err = s.declare(ctx, done.Root.ID)
	}
	var condemned *CondemnedError
	if errors.As(err, &condemned) {
		s.again()
		return nil, fmt.Errorf("commit the backup of %s: %w", s.o.Source, err)
	}
	if err == nil {
		err = s.r.putPoint(ctx, &done)
	}
	s.finish(ctx)
	if err != nil {
		return nil, fmt.Errorf("commit the backup of %s: %w", s.o.Source, err)
	}
	return &done, nil
}

// complete fills in what the caller left out, and checks that what the point refers to is there.
func (s *Session) complete(p *Point) error {
	if lost := s.claimed.Load() - s.placed.Load(); lost != 0 {
		return fmt.Errorf("%d chunks were stored in batches that were never flushed", lost)
	}
	if p.Root.ID.IsZero() {
		return errors.New("the restore point has no tree")
	}
	if ok, err := s.Has(p.Root.ID); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("the restore point's tree: %w", &MissingError{ID: p.Root.ID})
	}
	p.Format = recordFormat
	p.Source = orElse(p.Source, s.o.Source)
	p.Host = orElse(p.Host, s.r.o.Host)
	p.User = orElse(p.User, s.o.User)
	p.Kind = orElse(p.Kind, Incremental)
	p.Started = orElse(p.Started, s.started)
	p.Finished = orElse(p.Finished, s.r.o.Now())
	if p.Zone == "" {
		p.Zone, p.Offset = s.started.Zone()
	}
	// A record gives back what was written: no monotonic clock, no location.
	p.Started, p.Finished = p.Started.Round(0).UTC(), p.Finished.Round(0).UTC()
	stats := s.Stats()
	p.Stats.Chunks = orElse(p.Stats.Chunks, stats.Chunks)
	p.Stats.Added = orElse(p.Stats.Added, stats.Added)
	p.Stats.AddedStored = orElse(p.Stats.AddedStored, stats.AddedStored)
	p.Stats.Reused = orElse(p.Stats.Reused, stats.Reused)
	if len(p.Problems) > MaxProblems {
		p.Problems = p.Problems[:MaxProblems]
	}
	return CheckSource(p.Source)
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

// Abort ends the session without a restore point. What is durable stays, listed in the index, so that the next backup
// need not store it again. Abort works with a ctx that has been canceled; after Commit or Abort it does nothing.
func (s *Session) Abort(ctx context.Context) error {
	if s.end() != nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	s.treeMu.Lock()
	s.treeBatch = nil
	s.treeMu.Unlock()
	s.data.Abort()
	s.tree.Abort()
	err := s.index(ctx, true)
	s.finish(ctx)
	if err != nil {
		return fmt.Errorf("abort the backup of %s: %w", s.o.Source, err)
	}
	return nil
}

// finish ends the session's own work and removes its marker. A marker that stays expires.
func (s *Session) finish(ctx context.Context) {
	s.stop()
	if err := s.withdraw(ctx); err != nil { // before the marker: a session with neither is over
		s.r.o.Warn(err)
	}
	err := s.mark.remove(context.WithoutCancel(ctx))
	if err != nil && !errors.Is(err, destination.ErrNotFound) { // a prune that took it for dead has removed it
		s.r.o.Warn(fmt.Errorf("remove the session's marker: %w", err))
	}
}

// markers are the objects that tell others that a session lives. An object cannot be touched, so a renewal is a new one
// with a higher number.
type markers struct {
	r       *Repository
	id      string
	renewal int
	begun   time.Time // when the first was created, by the destination's clock
}

func (m *markers) name(n int) string { return fmt.Sprintf("%s-%08d", m.id, n) }

// renew creates the next marker and removes the one before.
func (m *markers) renew(ctx context.Context, content marker) error {
	payload, err := encodeMarker(content)
	if err != nil {
		return err
	}
	if err := m.r.store.PutObject(ctx, chunkstore.TypeSession, m.name(m.renewal+1), payload); err != nil {
		return fmt.Errorf("write the session's marker: %w", err)
	}
	m.renewal++
	if m.renewal > 1 {
		err := m.r.store.RemoveObject(ctx, chunkstore.TypeSession, m.name(m.renewal-1))
		if !errors.Is(err, destination.ErrNotFound) {
			return err
		}
	}
	return nil
}

// date learns when the marker was created.
func (m *markers) date(ctx context.Context) error {
	info, err := destination.Stat(ctx, m.r.store.Destination(), chunkstore.TypeSession.Folder()+m.name(m.renewal))
	if errors.Is(err, destination.ErrNotFound) {
		return nil // taken for dead already; the commit will tell
	}
	if err != nil {
		return fmt.Errorf("read back the session's marker: %w", err)
	}
	m.begun = info.Modified
	return nil
}

func (m *markers) remove(ctx context.Context) error {
	return m.r.store.RemoveObject(ctx, chunkstore.TypeSession, m.name(m.renewal))
}
