package tree

import (
	"fmt"
	"testing"
)

// benchEntries is a leaf as a source tree gives it: 500 files of one chunk.
func benchEntries() []Entry {
	entries := make([]Entry, 500)
	for i := range entries {
		entries[i] = Entry{Name: fmt.Sprintf("some_source_file_%05d.c", i), Type: File, Mode: 0o644, UID: 1000, GID: 1000, User: "ann", Group: "ann",
			Size: int64(i * 37), Mtime: 1_700_000_000_000_000_000 + int64(i%40)*1e9, Ctime: 1_790_000_000_123_456_789 + int64(i)*4_000_037,
			Device: 64769, Inode: 1_000_000 + uint64(i), Links: 1, Content: []Extent{{idOf(i), int64(i*37 + 1)}}}
		entries[i].Size++
	}
	return entries
}

func BenchmarkLeafEncode(b *testing.B) {
	entries := benchEntries()
	var enc encoder
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = enc.encodeLeaf(buf[:0], kindLeaf, entries)
	}
	b.ReportMetric(float64(b.N)*float64(len(entries))/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(len(buf))/float64(len(entries)), "B/entry")
}

func BenchmarkLeafDecode(b *testing.B) {
	entries := benchEntries()
	var enc encoder
	node := enc.encodeLeaf(nil, kindLeaf, entries)
	b.SetBytes(int64(len(node)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeLeaf(node); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(len(entries))/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkLookupInAMillion(b *testing.B) {
	m := newMemory()
	ref := bigDir(b, m, 1_000_000, none)
	d, err := OpenDir(b.Context(), m, ref.ID)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i = (i + 7919*13) % 1_000_000
		if _, err := d.Lookup(b.Context(), fmt.Sprintf("file-%08d", i)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkContentAt(b *testing.B) {
	m := newMemory()
	xs, size := longContent(12_800)
	e := &Entry{Name: "f", Type: File, Size: size, Content: xs}
	if err := spill(b.Context(), m, e); err != nil {
		b.Fatal(err)
	}
	c, err := OpenContent(b.Context(), m, e)
	if err != nil {
		b.Fatal(err)
	}
	off := int64(0)
	for b.Loop() {
		off = (off + 982_451_653) % size
		if _, err := c.At(b.Context(), off); err != nil {
			b.Fatal(err)
		}
	}
}
