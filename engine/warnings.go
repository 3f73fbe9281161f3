package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/engine/source"
	"github.com/cairn-backup/cairn/index"
)

// SpaceError says that the backup would most likely not fit. Nothing has been written.
type SpaceError struct {
	Free   int64 // bytes
	Source int64 // bytes to be read
	Needed int64 // bytes: the least that storing them is likely to take
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s are free at the repository, but %s that are not stored yet are likely to need at least %s there",
		size(e.Free), size(e.Source), size(e.Needed))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// What sources may be able to tell, beside what source.Source asks for.
type (
	// devicer tells which devices of this host the source's paths are on (st_dev).
	devicer interface{ Devices() ([]uint64, error) }
	// user tells how much its file systems hold altogether, at once: the source holds no more.
	user interface{ Used() (int64, error) }
	// counter counts what the source holds, by a walk over it.
	counter interface {
		Count(ctx context.Context) (files, bytes int64, err error)
	}
)

// checkClock warns when the clock goes behind what has been recorded already.
func (r *run) checkClock(points []*index.Point, now time.Time) {
	var newest *index.Point
	for _, p := range points {
		if newest == nil || p.Started.After(newest.Started) {
			newest = p
		}
	}
	if newest != nil && newest.Started.After(now) {
		r.warn(fmt.Sprintf("the clock says %s, but restore point %s of %s is from %s: check the clock (the order of restore points does not depend on it)",
			now.UTC().Format(time.DateTime), newest.Name, newest.Source, newest.Started.UTC().Format(time.DateTime)))
	}
}

// checkPlace warns when the repository would be lost together with the source, and fails when there is too little room.
func (r *run) checkPlace(ctx context.Context, src source.Source, previous *index.Point) error {
	d := r.repo.Store().Destination()
	if at, ok := d.(destination.Devicer); ok {
		if from, ok := src.(devicer); ok {
			r.checkDevices(at, from)
		}
	}
	if s, ok := d.(destination.Spacer); ok && !r.o.IgnoreSpace {
		return r.checkSpace(ctx, s, src, previous)
	}
	return nil
}

func (r *run) checkDevices(at destination.Devicer, from devicer) {
	device, err := at.Device()
	if err != nil {
		return // only a warning depends on it
	}
	devices, err := from.Devices()
	if err != nil {
		return
	}
	if slices.Contains(devices, device) {
		r.warn("the repository is on the same file system as the source: both are lost when it is")
		return
	}
	disks := disksOf(device)
	for _, d := range devices {
		for _, disk := range disksOf(d) {
			if slices.Contains(disks, disk) {
				r.warn(fmt.Sprintf("the repository is on the same disk (%s) as the source: both are lost when it is", disk))
				return
			}
		}
	}
}

// compressed is the part of its size to which a backup shrinks at best that is likely: less room than that is an error,
// less room than the full size a warning.
const compressed = 0.5

// checkSpace compares what is free with what there is to store. The source is counted only when a look at its file
// systems alone does not show that there is plenty of room.
func (r *run) checkSpace(ctx context.Context, s destination.Spacer, src source.Source, previous *index.Point) error {
	free, _, err := s.Free(ctx)
	if err != nil {
		r.warn("free space at the repository is unknown: " + err.Error())
		return nil
	}
	shape := r.repo.Store().Config().Shape
	overhead := float64(shape.Data+shape.Parity) / float64(max(1, shape.Data))
	if u, ok := src.(user); ok {
		if used, err := u.Used(); err == nil && float64(used)*overhead < float64(free) {
			return nil
		}
	}
	c, ok := src.(counter)
	if !ok {
		return nil
	}
	files, bytes, err := c.Count(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return nil // the walk will meet the same and tell it where it belongs
	}
	if p := r.o.Progress; p != nil {
		p.TotalFiles.Store(files)
		p.TotalBytes.Store(bytes)
	}
	if previous != nil {
		bytes -= previous.Stats.Bytes
	}
	if float64(bytes)*overhead < float64(free) {
		return nil
	}
	e := &SpaceError{Free: free, Source: bytes, Needed: int64(float64(bytes) * overhead * compressed)}
	if e.Needed > free {
		return e
	}
	r.warn(fmt.Sprintf("space may run out: %s are free at the repository, and there are %s to store (before compression)", size(free), size(bytes)))
	return nil
}

// IsSpace says whether err is about room at the repository, found out before or during the backup.
func IsSpace(err error) bool {
	var s *SpaceError
	return errors.As(err, &s) || errors.Is(err, errNoSpace)
}
