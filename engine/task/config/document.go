package config

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile bounds a configuration file, in bytes: tens of thousands of tasks.
const maxFile = 8 << 20

// kind is what a value is in TOML.
type kind int

const (
	kindTable kind = iota
	kindArray
	kindString
	kindBool
	kindInteger
	kindOther // numbers with a fraction and times: no key has one
)

func (k kind) String() string {
	return [...]string{"a table", "a list", "a string", "true or false", "a whole number", "a number with a fraction or a time"}[k]
}

// node is one value of the file with its place: the tree that decoding works on. The library's own decoder stops at
// the first mistake, so only its parser is used.
type node struct {
	kind     kind
	at       position // of the value where it is a scalar, else of its key
	keyAt    position
	text     string // of a scalar
	items    []*node
	keys     []string // of a table, in the order of the file
	children map[string]*node
	closed   bool // a table that a header or an inline table has defined: another one is a duplicate
}

func newTable(at position) *node {
	return &node{kind: kindTable, at: at, keyAt: at, children: map[string]*node{}}
}

func (n *node) put(key string, child *node) {
	n.keys = append(n.keys, key)
	n.children[key] = child
}

// document reads a file into a tree.
type document struct {
	file     string
	data     []byte
	lines    []int // offsets at which lines begin
	root     *node
	parser   unstable.Parser
	problems Problems
	cut      bool // a mistake in the syntax ended the reading: what comes after is not known
}

func readDocument(file string, data []byte) *document {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	d := &document{file: file, data: data, lines: []int{0}, root: newTable(position{1, 1})}
	if len(data) > maxFile {
		d.cut = true
		d.problems = Problems{{File: file, What: fmt.Sprintf("the file has %d bytes, which is more than a configuration can have", len(data)),
			Remedy: "check that this is the right file"}}
		return d
	}
	for i, b := range data {
		if b == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	d.parser.Reset(data)
	current, path := d.root, []string(nil)
	for d.parser.NextExpression() {
		switch e := d.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			current, path = d.header(e)
		case unstable.KeyValue:
			d.assign(current, path, e)
		}
	}
	if d.parser.Error() != nil {
		d.syntaxError()
	} else if len(d.problems) == 0 {
		d.secondOpinion()
	}
	return d
}

// syntaxError asks the library's decoder where the syntax is wrong: the parser does not say it.
func (d *document) syntaxError() {
	d.cut = true
	p := Problem{File: d.file, Line: len(d.lines), Column: 1, What: strings.TrimPrefix(d.parser.Error().Error(), "toml: "),
		Remedy: "check the quotes, brackets and equals signs of this line and the one before it"}
	var decoding *toml.DecodeError
	if err := toml.Unmarshal(d.data, new(map[string]any)); errors.As(err, &decoding) {
		p.Line, p.Column = decoding.Position()
		p.What = strings.TrimPrefix(decoding.Error(), "toml: ")
	}
	p.What = "this is not TOML: " + p.What
	d.problems = append(d.problems, p)
}

// secondOpinion makes sure that what was read is a file for every other reader of TOML too.
func (d *document) secondOpinion() {
	err := toml.Unmarshal(d.data, new(map[string]any))
	if err == nil {
		return
	}
	d.cut = true
	p := Problem{File: d.file, What: "this is not TOML: " + strings.TrimPrefix(err.Error(), "toml: "), Remedy: "see https://toml.io for what a file may hold"}
	var decoding *toml.DecodeError
	if errors.As(err, &decoding) {
		p.Line, p.Column = decoding.Position()
	}
	d.problems = append(d.problems, p)
}

// place turns an offset into a line and a column of characters.
func (d *document) place(offset uint32) position {
	line := sort.Search(len(d.lines), func(i int) bool { return d.lines[i] > int(offset) })
	return position{line, utf8.RuneCount(d.data[d.lines[line-1]:offset]) + 1}
}

func (d *document) add(at position, path []string, what, remedy string) {
	d.problems = append(d.problems, Problem{File: d.file, Line: at.line, Column: at.column, Key: dotted(path), What: what, Remedy: remedy})
}

// keyPart is one part of a dotted key.
type keyPart struct {
	name string
	at   position
}

func (d *document) key(it unstable.Iterator) []keyPart {
	var parts []keyPart
	for it.Next() {
		n := it.Node()
		parts = append(parts, keyPart{string(n.Data), d.place(n.Raw.Offset)})
	}
	return parts
}

// header goes to the table that a line in brackets begins. A table that was there already is a problem, and what
// stands in it goes to one that nobody reads.
func (d *document) header(e *unstable.Node) (*node, []string) {
	parts := d.key(e.Key())
	path := names(parts)
	last := parts[len(parts)-1]
	table, ok := d.descend(d.root, nil, parts[:len(parts)-1])
	if !ok {
		return newTable(last.at), path
	}
	if e.Kind == unstable.ArrayTable {
		d.add(last.at, path, "double brackets make a list of tables, and no section is one", "write "+headerOf(path))
		return newTable(last.at), path
	}
	old := table.children[last.name]
	switch {
	case old == nil:
		fresh := newTable(last.at)
		fresh.closed = true
		table.put(last.name, fresh)
		return fresh, path
	case old.kind == kindTable && !old.closed:
		old.closed, old.at, old.keyAt = true, last.at, last.at
		return old, path
	}
	d.duplicate(last.at, path, old)
	return newTable(last.at), path
}

// descend follows all but the last part of a key, making the tables that are missing.
func (d *document) descend(table *node, path []string, parts []keyPart) (*node, bool) {
	for i, part := range parts {
		next := table.children[part.name]
		if next == nil {
			next = newTable(part.at)
			table.put(part.name, next)
		}
		if next.kind != kindTable {
			d.add(part.at, sub(path, names(parts[:i+1])...), fmt.Sprintf("line %d gave it a value that is %s, so it cannot be a table too", next.keyAt.line, next.kind),
				"remove one of the two")
			return nil, false
		}
		table = next
	}
	return table, true
}

// assign puts key = value into a table.
func (d *document) assign(table *node, path []string, e *unstable.Node) {
	parts := d.key(e.Key())
	last := parts[len(parts)-1]
	value := d.value(e.Value(), sub(path, names(parts)...), last.at)
	table, ok := d.descend(table, path, parts[:len(parts)-1])
	if !ok {
		return
	}
	if old := table.children[last.name]; old != nil {
		d.duplicate(last.at, sub(path, names(parts)...), old)
		return
	}
	table.put(last.name, value)
}

// value copies a value out of the parser, which reuses its memory.
func (d *document) value(n *unstable.Node, path []string, at position) *node {
	switch n.Kind {
	case unstable.InlineTable:
		table := newTable(at)
		table.closed = true
		for it := n.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				d.assign(table, path, it.Node())
			}
		}
		return table
	case unstable.Array:
		array := &node{kind: kindArray, at: at, keyAt: at}
		for it := n.Children(); it.Next(); {
			array.items = append(array.items, d.value(it.Node(), path, at))
		}
		return array
	}
	scalar := &node{kind: kindOther, at: d.place(n.Raw.Offset), keyAt: at, text: string(n.Data)}
	switch n.Kind {
	case unstable.String:
		scalar.kind = kindString
	case unstable.Bool:
		scalar.kind = kindBool
	case unstable.Integer:
		scalar.kind = kindInteger
	}
	return scalar
}

// duplicate words a key that stands twice: for people it is a name or a setting, not a key of a table.
func (d *document) duplicate(at position, path []string, old *node) {
	thing, remedy := strconv.Quote(path[len(path)-1]), "remove one of the two"
	if _, named := sections[path[0]]; named && len(path) == 2 {
		thing = "a " + path[0] + " of the name " + strconv.Quote(path[1])
		remedy = "give one of the two another name, or put their settings together"
	} else if len(path) == 1 {
		thing, remedy = "the section ["+path[0]+"]", "put the settings of the two together"
	}
	d.add(at, path, fmt.Sprintf("%s is there already, on line %d", thing, old.keyAt.line), remedy)
}

func names(parts []keyPart) []string {
	all := make([]string, len(parts))
	for i, p := range parts {
		all[i] = p.name
	}
	return all
}

// headerOf is the line that begins the table with that key.
func headerOf(path []string) string {
	if _, named := sections[path[0]]; named && len(path) == 1 {
		return "[" + dotted(path) + ".NAME]"
	}
	return "[" + dotted(path) + "]"
}
