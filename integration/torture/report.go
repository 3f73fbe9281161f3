//go:build linux

package main

import (
	_ "embed"
	"fmt"
	"strings"
	"time"
)

// report is what docs/RELIABILITY.md says.
type report struct {
	Rows []*row
	Seed uint64
	Took time.Duration
	Day  string
}

// What the page says around the tables.
var (
	//go:embed head.md
	head string
	//go:embed others.md
	others string
)

func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString(head)
	times, losses := 0, 0
	for _, row := range r.Rows {
		times, losses = times+row.Times, losses+row.Losses
	}
	fmt.Fprintf(&b, "\nRun of %s: seed %d, %v, %d faults, %s lost.\n\n", r.Day, r.Seed, r.Took, times, number(losses))
	b.WriteString("| chapter | fault | times | lost | remarks |\n| --- | --- | ---: | --- | --- |\n")
	for _, row := range r.Rows {
		lost := number(row.Losses)
		if row.Losses > 0 {
			lost = fmt.Sprintf("**%d times**: %s", row.Losses, cell(strings.Join(row.Lost, "; ")))
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s |\n", row.Chapter, cell(row.Fault), row.Times, lost, cell(strings.Join(row.Notes, "; ")))
	}
	b.WriteString("\n" + others)
	return b.String()
}

func number(n int) string {
	if n == 0 {
		return "nothing"
	}
	return fmt.Sprint(n)
}

func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(last(text, 400))
}
