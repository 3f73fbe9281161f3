package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File    string
	Line    int // from 1; 0 when the file as a whole is meant
	Column  int // from 1, in characters
	Key     string
	What    string
	Remedy  string
	Warning bool // the configuration can be run all the same
}

// Place is the file with line and column, as compilers write it.
func (p Problem) Place() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Message is the problem without its remedy, for those who print the two apart.
func (p Problem) Message() string {
	var b strings.Builder
	b.WriteString(p.Place() + ": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.What)
	return b.String()
}

// Error is everything there is to say, in one line.
func (p Problem) Error() string {
	if p.Remedy == "" {
		return p.Message()
	}
	return p.Message() + "; " + p.Remedy
}

// Problems are all the problems of a configuration, in the order of the file.
type Problems []Problem

// Error is one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err is the problems that are errors, and nil when there are only warnings.
func (ps Problems) Err() error {
	if errs := ps.filter(false); len(errs) > 0 {
		return errs
	}
	return nil
}

// Warnings are the problems that are no errors.
func (ps Problems) Warnings() Problems { return ps.filter(true) }

func (ps Problems) filter(warning bool) Problems {
	return slices.DeleteFunc(slices.Clone(ps), func(p Problem) bool { return p.Warning != warning })
}

// sorted puts problems into the order of the file, and says the same thing once.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Error(), b.Error()))
	})
	return slices.Compact(ps)
}

// position is a place in a file, both from 1.
type position struct{ line, column int }

const separator = "\x00" // between the parts of a key in a map; no TOML key that means anything has one

func joined(path []string) string { return strings.Join(path, separator) }

// elementMark begins the part of a key that is the number of an element of a list; messages leave it to the column.
const elementMark = "\x01"

func element(i int) string { return elementMark + strconv.Itoa(i) }

func sub(path []string, more ...string) []string { return append(path[:len(path):len(path)], more...) }

// dotted writes the parts of a key as TOML does.
func dotted(path []string) string {
	var parts []string
	for _, p := range path {
		switch {
		case strings.HasPrefix(p, elementMark):
		case isBareKey(p):
			parts = append(parts, p)
		default:
			parts = append(parts, fmt.Sprintf("%q", p))
		}
	}
	return strings.Join(parts, ".")
}

func isBareKey(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// At makes a problem of the value with that key, such as "server", "listen", for what shows only when the
// configuration is put to use. The place is that of the nearest part of the key which is in the file.
func (c *Config) At(what, remedy string, key ...string) Problem {
	p := Problem{File: c.file, Key: dotted(key), What: what, Remedy: remedy}
	for n := len(key); n > 0; n-- {
		if at, ok := c.places[joined(key[:n])]; ok {
			p.Line, p.Column = at.line, at.column
			break
		}
	}
	return p
}
