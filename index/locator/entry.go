package locator

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cairn-backup/cairn/chunkstore"
)

// keySize is how many bytes of an id an entry keeps.
const keySize = 16

// entry is a chunk and its place. The pack is a number in a table of packs.
type entry struct {
	key                          [keySize]byte
	pack                         uint32
	offset, sealed, start, bytes uint32
}

func compareKeys(a, b *entry) int { return bytes.Compare(a.key[:], b.key[:]) }

// prefix is the first half of a key, which finds its place among others.
func prefix(key []byte) uint64 { return binary.BigEndian.Uint64(key) }

// filterKey is the second half of a key, which the filters know it by.
func filterKey(key []byte) uint64 { return binary.LittleEndian.Uint64(key[8:keySize]) }

// collect turns packs into sorted entries, each chunk once for each pack that holds it, and the packs they are numbered by.
func collect(packs []chunkstore.Pack) ([]entry, []PackRecord) {
	n := 0
	for _, p := range packs {
		n += len(p.Chunks)
	}
	entries := make([]entry, 0, n)
	records := make([]PackRecord, 0, len(packs))
	for i, p := range packs {
		records = append(records, PackRecord{ID: p.ID, Kind: p.Kind, Size: p.Size})
		for _, c := range p.Chunks {
			l := c.Location
			e := entry{pack: uint32(i), offset: l.Offset, sealed: l.Sealed, start: l.Start, bytes: l.Length}
			copy(e.key[:], c.ID[:])
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if c := cmp.Compare(prefix(a.key[:]), prefix(b.key[:])); c != 0 {
			return c
		}
		return cmp.Or(compareKeys(&a, &b), cmp.Compare(a.pack, b.pack))
	})
	return slices.CompactFunc(entries, func(a, b entry) bool { return a.key == b.key && a.pack == b.pack }), records
}
