package chunkstore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// cheapPassphrase is a recipient that costs next to nothing.
func cheapPassphrase(t *testing.T, passphrase string) age.Recipient {
	t.Helper()
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(4)
	return r
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	r := newRepository(t, benchVariant)
	other := newRepository(t, benchVariant)
	if _, err := chunkstore.Open(t.Context(), r.destination(t), other); !errors.Is(err, keys.ErrWrongKey) {
		t.Errorf("another's key: %v", err)
	}
	if _, err := chunkstore.Open(t.Context(), r.destination(t), keys.Passphrase("guess")); !errors.Is(err, keys.ErrWrongKey) {
		t.Errorf("a passphrase where there is none: %v", err)
	}
	if _, err := chunkstore.Open(t.Context(), r.destination(t), nil); !errors.Is(err, chunkstore.ErrKeyNeeded) {
		t.Errorf("no key: %v", err)
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		d, err := local.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chunkstore.Open(t.Context(), d, r); !errors.Is(err, chunkstore.ErrNoRepository) {
			t.Errorf("an empty or absent folder: %v", err)
		}
	}
}

// Whoever holds the storage can put a repository of their own there, which needs no key.
func TestAKeyForARepositoryWithoutEncryptionIsRefused(t *testing.T) {
	r := newRepository(t, variant{stripe.Shape{Data: 4, Parity: 2}, true})
	if _, err := chunkstore.Open(t.Context(), r.destination(t), r); !errors.Is(err, chunkstore.ErrKeyNotNeeded) {
		t.Errorf("got %v", err)
	}
}

func TestOpenNamesALaterFormat(t *testing.T) {
	r := newRepository(t, variant{stripe.Shape{Data: 4, Parity: 2}, true})
	for _, name := range []string{"config", "spare/config"} {
		r.edit(t, name, func(object []byte) []byte {
			payload := bytes.Clone(object[stripe.HeadSize : stripe.CellSize/2])
			payload[6] = 9
			return stripe.Encode(payload, stripe.Shape{Data: 1, Parity: 2}, chunkstore.ConfigSeedForTest())
		})
	}
	_, err := chunkstore.Open(t.Context(), r.destination(t), nil)
	var later *chunkstore.VersionError
	if !errors.As(err, &later) || later.Found != 9 || later.Known != chunkstore.FormatVersion {
		t.Errorf("format 9: %v", err)
	}
}

func TestAnAlteredConfigIsNotTrusted(t *testing.T) {
	r := newRepository(t, benchVariant)
	for _, name := range []string{"config", "spare/config"} {
		r.edit(t, name, func(object []byte) []byte {
			length := int(object[stripe.HeadSize+8]) | int(object[stripe.HeadSize+9])<<8
			payload := bytes.Clone(object[stripe.HeadSize:][:24+length+32])
			payload = bytes.Replace(payload, []byte(`"10+2"`), []byte(`"20+1"`), 1)
			return stripe.Encode(payload, stripe.Shape{Data: 1, Parity: 2}, chunkstore.ConfigSeedForTest())
		})
	}
	if _, err := chunkstore.Open(t.Context(), r.destination(t), r); !errors.Is(err, chunkstore.ErrDamaged) {
		t.Errorf("an altered config: %v", err)
	}
}

func TestInitNeverTakesARepositorysPlace(t *testing.T) {
	r := newRepository(t, benchVariant)
	write(t, r.Store, 1000, chunkstore.WriterOptions{})
	again := func() error {
		_, err := chunkstore.Init(t.Context(), r.destination(t), chunkstore.InitOptions{Recipients: []age.Recipient{r.identity.Recipient()}, Now: made})
		return err
	}
	if err := again(); !errors.Is(err, chunkstore.ErrRepositoryExists) {
		t.Errorf("over a repository: %v", err)
	}
	for _, name := range []string{"config", "spare/config"} {
		if err := os.Remove(r.file(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := again(); !errors.Is(err, chunkstore.ErrRepositoryExists) {
		t.Errorf("over packs without a config: %v", err)
	}
}

func TestOfManyInitsOneMakesTheRepository(t *testing.T) {
	dir := t.TempDir()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			d, err := local.New(dir)
			if err == nil {
				_, err = chunkstore.Init(context.Background(), d, chunkstore.InitOptions{Recipients: []age.Recipient{identity.Recipient()}, Now: made})
			}
			errs[i] = err
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, chunkstore.ErrRepositoryExists) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d made it", won)
	}
	r := &repository{dir: dir, identity: identity}
	if slots, err := r.reopen(t).Slots(t.Context()); err != nil || len(slots) != 1 {
		t.Errorf("slots: %v, %v", slots, err)
	}
}

func TestInitRefusesWhatCannotBe(t *testing.T) {
	for name, o := range map[string]chunkstore.InitOptions{
		"no recipient": {},
		"bad shape":    {Plain: true, Shape: stripe.Shape{Data: 0, Parity: 3}},
	} {
		dir := t.TempDir()
		d, err := local.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chunkstore.Init(t.Context(), d, o); err == nil {
			t.Errorf("%s: a repository was made", name)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

func TestSlotsOpenUntilTheyAreRemoved(t *testing.T) {
	r := newRepository(t, benchVariant)
	second, err := r.AddSlot(t.Context(), cheapPassphrase(t, "correct horse"), "laptop", made)
	if err != nil {
		t.Fatal(err)
	}
	slots, err := r.Slots(t.Context())
	if err != nil || len(slots) != 2 {
		t.Fatalf("slots: %v, %v", slots, err)
	}
	for _, s := range slots {
		if s.ID == second.ID && (s != second || s.Kind != "passphrase" || s.Label != "laptop") {
			t.Errorf("slot %+v, added was %+v", s, second)
		}
		if s.ID != second.ID && s.Kind != "X25519" {
			t.Errorf("slot %+v", s)
		}
	}
	s, err := chunkstore.Open(t.Context(), r.destination(t), keys.Passphrase("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if s.ChunkID([]byte("x")) != r.ChunkID([]byte("x")) {
		t.Error("another master key came out of the second slot")
	}
	if err := r.RemoveSlot(t.Context(), "nothing"); !errors.Is(err, chunkstore.ErrNoSlot) {
		t.Errorf("remove what is not there: %v", err)
	}
	if err := r.RemoveSlot(t.Context(), second.ID[:8]); err != nil {
		t.Fatal(err)
	}
	if _, err := chunkstore.Open(t.Context(), r.destination(t), keys.Passphrase("correct horse")); !errors.Is(err, keys.ErrWrongKey) {
		t.Errorf("the removed slot: %v", err)
	}
	first := strings.TrimSuffix(slots[0].ID, "x")
	if first == second.ID {
		first = slots[1].ID
	}
	if err := r.RemoveSlot(t.Context(), first); !errors.Is(err, chunkstore.ErrLastSlot) {
		t.Errorf("remove the last slot: %v", err)
	}
}

func TestADestroyedSlotDoesNotHinderTheOthers(t *testing.T) {
	r := newRepository(t, benchVariant)
	second, err := r.AddSlot(t.Context(), cheapPassphrase(t, "pass"), "", made)
	if err != nil {
		t.Fatal(err)
	}
	r.edit(t, "keys/"+second.ID, func([]byte) []byte { return []byte("foreign") })
	s := r.reopen(t)
	slots, err := s.Slots(t.Context())
	if err != nil || len(slots) != 2 {
		t.Fatal(slots, err)
	}
	for _, slot := range slots {
		if (slot.ID == second.ID) != (slot.Kind == "damaged") {
			t.Errorf("%+v", slot)
		}
		if slot.ID != second.ID {
			if err := s.RemoveSlot(t.Context(), slot.ID); !errors.Is(err, chunkstore.ErrLastSlot) {
				t.Errorf("remove the last slot that opens: %v", err)
			}
		}
	}
	if err := s.RemoveSlot(t.Context(), second.ID); err != nil {
		t.Errorf("remove the destroyed slot: %v", err)
	}
}

func TestForeignFilesAreReportedAndHarmless(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 100_000, chunkstore.WriterOptions{})
	foreign := map[string]bool{"notes.txt": true, "packs/readme": true, "keys/id_rsa": true, "lost/found": true, "packs/00/" + strings.Repeat("f", 32): true}
	for name := range foreign {
		if err := os.MkdirAll(filepath.Dir(r.file(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.file(name), []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unknown := "packs/ee/ee" + strings.Repeat("1", 30) // the name of a pack, but nobody's content
	if err := os.MkdirAll(filepath.Dir(r.file(unknown)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file(unknown), newSource(1).noise(10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	s := r.reopen(t)
	mustReadAll(t, s, want)
	err := s.Objects(t.Context(), func(i destination.Info, isForeign bool) error {
		if isForeign != foreign[i.Name] {
			t.Errorf("%s: foreign %v", i.Name, isForeign)
		}
		c, err := s.CheckObject(t.Context(), i.Name, true)
		if err != nil || c.OK() == (isForeign || i.Name == unknown) || c.Foreign != isForeign {
			t.Errorf("check: %+v, %v", c, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	packs := 0
	if err := s.Packs(t.Context(), func(chunkstore.PackInfo) error { packs++; return nil }); err != nil || packs != 2 {
		t.Errorf("%d packs are listed: %v", packs, err)
	}
	if c, err := s.RepairObject(t.Context(), "notes.txt"); err != nil || !c.Foreign || c.Repaired {
		t.Errorf("repair a foreign file: %+v, %v", c, err)
	}
}

// A config without its slots would be a repository that nobody can ever open, or make anew.
func TestInterruptedInitLeavesAWholeRepositoryOrNone(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, fail := range []string{"keys/", "config", "spare/config"} {
		for _, cut := range []bool{false, true} { // short of space, or interrupted just then
			r := &repository{dir: t.TempDir(), identity: identity}
			ctx, cancel := context.WithCancel(t.Context())
			f := &faulty{Destination: r.destination(t), create: func(name string) error {
				switch {
				case !strings.HasPrefix(name, fail):
				case cut:
					cancel()
				default:
					return syscall.ENOSPC
				}
				return nil
			}}
			options := chunkstore.InitOptions{Recipients: []age.Recipient{identity.Recipient()}, Now: made}
			s, err := chunkstore.Init(ctx, f, options)
			cancel()
			if err == nil {
				s.Close()
				r.reopen(t)
				continue
			}
			if s, err = chunkstore.Init(t.Context(), r.destination(t), options); err != nil {
				t.Errorf("after failing at %s (interrupted: %v): %v", fail, cut, err)
				continue
			}
			s.Close()
			r.reopen(t)
		}
	}
}
