package stripe

import (
	"context"
	"fmt"
	"slices"
)

// healWindow is how many bytes of rows are read at a time to heal or check them; one row at least.
const healWindow = 4 << 20

// rowSet is a run of rows of all shards in memory: row i of shard s is cell s*n+i.
type rowSet struct {
	row    int64 // the first one
	n      int
	shards int
	buf    []byte
	good   []bool
	read   []bool
}

func newRowSet(l Layout, rows int) *rowSet {
	cells := rows * l.Shape.shards()
	return &rowSet{shards: l.Shape.shards(), buf: make([]byte, cells*CellSize), good: make([]bool, cells), read: make([]bool, cells)}
}

// reset makes the set hold n rows from row on, none of them loaded.
func (s *rowSet) reset(row int64, n int) {
	s.row, s.n = row, n
	clear(s.good)
	clear(s.read)
}

func (s *rowSet) cell(shard, i int) []byte {
	at := (shard*s.n + i) * CellSize
	return s.buf[at : at+CellSize]
}

func (s *rowSet) isGood(shard, i int) bool { return s.good[shard*s.n+i] }

// count is the number of good cells of row i among shards from to behind.
func (s *rowSet) count(i, from, to int) int {
	count := 0
	for shard := from; shard < to; shard++ {
		if s.isGood(shard, i) {
			count++
		}
	}
	return count
}

// heal rebuilds the cells of a window that are not good, and marks those it could as good.
func (r *Reader) heal(ctx context.Context, w *window) error {
	rows := r.badRows(w)
	step := windowRows(r.layout, healWindow)
	var set *rowSet
	for len(rows) > 0 {
		// A run of neighbouring rows is read with one request a shard.
		n := 1
		for n < len(rows) && n < step && rows[n] == rows[0]+int64(n) {
			n++
		}
		if set == nil {
			set = newRowSet(r.layout, min(step, len(rows)))
		}
		set.reset(rows[0], n)
		if err := r.loadRows(ctx, set, w, false); err != nil {
			return err
		}
		r.rebuildData(set)
		r.takeHealed(w, set)
		rows = rows[n:]
	}
	return nil
}

// badRows lists the rows of the window's bad cells, ascending.
func (r *Reader) badRows(w *window) []int64 {
	var rows []int64
	for i, good := range w.good {
		if !good {
			rows = append(rows, (w.first+int64(i))%r.rows)
		}
	}
	slices.Sort(rows)
	return slices.Compact(rows)
}

// takeHealed copies the data cells that the set has and the window lacks.
func (r *Reader) takeHealed(w *window, set *rowSet) {
	for i, good := range w.good {
		number := w.first + int64(i)
		at := int(number%r.rows - set.row)
		if good || at < 0 || at >= set.n {
			continue
		}
		if shard := int(number / r.rows); set.isGood(shard, at) {
			copy(w.cell(i), set.cell(shard, at))
			w.good[i] = true
			r.healed.Add(1)
		}
	}
}

// loadRows reads the rows of the set: the data shards, then parity shards one by one until no row lacks any, or all of them. What
// the window has of them is taken from there, because reading a bad sector again may take the device seconds.
func (r *Reader) loadRows(ctx context.Context, set *rowSet, known *window, all bool) error {
	for shard := range set.shards {
		if shard >= r.layout.Shape.Data && !all && r.isEnough(set) {
			return nil
		}
		from, to := shard*set.n, (shard+1)*set.n
		number := int64(shard)*r.rows + set.row
		buf, read, good := set.buf[from*CellSize:to*CellSize], set.read[from:to], set.good[from:to]
		if err := r.loadAround(ctx, number, buf, read, good, known); err != nil {
			return err
		}
	}
	return nil
}

// isEnough tells whether each row has as many good cells as there are data shards.
func (r *Reader) isEnough(set *rowSet) bool {
	for i := range set.n {
		if set.count(i, 0, set.shards) < r.layout.Shape.Data {
			return false
		}
	}
	return true
}

// loadAround loads and checks cells from number on, those in the known window excepted, which are copied.
func (r *Reader) loadAround(ctx context.Context, number int64, buf []byte, read, good []bool, known *window) error {
	n := int64(len(read))
	from, to := n, n // of the known cells, counted from number
	if known != nil {
		from = min(max(known.first-number, 0), n)
		to = min(max(known.first+int64(len(known.good))-number, from), n)
	}
	for i := from; i < to; i++ {
		at := int(number + i - known.first)
		copy(buf[i*CellSize:(i+1)*CellSize], known.cell(at))
		good[i] = known.good[at]
	}
	for _, part := range [2][2]int64{{0, from}, {to, n}} {
		a, b := part[0], part[1]
		if a >= b {
			continue
		}
		if err := r.load(ctx, number+a, buf[a*CellSize:b*CellSize], read[a:b]); err != nil {
			return err
		}
		for i := a; i < b; i++ {
			good[i] = read[i] && r.stamp.good(buf[i*CellSize:(i+1)*CellSize], number+i)
		}
	}
	return nil
}

// rebuildData rebuilds the bad data cells of every row that has enough good ones, and marks them good. Rows with the same erasures
// are done together.
func (r *Reader) rebuildData(set *rowSet) {
	shape := r.layout.Shape
	for from := 0; from < set.n; {
		to := from + 1
		for to < set.n && set.sameErasures(from, to) {
			to++
		}
		missing := shape.Data - set.count(from, 0, shape.Data)
		if missing > 0 && set.count(from, shape.Data, set.shards) >= missing {
			r.reconstruct(set, from, to)
		}
		from = to
	}
}

func (s *rowSet) sameErasures(i, j int) bool {
	for shard := range s.shards {
		if s.isGood(shard, i) != s.isGood(shard, j) {
			return false
		}
	}
	return true
}

// reconstruct rebuilds the data cells of rows from to behind, which all lack the same ones and have enough others.
func (r *Reader) reconstruct(set *rowSet, from, to int) {
	shards := make([][]byte, set.shards)
	for s := range shards {
		at := s * set.n
		shards[s] = set.buf[(at+from)*CellSize : (at+to)*CellSize]
		if !set.isGood(s, from) {
			shards[s] = shards[s][:0] // to be rebuilt, in place
		}
	}
	if err := codeOf(r.layout.Shape).ReconstructData(shards); err != nil {
		panic(fmt.Sprintf("stripe: rebuild %v: %v", r.layout.Shape, err)) // enough shards of one size: nothing to refuse
	}
	for s := range r.layout.Shape.Data {
		if set.isGood(s, from) {
			continue
		}
		for i := from; i < to; i++ {
			r.stamp.seal(set.cell(s, i), int64(s)*r.rows+set.row+int64(i))
			set.good[s*set.n+i] = true
		}
	}
}
