package files

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPatternsMeanWhatGitignoreSays(t *testing.T) {
	for _, c := range []struct {
		patterns string // one a line
		path     string // a trailing slash makes it a directory
		want     bool
	}{
		{"*.o", "a.o", true},
		{"*.o", "deep/down/a.o", true},
		{"*.o", "a.os", false},
		{"foo", "foo/", true},
		{"foo/", "foo", false},
		{"foo/", "x/foo/", true},
		{"/foo", "foo", true},
		{"/foo", "x/foo", false},
		{"a/b", "a/b", true},
		{"a/b", "x/a/b", false},
		{"**/a/b", "x/a/b", true},
		{"**/a/b", "a/b", true},
		{"**/a/b", "a/x/a/b", true},
		{"a/**/b", "a/b", true},
		{"a/**/b", "a/x/y/b", true},
		{"a/**/b", "a/x/b/c", false},
		{"a/**", "a/", false},
		{"a/**", "a/x/y", true},
		{"a/*/c", "a/b/c", true},
		{"a/*/c", "a/b/b/c", false},
		{"a/*", "a/b", true},
		{"*\n!keep", "keep", false},
		{"*\n!keep", "other", true},
		{"!keep\n*", "keep", true},
		{"\\!x", "!x", true},
		{"\\#x", "#x", true},
		{"#x", "#x", false},
		{"x ", "x", true},
		{"x\\ ", "x ", true},
		{"[abc].txt", "b.txt", true},
		{"[!abc].txt", "b.txt", false},
		{"[^abc].txt", "d.txt", true},
		{"[a-c]x", "bx", true},
		{"[]x]", "]", true},
		{"[[:digit:]]x", "7x", true},
		{"[[:upper:]]x", "ax", false},
		{"a?c", "abc", true},
		{"a?c", "a/c", false},
		{"a*c*e", "abcde", true},
		{"a*c*e", "abde", false},
		{"a\\*b", "a*b", true},
		{"a\\*b", "axb", false},
		{"**", "any/thing", true},
		{"\xff*", "\xff\xfe", true},
		{"", "x", false},
		{"/", "x", false},
	} {
		ps, err := parsePatterns(strings.Split(c.patterns, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		path, isDir := strings.CutSuffix(c.path, "/")
		if got := ps.excluded(path, filepath.Base(path), isDir); got != c.want {
			t.Errorf("patterns %q exclude %q: %v, want %v", c.patterns, c.path, got, c.want)
		}
	}
}

func TestMalformedPatternIsRefused(t *testing.T) {
	for _, p := range []string{"[abc", "a\\", "[[:nothing:]]"} {
		if _, err := parsePatterns([]string{p}); err == nil {
			t.Errorf("pattern %q was accepted", p)
		}
	}
}

// TestPatternsAgreeWithGit runs where git is installed, and compares with what it makes of the same file.
func TestPatternsAgreeWithGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Log("git is not installed: compared with the table above only")
		return
	}
	dir := t.TempDir()
	if out, err := exec.Command(git, "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	elements := []string{"a", "b", "ab", "a.o", "b.txt"}
	var paths []string
	var grow func(prefix string, depth int)
	grow = func(prefix string, depth int) {
		for _, e := range elements {
			paths = append(paths, prefix+e)
			if depth > 1 && (e == "a" || e == "b" || e == "ab") {
				grow(prefix+e+"/", depth-1)
			}
		}
	}
	grow("", 3)
	for _, p := range paths {
		if base := filepath.Base(p); base == "a" || base == "b" || base == "ab" {
			if err := os.MkdirAll(filepath.Join(dir, p), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, pattern := range []string{"a", "a/", "/a", "*.o", "a/b", "**/b", "a/**", "a/**/b", "**/a/b", "a*", "?", "[ab]", "/*/b", "a/*/a.o", "**/a/**/b.txt", "*b/a", "[!a]", "a/**/"} {
		if err := os.WriteFile(filepath.Join(dir, ".git", "info", "exclude"), []byte(pattern+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(git, "-C", dir, "-c", "core.quotePath=false", "check-ignore", "--stdin", "--no-index")
		cmd.Stdin = strings.NewReader(strings.Join(paths, "\n") + "\n")
		out, _ := cmd.Output() // exits with 1 when nothing matches
		want := make(map[string]bool)
		for _, line := range strings.Fields(string(out)) {
			want[line] = true
		}
		ps, err := parsePatterns([]string{pattern})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if got := excludedWithParents(ps, dir, p); got != want[p] {
				t.Errorf("pattern %q excludes %q: %v, git says %v", pattern, p, got, want[p])
			}
		}
	}
}

// excludedWithParents does what the walk does: it does not look into an excluded directory.
func excludedWithParents(ps patterns, root, path string) bool {
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		info, err := os.Stat(filepath.Join(root, path[:i]))
		if ps.excluded(path[:i], filepath.Base(path[:i]), err == nil && info.IsDir()) {
			return true
		}
	}
	return false
}

func FuzzPatterns(f *testing.F) {
	f.Add("a/**/[b-z]*", "a/x/y")
	f.Add("**/**/**/x", "a/a/a/a")
	f.Add("!*[[:alpha:]]", "q")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if ps, err := parsePatterns([]string{pattern}); err == nil {
			ps.excluded(path, filepath.Base(path), false)
		}
	})
}

func BenchmarkExclude(b *testing.B) {
	ps, err := parsePatterns([]string{"*.o", "*.ko", ".git/", "node_modules/", "/build/**", "!keep.o", "**/cache/*.tmp"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		ps.excluded("drivers/net/ethernet/intel/main.c", "main.c", false)
	}
}
