package index

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cairn-backup/cairn/chunkstore"
)

func FuzzSessionMarker(f *testing.F) {
	at := time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC)
	b, err := encodeMarker(marker{Source: "docs\xff", Host: "host", PID: 7, Started: at, Renewed: at, Stored: 1 << 40})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"source":{"base64":"="}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, err := decodeMarker(payload)
		if err != nil {
			return
		}
		b, err := encodeMarker(m)
		if err != nil {
			return // a year beyond 9999
		}
		if _, err := decodeMarker(b); err != nil {
			t.Fatalf("%s became %s: %v", payload, b, err)
		}
	})
}

func FuzzGraves(f *testing.F) {
	f.Add(encodeIDs([]chunkstore.PackID{{1}, {2}}))
	f.Add(encodeLedger(entryOfLedger{gone: []chunkstore.PackID{{1}}, replaced: [][16]byte{{2}},
		lost: []LostPlaces{{Pack: chunkstore.PackID{3}, Whole: true}, {Pack: chunkstore.PackID{4}, Frames: []uint32{48, 900}}}}))
	f.Add([]byte{graveFormat, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var later *chunkstore.VersionError
		ids, err := decodeIDs[chunkstore.PackID](payload)
		if err == nil {
			again, err := decodeIDs[chunkstore.PackID](encodeIDs(ids))
			if err != nil || !cmp.Equal(ids, again) {
				t.Errorf("%x became %x: %v", ids, again, err)
			}
		} else if !errors.Is(err, errGrave) && !errors.As(err, &later) {
			t.Errorf("%x: an error of no kind: %v", payload, err)
		}
		e, err := decodeLedger(bytes.Clone(payload))
		if err != nil {
			return
		}
		again, err := decodeLedger(encodeLedger(e))
		if diff := cmp.Diff(e, again, cmp.AllowUnexported(entryOfLedger{}), cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	})
}
