package files

import (
	"fmt"
	"strings"
)

// patterns is a list of exclude patterns with the meaning that gitignore(5) gives them: the last pattern that
// matches decides; a leading "!" takes back in; a trailing "/" matches directories only; a pattern with a slash
// elsewhere is anchored at the root of the source, any other matches a name at any depth; "**" stands for
// any number of directories. What lies in an excluded directory is never looked at.
type patterns []pattern

type pattern struct {
	elements []string // between slashes; "**" stands for itself
	include  bool
	dirOnly  bool
	anchored bool
	literal  bool // the only element has no special character: compare it
}

// parsePatterns reads lines as they stand in a .gitignore file; blank lines and comments are no patterns.
func parsePatterns(lines []string) (patterns, error) {
	var ps patterns
	for _, line := range lines {
		p, ok, err := parsePattern(line)
		if err != nil {
			return nil, fmt.Errorf("exclude pattern %q: %w", line, err)
		}
		if ok {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

func parsePattern(line string) (p pattern, ok bool, err error) {
	if strings.HasPrefix(line, "#") {
		return p, false, nil
	}
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = line[:len(line)-1]
	}
	if rest, found := strings.CutPrefix(line, "!"); found {
		p.include, line = true, rest
	}
	if rest, found := strings.CutSuffix(line, "/"); found {
		p.dirOnly, line = true, rest
	}
	p.anchored = strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return p, false, nil
	}
	p.elements = strings.Split(line, "/")
	for _, e := range p.elements {
		if err := checkName(e); err != nil {
			return p, false, err
		}
	}
	p.literal = len(p.elements) == 1 && !strings.ContainsAny(line, `*?[\`)
	return p, true, nil
}

// excluded says whether the entry at path, relative to the root of the source, is left out.
func (ps patterns) excluded(path, name string, isDir bool) bool {
	for i := len(ps) - 1; i >= 0; i-- {
		if p := &ps[i]; p.matches(path, name, isDir) {
			return !p.include
		}
	}
	return false
}

func (p *pattern) matches(path, name string, isDir bool) bool {
	if p.dirOnly && !isDir {
		return false
	}
	if !p.anchored {
		if p.literal {
			return p.elements[0] == name
		}
		return matchName(p.elements[0], name)
	}
	return matchPath(p.elements, path)
}

// matchPath matches whole paths element by element. A "**" that fails is retried one element further, and only the
// last "**" met ever needs that, so the time is bounded by len(pattern) * len(path).
func matchPath(pattern []string, path string) bool {
	var backPattern []string
	var backPath string
	retry := false
	more := true // path holds at least one more element, which may be empty only at the very end
	backMore := false
	for {
		switch {
		case len(pattern) > 0 && pattern[0] == "**":
			if len(pattern) == 1 {
				return more // "a/**" is what is in a, not a itself
			}
			pattern = pattern[1:]
			retry, backPattern, backPath, backMore = true, pattern, path, more
			continue
		case len(pattern) == 0 && !more:
			return true
		case len(pattern) > 0 && more:
			element, rest, found := strings.Cut(path, "/")
			if matchName(pattern[0], element) {
				pattern, path, more = pattern[1:], rest, found
				continue
			}
		}
		if !retry || !backMore {
			return false
		}
		_, backPath, backMore = strings.Cut(backPath, "/")
		pattern, path, more = backPattern, backPath, backMore
	}
}

// matchName matches one name, byte by byte, against a pattern of "*", "?", "[a-z]", "[!a-z]" and "\\" before a
// character that stands for itself. Like matchPath it goes back to the last "*" only.
func matchName(pattern, name string) bool {
	p, n := 0, 0
	backP, backN := -1, 0
	for p < len(pattern) || n < len(name) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				backP, backN = p, n
				p++
				continue
			}
			if n < len(name) {
				if width, ok, err := matchByte(pattern[p:], name[n]); ok && err == nil {
					p, n = p+width, n+1
					continue
				}
			}
		}
		if backP < 0 || backN >= len(name) {
			return false
		}
		backN++
		p, n = backP+1, backN
	}
	return true
}

// checkName says what is wrong with the form of a pattern for one name.
func checkName(pattern string) error {
	for len(pattern) > 0 {
		width, _, err := matchByte(pattern, 0)
		if err != nil {
			return err
		}
		pattern = pattern[width:]
	}
	return nil
}

// matchByte matches c against the first item of a pattern, which is width bytes wide.
func matchByte(pattern string, c byte) (width int, ok bool, err error) {
	switch pattern[0] {
	case '?':
		return 1, true, nil
	case '\\':
		if len(pattern) == 1 {
			return 0, false, errPattern("ends in a backslash")
		}
		return 2, c == pattern[1], nil
	case '[':
		return matchClass(pattern, c)
	}
	return 1, c == pattern[0], nil
}

// matchClass matches c against the class "[...]" that pattern begins with.
func matchClass(pattern string, c byte) (width int, in bool, err error) {
	i, negated := 1, false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		negated, i = true, i+1
	}
	for first := true; ; first = false {
		if i >= len(pattern) {
			return 0, false, errPattern("has a [ without its ]")
		}
		if pattern[i] == ']' && !first {
			return i + 1, in != negated, nil
		}
		if strings.HasPrefix(pattern[i:], "[:") {
			if name, rest, found := strings.Cut(pattern[i+2:], ":]"); found {
				member, known := classes[name]
				if !known {
					return 0, false, errPattern("has an unknown class [:" + name + ":]")
				}
				in = in || member(c)
				i = len(pattern) - len(rest)
				continue
			}
		}
		low, next := classByte(pattern, i)
		high := low
		if next+1 < len(pattern) && pattern[next] == '-' && pattern[next+1] != ']' {
			high, next = classByte(pattern, next+1)
		}
		in = in || low <= c && c <= high
		i = next
	}
}

// classByte is the byte at i in a class, and where the next begins.
func classByte(pattern string, i int) (byte, int) {
	if pattern[i] == '\\' && i+1 < len(pattern) {
		return pattern[i+1], i + 2
	}
	return pattern[i], i + 1
}

type errPattern string

func (e errPattern) Error() string { return "it " + string(e) }

// classes are those of POSIX in the C locale: names are bytes here.
var classes = map[string]func(c byte) bool{
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"alpha":  isAlpha,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < 0x20 || c == 0x7f },
	"digit":  isDigit,
	"graph":  func(c byte) bool { return c > 0x20 && c < 0x7f },
	"lower":  func(c byte) bool { return c >= 'a' && c <= 'z' },
	"print":  func(c byte) bool { return c >= 0x20 && c < 0x7f },
	"punct":  func(c byte) bool { return c > 0x20 && c < 0x7f && !isAlpha(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' },
	"upper":  func(c byte) bool { return c >= 'A' && c <= 'Z' },
	"xdigit": func(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' },
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// The tag of the Cache Directory Tagging Specification (bford.info/cachedir).
const (
	cacheTag       = "CACHEDIR.TAG"
	cacheSignature = "Signature: 8a477f597d28d172789f06886806bc55"
)
