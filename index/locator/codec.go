package locator

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/cairn-backup/cairn/chunkstore"
)

// headSize is the length of a run's head.
//
//	[0:4)   format
//	[4:20)  id of the repository
//	[20:28) number of entries
//	[28:32) number of blocks
//	[32:36) number of packs
//	[36:40) number of index objects
const headSize = 40

func encodeHead(r *run, repository [16]byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, format)
	b = append(b, repository[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.entries))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.fences)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.packs)))
	return binary.LittleEndian.AppendUint32(b, uint32(len(r.covers)))
}

// readHead reads what a run keeps in memory: head, fences, covers, packs.
func (r *run) readHead(repository [16]byte) error {
	head, err := r.get(bucketRun, keyHead)
	if err != nil {
		return err
	}
	if len(head) != headSize || binary.LittleEndian.Uint32(head) != format {
		return errLayout
	}
	if [16]byte(head[4:20]) != repository {
		return fmt.Errorf("of another repository: %w", errLayout)
	}
	r.entries = int64(binary.LittleEndian.Uint64(head[20:]))
	blocks := int(binary.LittleEndian.Uint32(head[28:]))
	packs := int(binary.LittleEndian.Uint32(head[32:]))
	covers := int(binary.LittleEndian.Uint32(head[36:]))
	if r.entries < 0 || int64(blocks) != (r.entries+blockEntries-1)/blockEntries {
		return errLayout
	}
	if r.fences, err = r.readFences(blocks); err != nil {
		return err
	}
	list, err := r.get(bucketRun, keyCovers)
	if err != nil {
		return err
	}
	if r.covers, err = decodeCovers(list); err != nil {
		return err
	}
	if len(r.covers) != covers {
		return errLayout
	}
	for n := 0; len(r.packs) < packs; n++ {
		v, err := r.get(bucketPacks, numberKey(n))
		if err != nil {
			return err
		}
		if r.packs, err = decodePacks(r.packs, v); err != nil {
			return err
		}
	}
	r.blocks = make([]atomic.Pointer[block], blocks)
	r.filters = make([]atomic.Pointer[filter], (blocks+filterBlocks-1)/filterBlocks)
	return nil
}

func (r *run) readFences(blocks int) ([]uint64, error) {
	v, err := r.get(bucketRun, keyFences)
	if err != nil {
		return nil, err
	}
	if len(v) != 8*blocks {
		return nil, errLayout
	}
	fences := make([]uint64, blocks)
	for i := range fences {
		fences[i] = binary.BigEndian.Uint64(v[8*i:])
	}
	return fences, nil
}

func encodeFences(fences []uint64) []byte {
	b := make([]byte, 0, 8*len(fences))
	for _, f := range fences {
		b = binary.BigEndian.AppendUint64(b, f)
	}
	return b
}

func encodeCovers(names []string) []byte {
	var b []byte
	for _, name := range names {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	return b
}

func decodeCovers(b []byte) ([]string, error) {
	var names []string
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil, errLayout
		}
		names = append(names, string(b[w:w+int(n)]))
		b = b[w+int(n):]
	}
	return names, nil
}

func encodePacks(packs []PackRecord) []byte {
	b := make([]byte, 0, packSize*len(packs))
	for _, p := range packs {
		b = append(b, p.ID[:]...)
		b = append(b, byte(p.Kind), 0, 0, 0, 0, 0, 0, 0)
		b = binary.LittleEndian.AppendUint64(b, uint64(p.Size))
	}
	return b
}

func decodePacks(dst []PackRecord, b []byte) ([]PackRecord, error) {
	if len(b) == 0 || len(b)%packSize != 0 {
		return nil, errLayout
	}
	for ; len(b) > 0; b = b[packSize:] {
		dst = append(dst, PackRecord{
			ID:   chunkstore.PackID(b[:16]),
			Kind: chunkstore.Kind(b[16]),
			Size: int64(binary.LittleEndian.Uint64(b[24:])),
		})
	}
	return dst, nil
}

func encodeBlock(b []byte, entries []entry) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)))
	b = append(b, 0, 0, 0, 0)
	for i := range entries {
		b = append(b, entries[i].key[:]...)
	}
	for i := range entries {
		e := &entries[i]
		b = binary.LittleEndian.AppendUint32(b, e.pack)
		b = binary.LittleEndian.AppendUint32(b, e.offset)
		b = binary.LittleEndian.AppendUint32(b, e.sealed)
		b = binary.LittleEndian.AppendUint32(b, e.start)
		b = binary.LittleEndian.AppendUint32(b, e.bytes)
	}
	return b
}

// decodeBlock maps a block; its entries refer to packs below packs.
func decodeBlock(v []byte, packs int) (*block, error) {
	if len(v) < blockHead {
		return nil, errLayout
	}
	n := int(binary.LittleEndian.Uint32(v))
	if n == 0 || n > blockEntries || len(v) != blockHead+n*(keySize+placeSize) {
		return nil, errLayout
	}
	b := &block{keys: v[blockHead : blockHead+n*keySize], places: v[blockHead+n*keySize:]}
	for i := range n {
		if int(binary.LittleEndian.Uint32(b.places[i*placeSize:])) >= packs {
			return nil, errLayout
		}
	}
	return b, nil
}

func encodeFilter(b []byte, f *filter) []byte {
	b = binary.LittleEndian.AppendUint64(b, f.Seed)
	b = binary.LittleEndian.AppendUint32(b, f.SegmentLength)
	b = binary.LittleEndian.AppendUint32(b, f.SegmentCount)
	b = binary.LittleEndian.AppendUint32(b, f.SegmentCountLength)
	b = append(b, 0, 0, 0, 0)
	return append(b, f.Fingerprints...)
}

// decodeFilter maps a filter. A look-up reads fingerprints up to SegmentCountLength + 2*SegmentLength, which the bounds
// here keep inside.
func decodeFilter(v []byte) (*filter, error) {
	if len(v) < filterHead {
		return nil, errLayout
	}
	f := &filter{
		Seed:               binary.LittleEndian.Uint64(v),
		SegmentLength:      binary.LittleEndian.Uint32(v[8:]),
		SegmentCount:       binary.LittleEndian.Uint32(v[12:]),
		SegmentCountLength: binary.LittleEndian.Uint32(v[16:]),
		Fingerprints:       v[filterHead:],
	}
	length := uint64(f.SegmentLength)
	if length == 0 || length&(length-1) != 0 || f.SegmentCount == 0 {
		return nil, errLayout
	}
	if uint64(f.SegmentCountLength) != uint64(f.SegmentCount)*length {
		return nil, errLayout
	}
	f.SegmentLengthMask = f.SegmentLength - 1
	if uint64(len(f.Fingerprints)) < uint64(f.SegmentCountLength)+2*length {
		return nil, errLayout
	}
	return f, nil
}
