package index

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cairn-backup/cairn/chunkstore"
)

// listingFormat is the first byte of an index object's payload.
const listingFormat = 1

var errListing = errors.New("not a valid index object")

// listedChunk is a chunk on its way to a listing.
type listedChunk struct {
	first         uint64 // of the id's bytes, which nearly always decide the order without following id
	id            *chunkstore.ID
	frame         uint32 // number in the listing
	start, length uint32
}

// encodeListing makes the payload of an index object: the chunks of packs, sorted by id, in columns.
//
//	format (1)
//	number of packs (uvarint); of each: id (16), kind (1), size of the object in bytes (uvarint), number of frames
//	    (uvarint); of each frame, by its place: bytes between the end of the frame before and its offset (uvarint),
//	    sealed length (uvarint)
//	number of chunks (uvarint)
//	the chunks' ids in rising order (32 each)
//	the chunks' frames, counted through all packs from 0 (uvarint each)
//	the chunks' starts in the opened frame (uvarint each)
//	the chunks' lengths (uvarint each)
func encodeListing(packs []chunkstore.Pack) []byte {
	total := 0
	for _, p := range packs {
		total += len(p.Chunks)
	}
	b := make([]byte, 0, 64+total*43+len(packs)*256)
	b = append(b, listingFormat)
	b = binary.AppendUvarint(b, uint64(len(packs)))
	chunks := make([]listedChunk, 0, total)
	first := uint32(0)
	for i := range packs {
		p := &packs[i]
		frames, numbers := framesOf(p)
		b = append(b, p.ID[:]...)
		b = append(b, byte(p.Kind))
		b = binary.AppendUvarint(b, uint64(p.Size))
		b = binary.AppendUvarint(b, uint64(len(frames)))
		end := uint32(0)
		for _, f := range frames {
			b = binary.AppendUvarint(b, uint64(f.Offset-end))
			b = binary.AppendUvarint(b, uint64(f.Sealed))
			end = f.Offset + f.Sealed
		}
		at, frame := uint32(0), uint32(0) // the frame of the chunk before: chunks mostly come in the order of their places
		for j := range p.Chunks {
			c := &p.Chunks[j]
			if j == 0 || c.Location.Offset != at {
				at = c.Location.Offset
				frame = first + numbers[at]
			}
			chunks = append(chunks, listedChunk{binary.BigEndian.Uint64(c.ID[:]), &c.ID, frame, c.Location.Start, c.Location.Length})
		}
		first += uint32(len(frames))
	}
	slices.SortFunc(chunks, compareListed)
	b = binary.AppendUvarint(b, uint64(len(chunks)))
	for _, c := range chunks {
		b = append(b, c.id[:]...)
	}
	for _, c := range chunks {
		b = binary.AppendUvarint(b, uint64(c.frame))
	}
	for _, c := range chunks {
		b = binary.AppendUvarint(b, uint64(c.start))
	}
	for _, c := range chunks {
		b = binary.AppendUvarint(b, uint64(c.length))
	}
	return b
}

// compareListed orders by id, and where one chunk lies in several places by frame and start, so that a set of packs has one
// encoding.
func compareListed(a, b listedChunk) int {
	if a.first != b.first {
		return cmp.Compare(a.first, b.first)
	}
	if c := bytes.Compare(a.id[:], b.id[:]); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.frame, b.frame), cmp.Compare(a.start, b.start))
}

// framesOf returns the frames of a pack that hold chunks, by their place, and the number of each by its offset.
func framesOf(p *chunkstore.Pack) ([]chunkstore.FrameRef, map[uint32]uint32) {
	var frames []chunkstore.FrameRef
	numbers := make(map[uint32]uint32)
	for i := range p.Chunks {
		l := &p.Chunks[i].Location
		if i > 0 && l.Offset == p.Chunks[i-1].Location.Offset {
			continue
		}
		if _, ok := numbers[l.Offset]; !ok {
			numbers[l.Offset] = 0
			frames = append(frames, chunkstore.FrameRef{Offset: l.Offset, Sealed: l.Sealed})
		}
	}
	slices.SortFunc(frames, func(a, b chunkstore.FrameRef) int { return cmp.Compare(a.Offset, b.Offset) })
	for i, f := range frames {
		numbers[f.Offset] = uint32(i)
	}
	return frames, numbers
}

// listedFrame is a frame of a listing that is being read.
type listedFrame struct {
	pack           int
	offset, sealed uint32
}

// listingReader reads a payload from its front. After an error it gives zeros.
type listingReader struct {
	b   []byte
	bad bool
}

func (r *listingReader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// uvarint reads a number up to max.
func (r *listingReader) uvarint(max uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || v > max {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many things follow that take at least size bytes each, so that no more are made room for than can be
// there.
func (r *listingReader) count(size int) int {
	return int(r.uvarint(uint64(len(r.b) / size)))
}

// decodeListing reads the payload of an index object. The chunks of each pack come in the order of their ids.
func decodeListing(payload []byte) ([]chunkstore.Pack, error) {
	r := &listingReader{b: payload}
	if v := r.take(1); r.bad {
		return nil, errListing
	} else if v[0] != listingFormat {
		return nil, &chunkstore.VersionError{Found: int(v[0]), Known: listingFormat}
	}
	packs := make([]chunkstore.Pack, r.count(19))
	var frames []listedFrame
	for i := range packs {
		frames = readPack(r, i, &packs[i], frames)
	}
	n := r.count(35)
	ids := r.take(n * 32)
	if r.bad {
		return nil, errListing
	}
	numbers := make([]uint32, n)
	counts := make([]int, len(packs))
	for i := range numbers {
		f := r.uvarint(math.MaxUint32)
		if r.bad || f >= uint64(len(frames)) {
			return nil, errListing
		}
		numbers[i] = uint32(f)
		counts[frames[f].pack]++
	}
	for i, c := range counts {
		packs[i].Chunks = make([]chunkstore.Placed, 0, c)
	}
	if err := readChunks(r, packs, frames, numbers, ids); err != nil {
		return nil, err
	}
	if len(r.b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", errListing, len(r.b))
	}
	return packs, nil
}

// readPack reads the head of pack number i and appends its frames.
func readPack(r *listingReader, i int, p *chunkstore.Pack, frames []listedFrame) []listedFrame {
	copy(p.ID[:], r.take(len(p.ID)))
	if kind := r.take(1); !r.bad {
		p.Kind = chunkstore.Kind(kind[0])
	}
	p.Size = int64(r.uvarint(math.MaxInt64))
	end := uint64(0)
	for range r.count(2) {
		offset := end + r.uvarint(math.MaxUint32)
		sealed := r.uvarint(math.MaxUint32)
		end = offset + sealed
		if r.bad || end > math.MaxUint32 {
			r.bad = true
			break
		}
		frames = append(frames, listedFrame{i, uint32(offset), uint32(sealed)})
	}
	return frames
}

// readChunks reads the columns of starts and lengths, and hands each chunk to its pack.
func readChunks(r *listingReader, packs []chunkstore.Pack, frames []listedFrame, numbers []uint32, ids []byte) error {
	starts := make([]uint32, len(numbers))
	for i := range starts {
		starts[i] = uint32(r.uvarint(math.MaxUint32))
	}
	for i, no := range numbers {
		f := frames[no]
		p := &packs[f.pack]
		c := chunkstore.Placed{
			ID: chunkstore.ID(ids[i*32 : (i+1)*32]),
			Location: chunkstore.Location{
				Pack: p.ID, Offset: f.offset, Sealed: f.sealed,
				Start: starts[i], Length: uint32(r.uvarint(math.MaxUint32)),
			},
		}
		if r.bad || uint64(c.Location.Start)+uint64(c.Location.Length) > math.MaxUint32 {
			return errListing
		}
		if i > 0 && bytes.Compare(ids[(i-1)*32:i*32], c.ID[:]) > 0 {
			return fmt.Errorf("%w: ids out of order", errListing)
		}
		p.Chunks = append(p.Chunks, c)
	}
	return nil
}
