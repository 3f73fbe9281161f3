package chunkstore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// A pack's shards lie in one object of the pack's name, or each in an object of its own, whose name is the pack's with
// ".NN" behind it: the number of the shard in two hexadecimal digits. Both read alike; the writer makes one object.
// Shards of their own are for destinations that are several places: any m of the k+m objects may be gone.

// placed is a stripe that was found.
type placed struct {
	name   string
	seed   uint64
	size   int64 // of the object, or of all its shards' objects
	layout stripe.Layout
	shards stripe.Shards
	spread *spread // nil: all shards lie in one object
}

// reader reads the stripe.
func (p *placed) reader() *stripe.Reader { return stripe.NewReader(p.shards, p.layout, p.seed) }

// locate finds an object and its layout: destination.ErrNotFound, *DamageError.
func (s *Store) locate(ctx context.Context, t ObjectType, name string) (*placed, error) {
	p := &placed{name: name, seed: s.seed(name)}
	if t == TypeConfig {
		p.seed = configSeed()
	}
	var r stripe.ReaderAt = object{s.dest, name}
	info, err := destination.Stat(ctx, s.dest, name)
	p.size = info.Size
	if t == TypePack && errors.Is(err, destination.ErrNotFound) {
		if p.spread, err = findSpread(ctx, s.dest, name); err == nil {
			r, p.size = p.spread, p.spread.size()
		}
	}
	if err != nil {
		return nil, err
	}
	extent := p.size
	if p.spread != nil {
		extent = int64(len(p.spread.sizes)) * p.spread.length
	}
	if p.layout, err = stripe.Probe(ctx, r, extent, p.seed); err != nil {
		return nil, damage(ctx, name, err)
	}
	if p.spread != nil {
		p.shards = p.spread
	} else {
		p.shards = stripe.OneObject(r, p.layout)
	}
	return p, nil
}

// shardName is the name of a shard that is an object of its own.
func shardName(pack string, shard int) string { return fmt.Sprintf("%s.%02x", pack, shard) }

// parseShardName finds the pack and the number of such a name.
func parseShardName(name string) (id PackID, shard int, ok bool) {
	const suffix = len(".00")
	if len(name) < suffix || name[len(name)-suffix] != '.' {
		return PackID{}, 0, false
	}
	id, ok = ParsePackID(name[:len(name)-suffix])
	number, err := hex.DecodeString(name[len(name)-suffix+1:])
	if !ok || err != nil || shardName(id.ObjectName(), int(number[0])) != name {
		return PackID{}, 0, false
	}
	return id, int(number[0]), true
}

// spread is a pack whose shards are objects of their own. As a stripe.ReaderAt it is all shards one behind the
// other, which is what Probe looks at; as stripe.Shards it is what is read.
type spread struct {
	dest   destination.Destination
	pack   string
	sizes  []int64 // of the shards' objects, by number; -1: missing
	length int64   // of a whole shard
}

var (
	_ stripe.Shards   = (*spread)(nil)
	_ stripe.ReaderAt = (*spread)(nil)
)

// findSpread lists the shards of a pack: destination.ErrNotFound when there is none.
func findSpread(ctx context.Context, d destination.Destination, pack string) (*spread, error) {
	s := &spread{dest: d, pack: pack}
	count := map[int64]int{}
	err := d.List(ctx, pack+".", func(i destination.Info) error {
		_, shard, ok := parseShardName(i.Name)
		if !ok || i.Size == 0 {
			return nil
		}
		for len(s.sizes) <= shard {
			s.sizes = append(s.sizes, -1)
		}
		s.sizes[shard] = i.Size
		// Shards are of one length: the one that most have, and among equals the longest, because damage cuts off.
		count[i.Size]++
		if best := count[s.length]; count[i.Size] > best || count[i.Size] == best && i.Size > s.length {
			s.length = i.Size
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(s.sizes) == 0 {
		return nil, fmt.Errorf("%s: %w", pack, destination.ErrNotFound)
	}
	return s, nil
}

// size sums up the shards that are there.
func (s *spread) size() int64 {
	var sum int64
	for _, n := range s.sizes {
		sum += max(0, n)
	}
	return sum
}

// ReadShard reads from a shard's object.
func (s *spread) ReadShard(ctx context.Context, shard int, p []byte, off int64) error {
	if shard >= len(s.sizes) || s.sizes[shard] < 0 {
		return stripe.ErrMissing
	}
	n, err := s.dest.ReadAt(ctx, shardName(s.pack, shard), p, off)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, destination.ErrNotFound):
		return errors.Join(stripe.ErrMissing, err)
	case err == nil || err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadAt reads within one shard.
func (s *spread) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	shard, at := off/s.length, off%s.length
	if err := s.ReadShard(ctx, int(shard), p[:min(int64(len(p)), s.length-at)], at); err != nil {
		return 0, err
	}
	if int64(len(p)) > s.length-at {
		return int(s.length - at), io.EOF
	}
	return len(p), nil
}

// write replaces those shards' objects that are not what the mended stripe says.
func (s *spread) write(ctx context.Context, mended []byte, l stripe.Layout, replace func(ctx context.Context, name string, body []byte) error) error {
	for shard := range l.Shape.Data + l.Shape.Parity {
		off, length := l.ShardRange(shard)
		body := mended[off : off+length]
		there := make([]byte, length)
		whole := shard < len(s.sizes) && s.sizes[shard] == length
		if whole && s.ReadShard(ctx, shard, there, 0) == nil && bytes.Equal(there, body) {
			continue
		}
		if err := replace(ctx, shardName(s.pack, shard), body); err != nil {
			return err
		}
	}
	return nil
}
