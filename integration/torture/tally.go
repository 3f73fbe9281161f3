//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// tally counts what was tried and what was lost.
type tally struct {
	mu   sync.Mutex
	rows map[string]*row // by chapter and fault
	log  func(format string, args ...any)
}

// row is one fault of the table.
type row struct {
	Chapter string   `json:"chapter"`
	Fault   string   `json:"fault"`
	Times   int      `json:"times"`
	Lost    []string `json:"lost"` // what was lost that should not have been; the first few
	Losses  int      `json:"losses"`
	Notes   []string `json:"notes,omitempty"`
}

const maxLost = 5 // kept in a row

func newTally(log func(string, ...any)) *tally { return &tally{rows: map[string]*row{}, log: log} }

func (t *tally) row(chapter, fault string) *row {
	key := chapter + "\x00" + fault
	if t.rows[key] == nil {
		t.rows[key] = &row{Chapter: chapter, Fault: fault}
	}
	return t.rows[key]
}

// tried counts a fault, with the error of what it cost, if anything.
func (t *tally) tried(chapter, fault string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.row(chapter, fault)
	r.Times++
	if err == nil {
		return
	}
	r.Losses++
	t.log("LOST %s: %s: %v", chapter, fault, err)
	if len(r.Lost) < maxLost {
		r.Lost = append(r.Lost, err.Error())
	}
}

// note writes a figure into a row, once.
func (t *tally) note(chapter, fault, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.row(chapter, fault)
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, text) && len(r.Notes) < maxLost {
		r.Notes = append(r.Notes, text)
	}
}

// losses is how often anything was lost.
func (t *tally) losses() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, r := range t.rows {
		n += r.Losses
	}
	return n
}

func (t *tally) sorted() []*row {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*row
	for _, r := range t.rows {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *row) int { return cmp.Or(cmp.Compare(a.Chapter, b.Chapter), cmp.Compare(a.Fault, b.Fault)) })
	return all
}
