package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// SessionExpiry is how long after its last renewal a session counts as dead, by the destination's clock.
const SessionExpiry = 24 * time.Hour

// pointCache keeps the records that were read: they never change.
type pointCache struct {
	mu     sync.Mutex
	byName map[string]*Point // name of the record
}

// recordName is the name of a record's object.
func recordName(sequence uint64) string { return fmt.Sprintf("%016x", sequence) }

// maxSequence is the highest number of a restore point: a file that claims a higher one is foreign.
const maxSequence = 1<<62 - 1

// parseRecordName reads a name of recordName.
func parseRecordName(name string) (uint64, bool) {
	n, err := strconv.ParseUint(name, 16, 64)
	return n, err == nil && n > 0 && n <= maxSequence && recordName(n) == name
}

// Points returns all completed restore points, by source and then by sequence. Records that cannot be read are told in
// the error, which joins them all, beside the points that can. The points are shared: callers must not modify them.
// When there are new ones the index is refreshed too, so that their chunks can be located.
func (r *Repository) Points(ctx context.Context) ([]*Point, error) {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypePoint)
	if err != nil {
		return nil, fmt.Errorf("list restore points: %w", err)
	}
	added, errs := r.points.update(ctx, r.store, listed)
	r.watch(ctx, listed)
	if added {
		if err := r.Refresh(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return r.points.sorted(), errors.Join(errs...)
}

// update reads the records that are new and forgets those that are gone. What has no record's name is none: verify
// tells of it.
func (c *pointCache) update(ctx context.Context, store *chunkstore.Store, listed []destination.Info) (added bool, errs []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	listed = slices.DeleteFunc(slices.Clone(listed), func(info destination.Info) bool {
		_, ok := parseRecordName(info.Name)
		return !ok
	})
	old := c.byName
	c.byName = make(map[string]*Point, len(listed))
	read := make([]*Point, len(listed))
	failed := make([]error, len(listed))
	var g errgroup.Group
	g.SetLimit(fetchers)
	for i, info := range listed {
		if p, ok := old[info.Name]; ok {
			read[i] = p
			continue
		}
		g.Go(func() error {
			read[i], failed[i] = readPoint(ctx, store, info.Name)
			return nil
		})
	}
	_ = g.Wait()
	for i, info := range listed {
		switch {
		case errors.Is(failed[i], destination.ErrNotFound): // removed since it was listed
		case failed[i] != nil:
			errs = append(errs, fmt.Errorf("read restore point record %s: %w", info.Name, failed[i]))
		default:
			c.byName[info.Name] = read[i]
			added = added || old[info.Name] == nil
		}
	}
	return added, errs
}

func readPoint(ctx context.Context, store *chunkstore.Store, name string) (*Point, error) {
	payload, err := store.GetObject(ctx, chunkstore.TypePoint, name)
	if err != nil {
		return nil, err
	}
	p, err := decodePoint(payload)
	if err != nil {
		return nil, err
	}
	if recordName(p.Sequence) != name {
		return nil, fmt.Errorf("%w: it says that it is number %d", errRecord, p.Sequence)
	}
	return p, nil
}

func (c *pointCache) sorted() []*Point {
	c.mu.Lock()
	defer c.mu.Unlock()
	points := make([]*Point, 0, len(c.byName))
	for _, p := range c.byName {
		points = append(points, p)
	}
	slices.SortFunc(points, func(a, b *Point) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Sequence, b.Sequence))
	})
	return points
}

// putPoint completes a restore point: it gives it the next sequence number and a name that its source does not have,
// and creates its record. Of several backups that do so at once one wins a number and the others take the next. A number
// is never given twice, also when the points that had the highest are forgotten, or were lost in a rollback that this host knows of.
func (r *Repository) putPoint(ctx context.Context, p *Point) error {
	for last := uint64(0); ; last = p.Sequence { // a listing may not show yet what a creation met
		listed, err := r.store.ListObjects(ctx, chunkstore.TypePoint)
		if err != nil {
			return fmt.Errorf("list restore points: %w", err)
		}
		floor, err := r.lastNumber(ctx)
		if err != nil {
			return err
		}
		p.Sequence = max(last, floor)
		for _, info := range listed {
			if n, ok := parseRecordName(info.Name); ok {
				p.Sequence = max(p.Sequence, n)
			}
		}
		if p.Sequence++; p.Sequence > maxSequence {
			return fmt.Errorf("write restore point record: %s has the last number there is: take it away, for no backup made it",
				recordName(maxSequence))
		}
		// A record that cannot be read may have any name: points are told apart by number then, and that one is lost.
		_, _ = r.points.update(ctx, r.store, listed)
		p.Name = r.points.freeName(p.Source, p.Started)
		payload, err := encodePoint(p)
		if err != nil {
			return err
		}
		err = r.store.PutObject(ctx, chunkstore.TypePoint, recordName(p.Sequence), payload)
		switch {
		case err == nil:
			if own, err := r.ownNumber(ctx, p); own || err != nil {
				return err
			}
		case !errors.Is(err, destination.ErrExists):
			return fmt.Errorf("write restore point record: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// freeName returns the name of a restore point of source at a time.
func (c *pointCache) freeName(source string, at time.Time) string {
	taken := make(map[string]bool)
	for _, p := range c.sorted() {
		if p.Source == source {
			taken[p.Name] = true
		}
	}
	base := pointName(at)
	name := base
	for n := 2; taken[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	return name
}

// pointName is the name that a restore point of a time has unless it is taken.
func pointName(at time.Time) string { return at.UTC().Format(nameLayout) }

// Running is a session that has not ended: a backup that runs, or one that died.
type Running struct {
	Name    string // of the point to be, with ".in-progress" appended
	Source  string
	Host    string
	User    string
	PID     int
	Started time.Time     // UTC, by its host's clock
	Stored  int64         // bytes of packs written when it last said that it lives; 0 may also mean that it is not known
	Renewed time.Time     // by the destination's clock
	Age     time.Duration // since Renewed
	Expired bool          // not renewed for SessionExpiry: it is dead
}

// InProgress returns the sessions that have not ended, the oldest first. Markers that cannot be read are told in the
// error, beside the sessions whose can.
func (r *Repository) InProgress(ctx context.Context) ([]Running, error) {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeSession)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	now, err := r.destinationNow(ctx)
	if err != nil && ctx.Err() == nil && r.o.Now != nil {
		now, err = r.o.Now(), nil // a place that cannot be written to has no clock to read; to look at, this host's will do
	}
	if err != nil {
		return nil, err
	}
	latest := make(map[string]destination.Info) // by session
	for _, info := range listed {
		id, _, ok := strings.Cut(info.Name, "-")
		if !ok || !isRandomName(id) {
			continue
		}
		if old, ok := latest[id]; !ok || old.Name < info.Name {
			latest[id] = info
		}
	}
	var running []Running
	var errs []error
	for _, info := range latest {
		payload, err := r.store.GetObject(ctx, chunkstore.TypeSession, info.Name)
		var m marker
		if err == nil {
			m, err = decodeMarker(payload)
		}
		switch {
		case errors.Is(err, destination.ErrNotFound): // ended or renewed since it was listed
			continue
		case err != nil:
			errs = append(errs, fmt.Errorf("read session %s: %w", info.Name, err))
			continue
		case m.Prune: // nothing is on its way
			continue
		}
		age := max(now.Sub(info.Modified), 0)
		running = append(running, Running{
			Name: pointName(m.Started) + destination.InProgress, Source: string(m.Source), Host: string(m.Host),
			User: string(m.User), PID: m.PID, Started: m.Started.UTC(), Stored: m.Stored, Renewed: info.Modified, Age: age, Expired: age > SessionExpiry,
		})
	}
	slices.SortFunc(running, func(a, b Running) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.Source, b.Source), cmp.Compare(a.PID, b.PID))
	})
	return running, errors.Join(errs...)
}

// destinationNow reads the destination's clock, or this host's where it has none.
func (r *Repository) destinationNow(ctx context.Context) (time.Time, error) {
	if c, ok := r.store.Destination().(destination.Clock); ok {
		now, err := c.Now(ctx)
		if err != nil {
			return time.Time{}, fmt.Errorf("read the destination's clock: %w", err)
		}
		return now, nil
	}
	if r.o.Now == nil {
		return time.Time{}, errors.New("tell the age of sessions: no clock was given")
	}
	return r.o.Now(), nil
}
