package stripe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const testSeed = 0x0123456789abcdef

// memory is an object in memory. Cells in eio cannot be read.
type memory struct {
	data  []byte
	eio   map[int64]bool
	reads int
	bytes int
}

func (m *memory) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	m.reads++
	if off >= int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	m.bytes += n
	for cell := off / CellSize; cell*CellSize < off+int64(n); cell++ {
		if m.eio[cell] {
			return int(max(0, cell*CellSize-off)), errors.New("input/output error")
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// apart has each shard in an object of its own; nil means that it is gone.
type apart [][]byte

func (a apart) ReadShard(_ context.Context, shard int, p []byte, off int64) error {
	if a[shard] == nil {
		return fmt.Errorf("open shard %d: %w", shard, ErrMissing)
	}
	if off+int64(len(p)) > int64(len(a[shard])) {
		return io.ErrUnexpectedEOF
	}
	copy(p, a[shard][off:])
	return nil
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = source.Read(p)
	return p
}

// object is one built for tests, with its parts at hand.
type object struct {
	*memory
	payload  []byte
	layout   Layout
	pristine []byte
}

func build(payload []byte, shape Shape) *object {
	data := Encode(payload, shape, testSeed)
	return &object{
		memory: &memory{data: data, eio: map[int64]bool{}}, payload: payload, pristine: bytes.Clone(data),
		layout: Layout{Shape: ShapeFor(len(payload), shape), Length: int64(len(payload))},
	}
}

func (o *object) reader() *Reader {
	return NewReader(OneObject(o.memory, o.layout), o.layout, testSeed)
}

// hurt damages one byte of a cell.
func (o *object) hurt(cell int64) { o.data[cell*CellSize+cell%CellSize] ^= 0x40 }

func (o *object) mustRead(t testing.TB) {
	t.Helper()
	got := bytes.Repeat([]byte{0xee}, len(o.payload))
	if err := o.reader().ReadAt(context.Background(), got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, o.payload) {
		t.Fatal("read something else than what was written")
	}
}

func TestShapesAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]Shape{"10+2": {10, 2}, "1+0": {1, 0}, "200+55": {200, 55}} {
		got, err := ParseShape(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseShape(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "10", "+", "0+2", "201+1", "10+56", "10+-1", "10+2+1", "ten+two"} {
		if _, err := ParseShape(text); err == nil {
			t.Errorf("ParseShape(%q) was accepted", text)
		}
	}
}

func TestSmallPayloadsGetOneDataCellEach(t *testing.T) {
	shape := Shape{10, 2}
	for payload, want := range map[int]Shape{
		0: {1, 2}, 1: {1, 2}, ContentSize: {1, 2}, ContentSize + 1: {2, 2}, 9 * ContentSize: {9, 2}, 9*ContentSize + 1: {10, 2}, 1 << 20: {10, 2},
	} {
		got := ShapeFor(payload, shape)
		if got != want || ShapeFor(payload, got) != got {
			t.Errorf("ShapeFor(%d) = %v, want %v", payload, got, want)
		}
	}
}

func TestOneCellIsKeptAsCopies(t *testing.T) {
	o := build([]byte("a small object"), Shape{10, 2})
	if len(o.data) != 3*CellSize {
		t.Fatalf("object of %d bytes", len(o.data))
	}
	for i := 1; i < 3; i++ {
		if !bytes.Equal(o.data[HeadSize:CellSize], o.data[i*CellSize+HeadSize:(i+1)*CellSize]) {
			t.Errorf("parity cell %d is no copy", i)
		}
	}
}

func TestReadingReturnsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := Shape{rapid.IntRange(1, 14).Draw(t, "data"), rapid.IntRange(0, 4).Draw(t, "parity")}
		payload := randomBytes(rapid.IntRange(0, 90_000).Draw(t, "length"))
		o := build(payload, shape)
		if int64(len(o.data)) != o.layout.Size() {
			t.Fatalf("object of %d bytes, layout says %d", len(o.data), o.layout.Size())
		}
		off := rapid.IntRange(0, len(payload)).Draw(t, "off")
		got := make([]byte, rapid.IntRange(0, len(payload)-off).Draw(t, "n"))
		if err := o.reader().ReadAt(context.Background(), got, int64(off)); err != nil || !bytes.Equal(got, payload[off:off+len(got)]) {
			t.Fatalf("read %d at %d: %v", len(got), off, err)
		}
	})
}

func TestDamageUpToParityIsHealedAndMoreIsNamedExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shape := Shape{rapid.IntRange(1, 12).Draw(t, "data"), rapid.IntRange(0, 4).Draw(t, "parity")}
		o := build(randomBytes(rapid.IntRange(0, 60_000).Draw(t, "length")), shape)
		rows := o.layout.Rows()
		bad := make([]int, rows)
		cells := rapid.SliceOfDistinct(rapid.Int64Range(0, o.layout.cells()-1), rapid.ID).Draw(t, "bad")
		for _, cell := range cells {
			bad[cell%rows]++
			if rapid.Bool().Draw(t, "unreadable") {
				o.eio[cell] = true
			} else {
				o.hurt(cell)
			}
		}
		want := bytes.Clone(o.payload)
		var lost lostRanges
		var lostCells int64
		for cell := range o.layout.cells() {
			isBad := o.eio[cell] || !bytes.Equal(o.data[cell*CellSize:(cell+1)*CellSize], o.pristine[cell*CellSize:(cell+1)*CellSize])
			if !isBad || bad[cell%rows] <= o.layout.Shape.Parity {
				continue
			}
			// Parity cells of a row whose data is all there can always be made again.
			dataBad := 0
			for s := range int64(o.layout.Shape.Data) {
				n := s*rows + cell%rows
				if o.eio[n] || !bytes.Equal(o.data[n*CellSize:(n+1)*CellSize], o.pristine[n*CellSize:(n+1)*CellSize]) {
					dataBad++
				}
			}
			if dataBad == 0 {
				continue
			}
			lostCells++
			if off := cell * ContentSize; cell < o.layout.dataCells() && off < o.layout.Length {
				n := min(ContentSize, o.layout.Length-off)
				lost.add(off, n)
				clear(want[off : off+n])
			}
		}
		got := bytes.Repeat([]byte{0xee}, len(o.payload))
		err := o.reader().ReadAt(context.Background(), got, 0)
		var lostErr *LostError
		switch {
		case len(lost) == 0 && err != nil:
			t.Fatal(err)
		case len(lost) > 0 && !errors.As(err, &lostErr):
			t.Fatalf("lost %v, but got %v", lost, err)
		case len(lost) > 0 && !cmp.Equal(lostErr.Ranges, []Range(lost)):
			t.Fatal(cmp.Diff([]Range(lost), lostErr.Ranges))
		}
		if !bytes.Equal(got, want) {
			t.Fatal("what is not lost was read wrong")
		}
		checkAndRebuild(t, o, Report{Cells: o.layout.cells(), Bad: int64(len(cells)), Lost: lostCells, LostRanges: lost})
	})
}

func checkAndRebuild(t *rapid.T, o *object, want Report) {
	var named int64
	report, err := o.reader().Check(context.Background(), func(Cell) { named++ })
	if err != nil || !cmp.Equal(report, want) || named != report.Bad {
		t.Fatalf("check: %v, %d bad cells named\n%s", err, named, cmp.Diff(want, report))
	}
	var mended bytes.Buffer
	report, err = o.reader().Rebuild(context.Background(), &mended)
	if err != nil || !cmp.Equal(report, want) {
		t.Fatalf("rebuild: %v\n%s", err, cmp.Diff(want, report))
	}
	if want.Lost == 0 && !bytes.Equal(mended.Bytes(), o.pristine) {
		t.Fatal("the mended object differs from the one that was built")
	}
	again := NewReader(OneObject(&memory{data: mended.Bytes()}, o.layout), o.layout, testSeed)
	report, err = again.Check(context.Background(), nil)
	if want.Bad = want.Lost; err != nil || !cmp.Equal(report, want) {
		t.Fatalf("what is lost must stay so: %v\n%s", err, cmp.Diff(want, report))
	}
}

func TestABurstOverAllParityShardsIsHealed(t *testing.T) {
	o := build(randomBytes(3_000_000), Shape{10, 2})
	_, shard := o.layout.ShardRange(0)
	for at := range int(2 * shard) {
		o.data[int(shard)/2+at] = 0xff
	}
	o.mustRead(t)
	r := o.reader()
	if err := r.ReadAt(context.Background(), make([]byte, len(o.payload)), 0); err != nil {
		t.Fatal(err)
	}
	if r.Healed() != 2*o.layout.Rows() {
		t.Errorf("healed %d cells of %d", r.Healed(), 2*o.layout.Rows())
	}
}

func TestAHealthyReadIsOneRequestThatNeverTouchesParity(t *testing.T) {
	o := build(randomBytes(1_000_000), Shape{10, 2})
	buf := make([]byte, 300_000)
	if err := o.reader().ReadAt(context.Background(), buf, 100_000); err != nil {
		t.Fatal(err)
	}
	if o.reads != 1 || o.bytes > 300_000+2*CellSize+300_000/ContentSize*HeadSize {
		t.Errorf("%d requests for %d bytes", o.reads, o.bytes)
	}
	if !bytes.Equal(buf, o.payload[100_000:400_000]) {
		t.Error("read wrong")
	}
}

func TestACellPassesOnlyInItsPlaceInItsObject(t *testing.T) {
	o := build(randomBytes(100_000), Shape{10, 2})
	other := Encode(o.payload, Shape{10, 2}, testSeed+1000)
	copy(o.data[3*CellSize:4*CellSize], other[3*CellSize:4*CellSize]) // of another object
	copy(o.data[0:CellSize], o.data[1*CellSize:2*CellSize])           // of another place
	r := o.reader()
	got := make([]byte, len(o.payload))
	if err := r.ReadAt(context.Background(), got, 0); err != nil || !bytes.Equal(got, o.payload) || r.Healed() != 2 {
		t.Fatalf("healed %d: %v", r.Healed(), err)
	}
}

func TestShardsInObjectsOfTheirOwnSurviveTheLossOfAnyTwo(t *testing.T) {
	o := build(randomBytes(500_001), Shape{5, 2})
	for a := range 7 {
		for b := range a {
			shards := make(apart, 7)
			for s := range shards {
				off, n := o.layout.ShardRange(s)
				shards[s] = o.data[off : off+n]
			}
			shards[a], shards[b] = nil, nil
			got := make([]byte, len(o.payload))
			err := NewReader(shards, o.layout, testSeed).ReadAt(context.Background(), got, 0)
			if err != nil || !bytes.Equal(got, o.payload) {
				t.Fatalf("without shards %d and %d: %v", a, b, err)
			}
		}
	}
}

func TestAnyShardAloneGivesTheLayout(t *testing.T) {
	o := build(randomBytes(500_001), Shape{5, 2})
	for s := range 7 {
		off, n := o.layout.ShardRange(s)
		shard := &memory{data: o.data[off : off+n]}
		if l, err := ProbeShard(context.Background(), shard, n, s, testSeed); err != nil || l != o.layout {
			t.Errorf("shard %d: %v, %v", s, l, err)
		}
		if _, err := ProbeShard(context.Background(), shard, n, (s+1)%7, testSeed); !errors.Is(err, ErrNoCell) {
			t.Errorf("shard %d passes as the next one: %v", s, err)
		}
	}
}

func TestManyGoroutinesReadADamagedObject(t *testing.T) {
	o := build(randomBytes(1_000_000), Shape{10, 2})
	for cell := int64(0); cell < o.layout.cells(); cell += 7 {
		o.hurt(cell)
	}
	r := NewReader(OneObject(stored(o.data), o.layout), o.layout, testSeed)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			got := make([]byte, 300_000)
			off := i * 100_000
			if err := r.ReadAt(context.Background(), got, int64(off)); err != nil || !bytes.Equal(got, o.payload[off:off+len(got)]) {
				t.Errorf("at %d: %v", off, err)
			}
		})
	}
	group.Wait()
}

// stored is an object that many goroutines read.
type stored []byte

func (s stored) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return bytes.NewReader(s).ReadAt(p, off)
}

func TestAShortShardObjectLosesOnlyItsEnd(t *testing.T) {
	o := build(randomBytes(500_001), Shape{5, 1})
	shards := make(apart, 6)
	for s := range shards {
		off, n := o.layout.ShardRange(s)
		shards[s] = o.data[off : off+n]
	}
	shards[1] = shards[1][:10*CellSize+5]
	r := NewReader(shards, o.layout, testSeed)
	got := make([]byte, len(o.payload))
	if err := r.ReadAt(context.Background(), got, 0); err != nil || !bytes.Equal(got, o.payload) || r.Healed() != o.layout.Rows()-10 {
		t.Fatalf("healed %d of %d: %v", r.Healed(), o.layout.Rows(), err)
	}
}

func TestProbeNeedsOneIntactCell(t *testing.T) {
	for _, length := range []int{0, 1, 5000, 40_800, 40_801, 200_000} {
		for _, shape := range []Shape{{10, 2}, {3, 1}, {1, 0}} {
			o := build(randomBytes(length), shape)
			for keep := range o.layout.cells() {
				data := make([]byte, len(o.data))
				copy(data[keep*CellSize:], o.data[keep*CellSize:(keep+1)*CellSize])
				l, err := Probe(context.Background(), &memory{data: data}, int64(len(data)), testSeed)
				if err != nil || l != o.layout {
					t.Fatalf("length %d shape %v cell %d: %v, %v", length, shape, keep, l, err)
				}
			}
		}
	}
	_, err := Probe(context.Background(), &memory{data: randomBytes(100_000)}, 100_000, testSeed)
	if !errors.Is(err, ErrNoCell) {
		t.Errorf("a foreign file gave %v", err)
	}
}

func TestATruncatedObjectKeepsItsGeometryAndHeals(t *testing.T) {
	o := build(randomBytes(1_000_000), Shape{10, 2})
	whole := len(o.data)
	for _, cut := range []int{whole - 1, whole - CellSize, whole - whole/6 + CellSize, CellSize} {
		o.data = o.data[:cut]
		l, err := Probe(context.Background(), o.memory, int64(cut), testSeed)
		if err != nil || l != o.layout {
			t.Fatalf("cut to %d: %v, %v", cut, l, err)
		}
		if cut > whole*10/12 {
			o.mustRead(t)
		}
	}
	o.data = append(bytes.Clone(o.pristine), "appended by a stranger"...)
	if l, err := Probe(context.Background(), o.memory, int64(len(o.data)), testSeed); err != nil || l != o.layout {
		t.Fatalf("with something appended: %v, %v", l, err)
	}
}

func TestParityThatDiffersFromTheDataIsFoundAndMended(t *testing.T) {
	o := build(randomBytes(200_000), Shape{4, 2})
	number := o.layout.dataCells() + 3
	cell := o.data[number*CellSize : (number+1)*CellSize]
	cell[100] ^= 1
	newStamp(o.layout, testSeed).seal(cell, number) // intact by its checksum, and wrong
	var bad []Cell
	report, err := o.reader().Check(context.Background(), func(c Cell) { bad = append(bad, c) })
	if err != nil || report.Bad != 1 || report.Lost != 0 || bad[0].Number != number {
		t.Fatalf("%+v, %v, %v", report, bad, err)
	}
	var mended bytes.Buffer
	if _, err := o.reader().Rebuild(context.Background(), &mended); err != nil || !bytes.Equal(mended.Bytes(), o.pristine) {
		t.Fatalf("not mended: %v", err)
	}
}

func TestReadingOutsideThePayloadIsAnError(t *testing.T) {
	r := build(randomBytes(1000), Shape{10, 2}).reader()
	for _, off := range []int64{-1, 999, 1001, 1 << 62} {
		if err := r.ReadAt(context.Background(), make([]byte, 2), off); err == nil {
			t.Errorf("offset %d was accepted", off)
		}
	}
}

func TestCancellingStopsEveryOperation(t *testing.T) {
	o := build(randomBytes(100_000), Shape{10, 2})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := o.reader().ReadAt(ctx, make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if _, err := o.reader().Check(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("check: %v", err)
	}
	if _, err := o.reader().Rebuild(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("rebuild: %v", err)
	}
	if _, err := Probe(ctx, o.memory, int64(len(o.data)), testSeed); !errors.Is(err, context.Canceled) {
		t.Errorf("probe: %v", err)
	}
}

func TestABuilderCanBeUsedAgain(t *testing.T) {
	b := NewBuilder(10)
	for _, n := range []int{300_000, 5000, 0, 40_800} {
		payload := randomBytes(n)
		for rest := payload; len(rest) > 0; {
			part := min(len(rest), 777)
			b.Append(rest[:part])
			rest = rest[part:]
		}
		if b.Len() != n {
			t.Errorf("Len is %d, want %d", b.Len(), n)
		}
		if !bytes.Equal(b.Finish(Shape{10, 2}, 7), Encode(payload, Shape{10, 2}, 7)) {
			t.Errorf("%d bytes give another object in a used builder", n)
		}
		b.Reset()
	}
}

// TestFormatIsPinned compares with an object from the time the format was fixed.
func TestFormatIsPinned(t *testing.T) {
	payload := make([]byte, 6*ContentSize+100)
	for i := range payload {
		payload[i] = byte(i*i>>8) ^ byte(i)
	}
	got := Encode(payload, Shape{3, 2}, testSeed)
	const golden = "testdata/object-3+2"
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the format has changed")
	}
	l, err := Probe(context.Background(), &memory{data: want}, int64(len(want)), testSeed)
	if err != nil || l != (Layout{Shape{3, 2}, int64(len(payload))}) {
		t.Errorf("%v, %v", l, err)
	}
}
