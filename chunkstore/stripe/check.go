package stripe

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// Cell names a bad cell.
type Cell struct {
	Number int64 // in the object
	Shard  int
	Row    int64
	Lost   bool // its row has more bad cells than parity can replace
}

// Report is what reading all cells of an object found.
type Report struct {
	Cells      int64   // all cells, parity included
	Bad        int64   // damaged or missing cells, the lost ones included
	Lost       int64   // bad cells that parity cannot rebuild
	LostRanges []Range // payload bytes in lost cells: ascending, neighbours merged
}

// checker goes through all rows and keeps the account of a Report.
type checker struct {
	*Reader
	set    *rowSet
	before []bool   // set.good as it was loaded
	parity []byte   // what the data of the set gives: m*n cells, heads meaningless
	shards [][]byte // for the code
	bad    func(Cell)
	report Report
	lost   lostRanges
}

func (r *Reader) newChecker(bad func(Cell)) *checker {
	rows := windowRows(r.layout, healWindow)
	return &checker{
		Reader: r, bad: bad, set: newRowSet(r.layout, rows),
		before: make([]bool, rows*r.layout.Shape.shards()),
		parity: make([]byte, rows*r.layout.Shape.Parity*CellSize),
		shards: make([][]byte, r.layout.Shape.shards()),
		report: Report{Cells: r.layout.cells()},
	}
}

// Check reads every cell, parity included, and calls bad (which may be nil) for each that is damaged, cannot be read, or is parity
// that differs from what the data gives. It takes memory for a few rows, not for the object. The only errors are the context's and
// ErrUnavailable: damage is what the report is for.
func (r *Reader) Check(ctx context.Context, bad func(Cell)) (Report, error) {
	c := r.newChecker(bad)
	for row := int64(0); row < r.rows; row += int64(c.set.n) {
		if err := c.loadNext(ctx, row); err != nil {
			return Report{}, err
		}
		c.account(0, c.set.shards)
	}
	c.report.LostRanges = c.lost.sorted()
	return c.report, nil
}

// loadNext loads the rows from row on, rebuilds what it can and computes their parity.
func (c *checker) loadNext(ctx context.Context, row int64) error {
	n := int(min(int64(windowRows(c.layout, healWindow)), c.rows-row))
	c.set.reset(row, n)
	if err := c.loadRows(ctx, c.set, nil, true); err != nil {
		return err
	}
	copy(c.before, c.set.good)
	c.rebuildData(c.set)
	if m := c.layout.Shape.Parity; m > 0 {
		for s := range c.shards {
			if s < c.layout.Shape.Data {
				c.shards[s] = c.set.buf[s*n*CellSize : (s+1)*n*CellSize]
			} else {
				p := s - c.layout.Shape.Data
				c.shards[s] = c.parity[p*n*CellSize : (p+1)*n*CellSize]
			}
		}
		mustEncode(c.layout.Shape, c.shards)
	}
	return nil
}

// isComplete tells whether the data of row i is all there, rebuilt or not.
func (c *checker) isComplete(i int) bool {
	return c.set.count(i, 0, c.layout.Shape.Data) == c.layout.Shape.Data
}

// parityContent is the computed content of row i of a parity shard.
func (c *checker) parityContent(shard, i int) []byte {
	return c.shards[shard][i*CellSize+HeadSize : (i+1)*CellSize]
}

// account adds the loaded rows of shards from to behind to the report.
func (c *checker) account(from, to int) {
	for i := range c.set.n {
		complete := c.isComplete(i)
		for shard := from; shard < to; shard++ {
			good := c.before[shard*c.set.n+i]
			if good && complete && shard >= c.layout.Shape.Data {
				good = bytes.Equal(c.set.cell(shard, i)[HeadSize:], c.parityContent(shard, i))
			}
			if !good {
				c.found(shard, i, !complete)
			}
		}
	}
}

// found adds one bad cell.
func (c *checker) found(shard, i int, lost bool) {
	row := c.set.row + int64(i)
	number := int64(shard)*c.rows + row
	c.report.Bad++
	if lost {
		c.report.Lost++
		c.addLost(number)
	}
	if c.bad != nil {
		c.bad(Cell{Number: number, Shard: shard, Row: row, Lost: lost})
	}
}

// addLost notes the payload bytes of a lost cell, if it has any.
func (c *checker) addLost(number int64) {
	if off := number * ContentSize; number < c.layout.dataCells() && off < c.layout.Length {
		c.lost.add(off, min(ContentSize, c.layout.Length-off))
	}
}

// Rebuild writes the whole object in order, mended as far as parity allows: a mended object is byte for byte the one that was built.
// Cells beyond parity are written as they are, or as zeros where they cannot be read; neither passes as intact, so they stay detectable
// as lost. It takes memory for a few rows and reads the object 1+m times. The error is the context's, the writer's or
// ErrUnavailable.
func (r *Reader) Rebuild(ctx context.Context, w io.Writer) (Report, error) {
	c := r.newChecker(nil)
	if err := c.writeData(ctx, w); err != nil {
		return Report{}, fmt.Errorf("rebuild data shards: %w", err)
	}
	for shard := r.layout.Shape.Data; shard < r.layout.Shape.shards(); shard++ {
		if err := c.writeParity(ctx, w, shard); err != nil {
			return Report{}, fmt.Errorf("rebuild parity shard %d: %w", shard, err)
		}
	}
	c.report.LostRanges = c.lost.sorted()
	return c.report, nil
}

// writeData writes the data shards.
func (c *checker) writeData(ctx context.Context, out io.Writer) error {
	for first := int64(0); first < c.layout.dataCells(); first += readWindow {
		n := min(readWindow, c.layout.dataCells()-first)
		if err := c.writeDataWindow(ctx, out, first, int(n)); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) writeDataWindow(ctx context.Context, out io.Writer, first int64, n int) error {
	w, put := takeWindow(first, n)
	defer put()
	if err := c.loadAround(ctx, first, w.buf, w.read, w.good, nil); err != nil {
		return err
	}
	for _, good := range w.good {
		if !good {
			c.report.Bad++
		}
	}
	if err := c.heal(ctx, w); err != nil {
		return err
	}
	for i, good := range w.good {
		if !good {
			c.report.Lost++
			c.addLost(first + int64(i))
		}
	}
	_, err := out.Write(w.buf)
	return err
}

// writeParity writes one parity shard, computed from the data wherever that is complete.
func (c *checker) writeParity(ctx context.Context, out io.Writer, shard int) error {
	for row := int64(0); row < c.rows; row += int64(c.set.n) {
		if err := c.loadNext(ctx, row); err != nil {
			return err
		}
		c.account(shard, shard+1)
		for i := range c.set.n {
			if !c.isComplete(i) {
				continue
			}
			cell := c.set.cell(shard, i)
			copy(cell[HeadSize:], c.parityContent(shard, i))
			c.stamp.seal(cell, int64(shard)*c.rows+row+int64(i))
		}
		if _, err := out.Write(c.set.buf[shard*c.set.n*CellSize : (shard+1)*c.set.n*CellSize]); err != nil {
			return err
		}
	}
	return nil
}
