package index

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

var update = flag.Bool("update", false, "write the golden files of this package afresh")

// genPacks draws packs with chunks in frames, each chunk once.
func genPacks(rt *rapid.T) []chunkstore.Pack {
	var packs []chunkstore.Pack
	seen := make(map[chunkstore.ID]bool)
	for range rapid.IntRange(0, 4).Draw(rt, "packs") {
		p := chunkstore.Pack{
			Kind: rapid.SampledFrom([]chunkstore.Kind{chunkstore.KindData, chunkstore.KindTree}).Draw(rt, "kind"),
			Size: rapid.Int64Range(0, 1<<40).Draw(rt, "size"),
		}
		copy(p.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "pack"))
		at := rapid.Uint32Range(0, 1<<20).Draw(rt, "offset")
		for range rapid.IntRange(0, 5).Draw(rt, "frames") {
			l := chunkstore.Location{Pack: p.ID, Offset: at, Sealed: rapid.Uint32Range(1, 1<<24).Draw(rt, "sealed")}
			for range rapid.IntRange(1, 6).Draw(rt, "chunks") {
				l.Length = rapid.Uint32Range(0, 1<<18).Draw(rt, "length")
				var id chunkstore.ID
				copy(id[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "id"))
				if !seen[id] {
					seen[id] = true
					p.Chunks = append(p.Chunks, chunkstore.Placed{ID: id, Location: l})
				}
				l.Start += l.Length
			}
			at += l.Sealed + rapid.Uint32Range(0, 100).Draw(rt, "gap")
		}
		packs = append(packs, p)
	}
	return packs
}

// sorted puts the chunks of each pack in the order in which a listing gives them back.
func sorted(packs []chunkstore.Pack) []chunkstore.Pack {
	out := slices.Clone(packs)
	for i := range out {
		out[i].Chunks = slices.Clone(out[i].Chunks)
		slices.SortFunc(out[i].Chunks, func(a, b chunkstore.Placed) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		if out[i].Chunks == nil {
			out[i].Chunks = []chunkstore.Placed{}
		}
	}
	return out
}

func TestListingComesBackAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		packs := genPacks(rt)
		got, err := decodeListing(encodeListing(packs))
		if err != nil {
			rt.Fatal(err)
		}
		if len(packs) == 0 && len(got) == 0 {
			return
		}
		if diff := cmp.Diff(sorted(packs), got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func goldenPacks() []chunkstore.Pack {
	var packs []chunkstore.Pack
	for n := range byte(2) {
		p := chunkstore.Pack{ID: chunkstore.PackID{0xaa, n}, Kind: chunkstore.Kind(n + 1), Size: 33_554_432 + int64(n)}
		for i := range byte(6) {
			l := chunkstore.Location{
				Pack: p.ID, Offset: 64 + uint32(i/3)*700_000, Sealed: 700_000 - uint32(n), Start: uint32(i%3) * 65536, Length: 65536,
			}
			p.Chunks = append(p.Chunks, chunkstore.Placed{ID: chunkstore.ID{i * 37, n, 31: i}, Location: l})
		}
		packs = append(packs, p)
	}
	return packs
}

func goldenPoint() *Point {
	return &Point{
		Name: "2026-11-23T21-05-00Z", Sequence: 42, Source: "docs", Host: "host\xff", User: "me", Task: "nightly", Kind: Incremental,
		Started: time.Date(2026, 11, 23, 21, 5, 0, 123456789, time.UTC), Finished: time.Date(2026, 11, 23, 21, 6, 0, 0, time.UTC),
		Zone: "CET", Offset: 3600, Paths: []string{"/home/me/docs", "/srv/\xfe\n"},
		Root: tree.Ref{
			ID:     chunkstore.ID{1, 2, 3, 31: 0xff},
			Totals: tree.Totals{Entries: 10, Files: 7, Dirs: 2, Bytes: 1 << 40},
		},
		Stats: Stats{
			Files: 1, Dirs: 2, Others: 3, Bytes: 4, Read: 5, New: 6, Changed: 7, Unchanged: 8, Removed: 9,
			Chunks: 10, Added: 11, AddedStored: 12, Reused: 13, Errors: 14,
		},
		Problems:    []Problem{{Path: "a\xffb", Message: "permission denied"}},
		Consistency: "snapshot", Config: map[string]string{"exclude": "*.o\n*.a"}, Tags: []string{"before upgrade"},
		Pinned: true, Format: recordFormat,
	}
}

// golden compares what is written today with what the file pins, and returns what the file holds.
func golden(t *testing.T, name string, now []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pinned, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pinned, now) {
		t.Errorf("%s is written differently now: %d bytes, pinned %d", name, len(now), len(pinned))
	}
	return pinned
}

func TestListingsAreWrittenAndReadAsEver(t *testing.T) {
	got, err := decodeListing(golden(t, "listing.golden", encodeListing(goldenPacks())))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sorted(goldenPacks()), got); diff != "" {
		t.Error(diff)
	}
}

func TestRecordsAreWrittenAndReadAsEver(t *testing.T) {
	now, err := encodePoint(goldenPoint())
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodePoint(golden(t, "record.golden", now))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenPoint(), got); diff != "" {
		t.Error(diff)
	}
}

func TestSessionsAreWrittenAndReadAsEver(t *testing.T) {
	m := marker{Format: recordFormat, Source: "docs\xff", Host: "host", User: "me", PID: 7, Started: at("2026-11-23T21:05:00Z"), Renewed: at("2026-11-23T21:10:00Z")}
	now, err := encodeMarker(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeMarker(golden(t, "session.golden", now))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Error(diff)
	}
}

func TestTextOfAnyBytesSurvives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := goldenPoint()
		p.Source = "x" + string(rapid.SliceOf(rapid.Byte()).Draw(rt, "source"))
		p.Paths = []string{string(rapid.SliceOf(rapid.Byte()).Draw(rt, "path"))}
		p.Problems = []Problem{{Path: string(rapid.SliceOf(rapid.Byte()).Draw(rt, "problem")), Message: rapid.String().Draw(rt, "message")}}
		b, err := encodePoint(p)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := decodePoint(b)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestLaterFormatsAreToldAsSuch(t *testing.T) {
	var later *chunkstore.VersionError
	if _, err := decodeListing([]byte{9, 1, 2}); !errors.As(err, &later) || later.Found != 9 {
		t.Errorf("listing: %v", err)
	}
	b, err := encodePoint(goldenPoint())
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.Replace(string(b), `"format":1`, `"format":8,"unheard":{"of":[1]}`, 1))
	if _, err := decodePoint(b); !errors.As(err, &later) || later.Found != 8 {
		t.Errorf("record: %v", err)
	}
}

func FuzzListing(f *testing.F) {
	f.Add(encodeListing(goldenPacks()))
	f.Add([]byte{listingFormat, 0, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		packs, err := decodeListing(payload)
		if err != nil {
			return
		}
		again, err := decodeListing(encodeListing(packs))
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if diff := cmp.Diff(packs, again); diff != "" && distinct(packs) {
			t.Fatal(diff)
		}
	})
}

// distinct tells whether each frame's offset and each chunk occurs once, as in all listings that are written.
func distinct(packs []chunkstore.Pack) bool {
	ids := make(map[chunkstore.ID]bool)
	sealed := make(map[chunkstore.Location]uint32)
	for i, p := range packs {
		for _, c := range p.Chunks {
			frame := chunkstore.Location{Pack: chunkstore.PackID{byte(i), byte(i >> 8)}, Offset: c.Location.Offset}
			if s, ok := sealed[frame]; ids[c.ID] || ok && s != c.Location.Sealed {
				return false
			}
			ids[c.ID] = true
			sealed[frame] = c.Location.Sealed
		}
	}
	return true
}

func FuzzRecord(f *testing.F) {
	b, err := encodePoint(goldenPoint())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"source":{"base64":"/w=="}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := decodePoint(payload)
		if err != nil {
			return
		}
		b, err := encodePoint(p)
		if err != nil {
			return // a year beyond 9999
		}
		again, err := decodePoint(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
