package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"
)

// output is standard output. It keeps the first error, so that no command ends as done whose results were lost on the way.
type output struct {
	file   *os.File
	failed error
}

// Write writes to the file.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.file.Write(b)
	if err != nil && o.failed == nil {
		o.failed = err
	}
	return n, err
}

// check gives a command's error, or that its results could not be printed.
func (o *output) check(err error) error {
	switch {
	case o.failed == nil:
		return err
	case err == nil:
		return failf("the work is done; only what it prints is incomplete", "print the results: %w", o.failed)
	case err == errPartial || errors.Is(err, o.failed):
		return failf("what was printed is incomplete", "print the results: %w", o.failed)
	}
	return err
}

// terminal says whether a stream is one that a person looks at.
func terminal(stream any) bool {
	if o, ok := stream.(*output); ok {
		stream = o.file
	}
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// shown is a file's name as it may be printed. In a pipe names are printed as they are; a terminal must not be
// steered by them, so those with control characters or broken UTF-8 are quoted there.
func (p *program) shown(name string) string {
	if !terminal(p.out) {
		return name
	}
	return safe(name)
}

// safe quotes a name that holds anything but printable characters. Messages always use it.
func safe(name string) string {
	if utf8.ValidString(name) && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return name
	}
	return strconv.Quote(name)
}

// printJSON prints one object on a line of its own.
func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// jsonName is a name in JSON: text, and the bytes too (base64) where text cannot hold them.
type jsonName struct {
	Path  string `json:"path"`
	Bytes []byte `json:"pathBytes,omitempty"`
}

func nameJSON(name string) jsonName {
	if utf8.ValidString(name) {
		return jsonName{Path: name}
	}
	return jsonName{Path: strings.ToValidUTF8(name, "\uFFFD"), Bytes: []byte(name)}
}

// note prints a line for the person, never for the pipe.
func (p *program) note(format string, args ...any) {
	fmt.Fprintf(p.err, format+"\n", args...)
}

func (p *program) warn(message string) { p.note("warning: %s", message) }

// table prints rows in columns. A column whose head ends in a space is set to the right.
type table struct {
	heads []string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	widths := make([]int, len(t.heads))
	for _, row := range append([][]string{t.heads}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(strings.TrimSuffix(cell, " ")))
		}
	}
	for r, row := range append([][]string{t.heads}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			if r == 0 {
				cell = strings.TrimSuffix(cell, " ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if strings.HasSuffix(t.heads[i], " ") {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func count(n int64) string { return humanize.Comma(n) }

// plural gives "1 file", "2 files".
func plural(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, ok := strings.CutSuffix(thing, "y"); ok {
		return count(n) + " " + stem + "ies"
	}
	return count(n) + " " + thing + "s"
}

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func length(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

func joined(parts []string) string { return strings.Join(parts, ", ") }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
