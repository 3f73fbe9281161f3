package chunkstore_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// spreadOut makes an object of each shard of a pack.
func spreadOut(t *testing.T, r *repository, pack string, s stripe.Shape) {
	t.Helper()
	object, err := os.ReadFile(r.file(pack))
	if err != nil {
		t.Fatal(err)
	}
	length := len(object) / (s.Data + s.Parity)
	for shard := range s.Data + s.Parity {
		if err := os.WriteFile(r.file(fmt.Sprintf("%s.%02x", pack, shard)), object[shard*length:(shard+1)*length], 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(r.file(pack)); err != nil {
		t.Fatal(err)
	}
}

func TestShardsMayBeObjectsOfTheirOwn(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		want := write(t, r.Store, 500_000, chunkstore.WriterOptions{})
		pack := want.packs[0].ID.ObjectName()
		spreadOut(t, r, pack, v.shape)
		mustBeWhole(t, r.reopen(t), want)
		for shard := range v.shape.Parity { // any as many as there is parity: here the first, where the data is
			if err := os.Remove(r.file(fmt.Sprintf("%s.%02x", pack, shard))); err != nil {
				t.Fatal(err)
			}
		}
		s := r.reopen(t)
		mustReadAll(t, s, want)
		if c, err := s.CheckObject(t.Context(), pack, true); err != nil || c.OK() || c.Lost != 0 {
			t.Errorf("check with lost shards: %+v, %v", c, err)
		}
		if c, err := s.RepairObject(t.Context(), pack); err != nil || !c.Repaired {
			t.Errorf("repair: %+v, %v", c, err)
		}
		mustBeWhole(t, r.reopen(t), want)
	})
}

// mustBeWhole reads everything and expects one pack without damage.
func mustBeWhole(t *testing.T, s *chunkstore.Store, want *stored) {
	t.Helper()
	mustReadAll(t, s, want)
	packs := 0
	err := s.Objects(t.Context(), func(i destination.Info, foreign bool) error {
		if _, ok := chunkstore.ParsePackID(i.Name); !ok {
			return nil
		}
		packs++
		c, err := s.CheckObject(t.Context(), i.Name, true)
		if err != nil || !c.OK() || foreign || i.Size != want.packs[0].Size {
			t.Errorf("%+v, foreign %v: %+v, %v", i, foreign, c, err)
		}
		return nil
	})
	if err != nil || packs != 1 {
		t.Errorf("%d packs, %v", packs, err)
	}
}
