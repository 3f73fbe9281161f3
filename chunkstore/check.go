package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// Range is a range of an object's payload.
type Range struct {
	Offset, Length int64 // bytes
}

// Check is what CheckObject and RepairObject found in one object.
type Check struct {
	Object     string // full name at the destination
	Size       int64  // of the object, bytes
	Cells      int64  // looked at: all, or none when only head and table were asked for
	Bad        int64  // cells that are damaged or cut off, the lost ones included
	Lost       int64  // bad cells that parity cannot bring back
	LostRanges []Range
	Frames     int64      // opened (packs, with readData)
	BadFrames  []FrameRef // frames that do not open
	Missing    bool       // there is no such object
	Foreign    bool       // it is none of this repository's
	Repaired   bool       // RepairObject wrote it afresh
	Err        error      // what does not hold, in words, where the above does not say it; nil otherwise

	resized bool // Err says no more than that the object is longer or shorter than it was made
}

// OK tells that nothing is wrong with the object.
func (c Check) OK() bool {
	return c.Bad == 0 && c.Lost == 0 && len(c.BadFrames) == 0 && !c.Missing && !c.Foreign && c.Err == nil
}

// Readable tells that the whole payload can be read, if with the help of parity.
func (c Check) Readable() bool {
	return c.Lost == 0 && len(c.LostRanges) == 0 && len(c.BadFrames) == 0 && !c.Missing && !c.Foreign && (c.Err == nil || c.resized)
}

// Packs lists all packs, in no particular order, and stops at fn's first error. Foreign names in the folder are left
// out.
func (s *Store) Packs(ctx context.Context, fn func(PackInfo) error) error {
	err := s.list(ctx, folders[TypePack], func(i destination.Info) error {
		if id, ok := ParsePackID(i.Name); ok {
			return fn(PackInfo{ID: id, Size: i.Size})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the packs: %w", err)
	}
	return nil
}

// Objects calls fn for everything that lies at the destination, in no particular order, and tells which of it is
// foreign: not of a name that a repository's object can have. It stops at fn's first error.
func (s *Store) Objects(ctx context.Context, fn func(info destination.Info, foreign bool) error) error {
	return s.list(ctx, "", func(i destination.Info) error {
		_, known := typeOf(i.Name)
		return fn(i, !known)
	})
}

// list lists objects. A pack whose shards are objects of their own comes once, by the pack's name, at the end.
func (s *Store) list(ctx context.Context, prefix string, fn func(destination.Info) error) error {
	spread := map[PackID]destination.Info{}
	err := s.dest.List(ctx, prefix, func(i destination.Info) error {
		id, _, ok := parseShardName(i.Name)
		if !ok {
			return fn(i)
		}
		sum := spread[id]
		sum.Name, sum.Size = id.ObjectName(), sum.Size+i.Size
		if i.Modified.After(sum.Modified) {
			sum.Modified = i.Modified
		}
		spread[id] = sum
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range spread {
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

// typeOf tells what type an object of that full name is of.
func typeOf(name string) (ObjectType, bool) {
	if name == configName || name == spareName {
		return TypeConfig, true
	}
	for t := TypeKey; t < typeCount; t++ {
		rest, ok := strings.CutPrefix(name, folders[t])
		if !ok {
			continue
		}
		switch t {
		case TypePack:
			_, ok = ParsePackID(name)
		case TypeKey:
			ok = isSlotID(rest)
		default:
			ok = destination.CheckName(name) == nil
		}
		return t, ok
	}
	return 0, false
}

// Table reads a pack's table: from the pack alone, so it works without any index.
func (s *Store) Table(ctx context.Context, id PackID) (Pack, error) {
	p, err := s.packs.get(ctx, id)
	if err != nil {
		return Pack{}, err
	}
	kind, _, chunks, err := s.table(ctx, p)
	if err != nil {
		return Pack{}, err
	}
	return Pack{ID: id, Kind: kind, Size: p.size, Chunks: chunks}, nil
}

func (s *Store) table(ctx context.Context, p *openPack) (kind Kind, frames []framed, chunks []Placed, err error) {
	trailer := make([]byte, packTrailerSize)
	if err := p.reader.ReadAt(ctx, trailer, p.layout.Length-packTrailerSize); err != nil {
		return 0, nil, nil, damage(ctx, p.name, err)
	}
	ref, err := parsePackTrailer(trailer, p.id, p.layout.Length)
	if err != nil {
		return 0, nil, nil, &DamageError{Object: p.name, Offset: p.layout.Length - packTrailerSize, Length: packTrailerSize, Err: err}
	}
	text, err := s.OpenFrame(ctx, p.id, ref, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	if kind, frames, chunks, err = parseTable(text, p.id, ref.Offset); err != nil {
		return 0, nil, nil, p.broken(ref, err)
	}
	return kind, frames, chunks, nil
}

// CheckObject looks at one object, by its full name. Without readData it tells whether the object is there, whole in
// size, and its head and table can be read (small objects: whether they open); with readData it reads every cell,
// parity included, opens every frame and compares every chunk with its id. Damage is in the Check; the error is of
// the destination or the context.
func (s *Store) CheckObject(ctx context.Context, name string, readData bool) (Check, error) {
	c := Check{Object: name}
	t, known := typeOf(name)
	if !known {
		c.Foreign = true
		return c, nil
	}
	p, err := s.locate(ctx, t, name)
	if errors.Is(err, destination.ErrNotFound) {
		c.Missing = true
		return c, nil
	}
	if err != nil {
		return s.note(ctx, c, err)
	}
	c.Size = p.size
	if p.size != p.layout.Size() {
		c.Err = fmt.Errorf("%w: it has %d bytes, and %d belong there", ErrDamaged, p.size, p.layout.Size())
		c.resized = true
	}
	if readData {
		if err := c.readCells(ctx, p.reader()); err != nil {
			return c, err
		}
	}
	if t == TypePack {
		id, _ := ParsePackID(name)
		return s.checkPack(ctx, c, id, readData)
	}
	return s.note(ctx, c, s.checkSmall(ctx, t, name))
}

// note puts a damage into the check, and passes on any other error.
func (s *Store) note(ctx context.Context, c Check, err error) (Check, error) {
	var hurt *DamageError
	var later *VersionError
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return c, ctx.Err()
	case errors.As(err, &hurt):
		if errors.Is(hurt.Err, ErrMissing) {
			c.Missing = true
		}
		if hurt.Length > 0 && len(c.LostRanges) == 0 {
			c.LostRanges = []Range{{hurt.Offset, hurt.Length}}
		}
		c.Err, c.resized = hurt, false
		return c, nil
	case errors.As(err, &later):
		c.Err, c.resized = err, false
		return c, nil
	}
	return c, fmt.Errorf("check %s: %w", c.Object, err)
}

// readCells reads every cell of the object.
func (c *Check) readCells(ctx context.Context, r *stripe.Reader) error {
	report, err := r.Check(ctx, nil)
	if err != nil {
		return fmt.Errorf("check %s: %w", c.Object, err)
	}
	c.take(report)
	return nil
}

func (c *Check) take(r stripe.Report) {
	c.Cells, c.Bad, c.Lost = r.Cells, r.Bad, r.Lost
	c.LostRanges = nil
	for _, l := range r.LostRanges {
		c.LostRanges = append(c.LostRanges, Range(l))
	}
}

// checkSmall tells whether an object that is not a pack opens.
func (s *Store) checkSmall(ctx context.Context, t ObjectType, name string) error {
	var err error
	switch t {
	case TypeConfig:
		var payload []byte
		if payload, err = readPayload(ctx, s.dest, name, configSeed(), maxConfig); err == nil {
			err = checkConfig(payload, s.master)
		}
	case TypeKey:
		_, err = readSlot(ctx, s.dest, s.config.Repository, strings.TrimPrefix(name, folders[t]))
	default:
		_, err = s.GetObject(ctx, t, strings.TrimPrefix(name, folders[t]))
	}
	if errors.Is(err, destination.ErrNotFound) {
		return &DamageError{Object: name, Err: ErrMissing}
	}
	return err
}

// checkPack reads head and table, and with readData every frame.
func (s *Store) checkPack(ctx context.Context, c Check, id PackID, readData bool) (Check, error) {
	p, err := s.openPack(ctx, id)
	if err != nil {
		return s.note(ctx, c, err)
	}
	head := make([]byte, packHeadSize)
	err = p.reader.ReadAt(ctx, head, 0)
	if err == nil {
		if _, err = parsePackHead(head, id, s.config.Plain); err != nil {
			err = &DamageError{Object: c.Object, Offset: 0, Length: packHeadSize, Err: err}
		}
	} else {
		err = damage(ctx, c.Object, err)
	}
	if c, err = s.note(ctx, c, err); err != nil {
		return c, err
	}
	_, frames, chunks, err := s.table(ctx, p)
	if err != nil || !readData {
		return s.note(ctx, c, err)
	}
	return s.checkFrames(ctx, c, p, frames, chunks)
}

// checkFrames opens every frame and compares every chunk with its id: that also finds what went wrong in memory
// between hashing and sealing.
func (s *Store) checkFrames(ctx context.Context, c Check, p *openPack, frames []framed, chunks []Placed) (Check, error) {
	refs := make([]FrameRef, len(frames))
	offset := uint32(packHeadSize)
	for i, f := range frames {
		refs[i] = FrameRef{offset, f.sealed}
		offset += f.sealed
	}
	i := 0
	err := s.Frames(ctx, p.id, refs, func(ref FrameRef, opened []byte, err error) error {
		mine := chunks[:frames[i].chunks]
		chunks, i = chunks[len(mine):], i+1
		for _, chunk := range mine {
			end := uint64(chunk.Location.Start) + uint64(chunk.Location.Length)
			if err == nil && (end > uint64(len(opened)) || s.ChunkID(opened[chunk.Location.Start:end]) != chunk.ID) {
				err = p.broken(ref, fmt.Errorf("%w: chunk %s is not what was stored", ErrDamaged, chunk.ID))
			}
		}
		c.Frames++
		if err != nil {
			c.BadFrames = append(c.BadFrames, ref)
			if c.Lost == 0 && (c.Err == nil || c.resized) {
				c.Err, c.resized = err, false
			}
		}
		return nil
	})
	return s.note(ctx, c, err)
}
