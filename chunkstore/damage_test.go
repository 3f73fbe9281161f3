package chunkstore_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// harm is something that happens to an object of rows rows in shape s, within what parity covers.
type harm struct {
	name string
	do   func(object []byte, s stripe.Shape, rows int) []byte
}

var harms = []harm{
	{"as many cells of each row as there is parity are flipped", func(object []byte, s stripe.Shape, rows int) []byte {
		r := rand.New(rand.NewPCG(1, 2))
		for row := range rows {
			for _, shard := range r.Perm(s.Data + s.Parity)[:s.Parity] {
				object[(shard*rows+row)*stripe.CellSize+r.IntN(stripe.CellSize)] ^= 1 << r.IntN(8)
			}
		}
		return object
	}},
	{"the first shards are zeroed", func(object []byte, s stripe.Shape, rows int) []byte {
		clear(object[:s.Parity*rows*stripe.CellSize])
		return object
	}},
	{"a burst over as many shards as there is parity, off the boundaries of cells", func(object []byte, s stripe.Shape, rows int) []byte {
		length := s.Parity*rows*stripe.CellSize - stripe.CellSize
		start := min(stripe.CellSize/2+7, len(object)-length)
		for i := range object[start : start+length] {
			object[start+i] = 0xa5
		}
		return object
	}},
	{"the end is cut off", func(object []byte, s stripe.Shape, rows int) []byte {
		return object[:len(object)-s.Parity*rows*stripe.CellSize]
	}},
	{"the end is cut off in the middle of a cell", func(object []byte, s stripe.Shape, rows int) []byte {
		return object[:len(object)-s.Parity*rows*stripe.CellSize+100]
	}},
	{"something is appended", func(object []byte, s stripe.Shape, rows int) []byte {
		return append(object, newSource(9).noise(5000)...)
	}},
}

// shapeOf gives the shape that an object of size bytes has in a repository of shape s.
func shapeOf(size int, s stripe.Shape) (stripe.Shape, int) {
	cells := size / stripe.CellSize
	for data := 1; data < s.Data; data++ {
		if cells == data+s.Parity {
			return stripe.Shape{Data: data, Parity: s.Parity}, 1
		}
	}
	return s, cells / (s.Data + s.Parity)
}

func TestDamageWithinParityIsInvisibleAndMended(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		for _, h := range harms {
			t.Run(h.name, func(t *testing.T) {
				r := newRepository(t, v)
				want := write(t, r.Store, 300_000, chunkstore.WriterOptions{})
				record := newSource(3).chunk(20_000)
				if err := r.PutObject(t.Context(), chunkstore.TypePoint, "1", record); err != nil {
					t.Fatal(err)
				}
				names := []string{want.packs[0].ID.ObjectName(), "points/1"}
				before := map[string][]byte{}
				for _, name := range names {
					r.edit(t, name, func(object []byte) []byte {
						before[name] = bytes.Clone(object)
						shape, rows := shapeOf(len(object), v.shape)
						return h.do(object, shape, rows)
					})
				}
				s := r.reopen(t)
				mustReadAll(t, s, want)
				if got, err := s.GetObject(t.Context(), chunkstore.TypePoint, "1"); err != nil || !bytes.Equal(got, record) {
					t.Fatalf("the record: %d bytes, %v", len(got), err)
				}
				for _, name := range names {
					mustMend(t, r, s, name, before[name])
				}
				mustReadAll(t, s, want)
				mustReadAll(t, r.reopen(t), want)
			})
		}
	})
}

// mustMend checks that an object's damage is found, is mended byte for byte, and is gone then.
func mustMend(t *testing.T, r *repository, s *chunkstore.Store, name string, whole []byte) {
	t.Helper()
	c, err := s.CheckObject(t.Context(), name, true)
	if err != nil || c.OK() || !c.Readable() || c.Lost != 0 || len(c.BadFrames) != 0 {
		t.Fatalf("check before: %+v, %v", c, err)
	}
	if c, err = s.RepairObject(t.Context(), name); err != nil || !c.Repaired {
		t.Fatalf("repair: %+v, %v", c, err)
	}
	mended, err := os.ReadFile(r.file(name))
	if err != nil || !bytes.Equal(mended, whole) {
		t.Fatalf("%s is not what it was: %v", name, err)
	}
	if c, err = s.CheckObject(t.Context(), name, true); err != nil || !c.OK() || c.Cells == 0 {
		t.Fatalf("check after: %+v, %v", c, err)
	}
	if c, err = s.RepairObject(t.Context(), name); err != nil || c.Repaired {
		t.Fatalf("repair what is whole: %+v, %v", c, err)
	}
}

func TestDamageBeyondParityIsNamedAndTheRestIsRead(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		want := write(t, r.Store, 6<<20, chunkstore.WriterOptions{})
		pack := want.packs[0]
		name := pack.ID.ObjectName()
		frames := framesOf(pack)
		hit := frames[len(frames)/2]
		cell := (int(hit.Offset) + int(hit.Sealed)/2) / stripe.ContentSize
		r.edit(t, name, func(object []byte) []byte {
			rows := len(object) / stripe.CellSize / (v.shape.Data + v.shape.Parity)
			shard, row := cell/rows, cell%rows
			for i := range v.shape.Parity + 1 { // one more than parity covers, all in the hit frame's row
				other := (shard + i) % (v.shape.Data + v.shape.Parity)
				if i > 0 {
					other = v.shape.Data + v.shape.Parity - i
				}
				object[(other*rows+row)*stripe.CellSize+1000] ^= 1
			}
			return object
		})
		s := r.reopen(t)
		mustLoseOnly(t, s, want, hit)
		c, err := s.CheckObject(t.Context(), name, true)
		if err != nil || c.OK() || c.Readable() || c.Lost == 0 || len(c.BadFrames) == 0 || c.BadFrames[0] != hit {
			t.Fatalf("check: %+v, %v", c, err)
		}
		if _, err := s.RepairObject(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		mustLoseOnly(t, s, want, hit) // still, and still known
	})
}

// mustLoseOnly reads every chunk and expects damage in one frame alone.
func mustLoseOnly(t *testing.T, s *chunkstore.Store, want *stored, hit chunkstore.FrameRef) {
	t.Helper()
	name := want.packs[0].ID.ObjectName()
	for _, c := range want.chunks() {
		data, err := s.Read(t.Context(), c.ID, c.Location, nil)
		if c.Location.Offset != hit.Offset {
			if err != nil || !bytes.Equal(data, want.contents[c.ID]) {
				t.Fatalf("%v, which is whole: %v", c.Location, err)
			}
			continue
		}
		var damage *chunkstore.DamageError
		if !errors.As(err, &damage) || !errors.Is(err, chunkstore.ErrDamaged) {
			t.Fatalf("%v, which is lost: %v", c.Location, err)
		}
		start, end := int64(hit.Offset), int64(hit.Offset)+int64(hit.Sealed)
		if damage.Object != name || damage.Offset < start || damage.Offset+damage.Length > end || damage.Length == 0 {
			t.Fatalf("damage in %v is told as %+v", hit, damage)
		}
	}
}

func TestFramesReportsDamageByFrame(t *testing.T) {
	r := newRepository(t, variant{stripe.Shape{Data: 4, Parity: 2}, false})
	want := write(t, r.Store, 8<<20, chunkstore.WriterOptions{})
	pack := want.packs[0]
	frames := framesOf(pack)
	hit := frames[1]
	r.edit(t, pack.ID.ObjectName(), func(object []byte) []byte {
		rows := len(object) / stripe.CellSize / 6
		row := (int(hit.Offset) + stripe.ContentSize) / stripe.ContentSize % rows
		for shard := range 6 {
			clear(object[(shard*rows+row)*stripe.CellSize:][:stripe.CellSize])
		}
		return object
	})
	// A frame that the pack does not have must not take its neighbours along.
	asked := append(frames, chunkstore.FrameRef{Offset: 1 << 31, Sealed: 1 << 20})
	var good, bad, i int
	err := r.reopen(t).Frames(t.Context(), pack.ID, asked, func(ref chunkstore.FrameRef, opened []byte, err error) error {
		if ref != asked[i] {
			t.Errorf("frame %v came where %v was asked", ref, asked[i])
		}
		i++
		var damage *chunkstore.DamageError
		switch {
		case err == nil:
			good++
		case errors.As(err, &damage):
			bad++
		default:
			t.Errorf("%v: %v", ref, err)
		}
		return nil
	})
	if err != nil || i != len(asked) || good == 0 || bad < 2 {
		t.Errorf("%d frames of %d came, %d good, %d bad: %v", i, len(asked), good, bad, err)
	}
}

func TestAMissingPackIsNamed(t *testing.T) {
	r := newRepository(t, benchVariant)
	want := write(t, r.Store, 1<<20, chunkstore.WriterOptions{})
	name := want.packs[0].ID.ObjectName()
	if err := os.Remove(r.file(name)); err != nil {
		t.Fatal(err)
	}
	s := r.reopen(t)
	c := want.chunks()[0]
	_, err := s.Read(t.Context(), c.ID, c.Location, nil)
	var damage *chunkstore.DamageError
	if !errors.As(err, &damage) || !errors.Is(err, chunkstore.ErrMissing) || damage.Object != name {
		t.Errorf("read: %v", err)
	}
	if check, err := s.CheckObject(t.Context(), name, false); err != nil || !check.Missing || check.OK() {
		t.Errorf("check: %+v, %v", check, err)
	}
	if check, err := s.RepairObject(t.Context(), name); err != nil || !check.Missing || check.Repaired {
		t.Errorf("repair: %+v, %v", check, err)
	}
}

func TestSwappedObjectsAreDamage(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		want := write(t, r.Store, 6<<20, chunkstore.WriterOptions{PackSize: 1 << 20})
		for _, name := range []string{"1", "2"} {
			if err := r.PutObject(t.Context(), chunkstore.TypePoint, name, []byte("record "+name)); err != nil {
				t.Fatal(err)
			}
		}
		swap(t, r.file(want.packs[0].ID.ObjectName()), r.file(want.packs[1].ID.ObjectName()))
		swap(t, r.file("points/1"), r.file("points/2"))
		s := r.reopen(t)
		var damage *chunkstore.DamageError
		for _, c := range want.chunks() {
			_, err := s.Read(t.Context(), c.ID, c.Location, nil)
			swapped := c.Location.Pack == want.packs[0].ID || c.Location.Pack == want.packs[1].ID
			if swapped != errors.As(err, &damage) || !swapped && err != nil {
				t.Fatalf("%v, swapped %v: %v", c.Location, swapped, err)
			}
		}
		for _, name := range []string{"1", "2"} {
			if got, err := s.GetObject(t.Context(), chunkstore.TypePoint, name); !errors.As(err, &damage) {
				t.Errorf("record %s: %q, %v", name, got, err)
			}
		}
	})
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	if err := errors.Join(os.Rename(a, a+"x"), os.Rename(b, a), os.Rename(a+"x", b)); err != nil {
		t.Fatal(err)
	}
}

func TestAForgedObjectWithGoodCellsIsDamage(t *testing.T) {
	// Cells find accidents; the seal finds malice: here the cells are made anew around changed bytes.
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		if err := r.PutObject(t.Context(), chunkstore.TypePoint, "1", newSource(1).noise(3000)); err != nil {
			t.Fatal(err)
		}
		seed := r.SeedForTest("points/1")
		r.edit(t, "points/1", func(object []byte) []byte {
			payload := bytes.Clone(object[stripe.HeadSize : stripe.HeadSize+24+3000+16])
			payload[500] ^= 1
			return stripe.Encode(payload, v.shape, seed)
		})
		var damage *chunkstore.DamageError
		if got, err := r.GetObject(t.Context(), chunkstore.TypePoint, "1"); !errors.As(err, &damage) {
			t.Errorf("%d bytes came, %v", len(got), err)
		}
	})
}

func TestConfigAndSlotsOutliveTheLossOfTheirCopies(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		r := newRepository(t, v)
		names := []string{"config"}
		slots, err := r.Slots(t.Context())
		if err == nil {
			names = append(names, "keys/"+slots[0].ID)
		} else if !v.plain {
			t.Fatal(err)
		}
		for _, name := range names {
			r.edit(t, name, func(object []byte) []byte {
				clear(object[:len(object)/3*2/stripe.CellSize*stripe.CellSize])
				return object
			})
		}
		s := r.reopen(t)
		for _, name := range names {
			if c, err := s.RepairObject(t.Context(), name); err != nil || !c.Repaired {
				t.Errorf("repair %s: %+v, %v", name, c, err)
			}
			if c, err := s.CheckObject(t.Context(), name, true); err != nil || !c.OK() {
				t.Errorf("check %s: %+v, %v", name, c, err)
			}
		}
	})
}

func TestALostConfigIsMadeAgainFromItsSpare(t *testing.T) {
	eachVariant(t, func(t *testing.T, v variant) {
		for _, name := range []string{"config", "spare/config"} {
			r := newRepository(t, v)
			whole, err := os.ReadFile(r.file(name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(r.file(name)); err != nil {
				t.Fatal(err)
			}
			s := r.reopen(t)
			if c, err := s.CheckObject(t.Context(), name, false); err != nil || !c.Missing {
				t.Errorf("check %s: %+v, %v", name, c, err)
			}
			if c, err := s.RepairObject(t.Context(), name); err != nil || !c.Repaired {
				t.Errorf("repair %s: %+v, %v", name, c, err)
			}
			if mended, err := os.ReadFile(r.file(name)); err != nil || !bytes.Equal(mended, whole) {
				t.Errorf("%s is not what it was: %v", name, err)
			}
		}
	})
}
