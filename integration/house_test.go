package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cairn-backup/cairn"

// The bounds of the house. A function literal counts for the function that it stands in.
const (
	maxFileLines     = 700
	maxFunctionLines = 80
)

// rooms says which rooms each room may import, besides itself.
var rooms = map[string][]string{
	"chunkstore":  {},
	"index":       {"chunkstore"},
	"engine":      {"index", "chunkstore"},
	"fs":          {"index", "chunkstore"},
	"cmd":         {"engine", "fs", "index", "chunkstore"},
	"integration": {"engine", "fs", "index", "chunkstore"},
}

// outside says which top-level names there are besides the rooms.
var outside = []string{"Makefile", "README.md", "CHANGELOG.md", "LICENSE", "go.mod", "go.sum", "docs", "bin", ".ci", ".git", ".gitignore"}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			fromRoom, toRoom := room(from), room(to)
			switch {
			case fromRoom != toRoom && !slices.Contains(rooms[fromRoom], toRoom):
				t.Errorf("%s imports %s: %s may import only %v", from, to, fromRoom, rooms[fromRoom])
			case fromRoom == toRoom && to == toRoom && from != to:
				t.Errorf("%s imports %s: a face imports its own sub-rooms, never the reverse", from, to)
			}
		}
	}
}

func TestConcreteDestinationsAreWiredInOneFile(t *testing.T) {
	concrete := regexp.MustCompile(`/chunkstore/destination/[a-z0-9]+$`)
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") || room(f.path) == "integration" || f.path == "cmd/cairn/open.go" {
			continue
		}
		for _, spec := range f.syntax.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if concrete.MatchString(path) && !strings.HasSuffix(path, "/destinationtest") {
				t.Errorf("%s imports %s: only cmd/cairn/open.go knows which destinations there are", f.path, path)
			}
		}
	}
}

func TestTopLevelHoldsOnlyTheRooms(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, isRoom := rooms[e.Name()]; !isRoom && !slices.Contains(outside, e.Name()) {
			t.Errorf("%s stands at the top level and is no room of the house", e.Name())
		}
	}
}

func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "base"}
	documented := map[string]bool{}
	for _, f := range sources(t) {
		if slices.Contains(vague, f.syntax.Name.Name) {
			t.Errorf("%s: a package called %s says nothing", f.path, f.syntax.Name.Name)
		}
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		dir := filepath.Dir(f.path)
		documented[dir] = documented[dir] || (filepath.Base(f.path) == "doc.go" && f.syntax.Doc != nil)
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no doc.go with a package comment", dir)
		}
	}
}

func TestFilesAndFunctionsFitAScreen(t *testing.T) {
	for _, f := range sources(t) {
		if n := f.lines(f.syntax.FileEnd) - 1; n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", f.path, n, maxFileLines)
		}
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.lines(fn.End()) - f.lines(fn.Pos()) + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", f.path, fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

// Time and randomness are handed in from cmd, so that tests can choose them.
func TestNothingBelowCmdAsksTheMachineForTimeOrChance(t *testing.T) {
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") || room(f.path) == "cmd" || room(f.path) == "integration" ||
			strings.HasSuffix(filepath.Dir(f.path), "test") {
			continue
		}
		for _, spec := range f.syntax.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if strings.HasPrefix(path, "math/rand") || (path == "crypto/rand" && room(f.path) != "chunkstore") {
				t.Errorf("%s imports %s: take randomness from Options", f.path, path)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "time" && (call.Sel.Name == "Now" || call.Sel.Name == "Since" || call.Sel.Name == "Until") {
				t.Errorf("%s:%d: time.%s below cmd: take the clock from Options", f.path, f.lines(call.Pos()), call.Sel.Name)
			}
			return true
		})
	}
}

func TestNothingIsLeftForLater(t *testing.T) {
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b|not ` + `implemented`)
	skip := regexp.MustCompile(`\bt\.Skip(Now)?\(\)`)
	for _, f := range sources(t) {
		for i, line := range strings.Split(string(f.text), "\n") {
			if later.MatchString(line) {
				t.Errorf("%s:%d: %s", f.path, i+1, strings.TrimSpace(line))
			}
			if skip.MatchString(line) {
				t.Errorf("%s:%d skips a test without saying why", f.path, i+1)
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

// packages lists the module's packages with their imports, test files left out.
func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

type sourceFile struct {
	path   string // from the top of the repository
	text   []byte
	syntax *ast.File
	set    *token.FileSet
}

func (f sourceFile) lines(p token.Pos) int { return f.set.Position(p).Line }

// sources parses every Go file of the module, of all systems.
func sources(t *testing.T) []sourceFile {
	t.Helper()
	var all []sourceFile
	set := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(set, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		all = append(all, sourceFile{filepath.ToSlash(rel), text, syntax, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 6 {
		t.Fatalf("found only %d source files", len(all))
	}
	return all
}

func room(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

// The README names tests for its promises; a promise whose test is gone is no promise.
func TestPromisesNameTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for _, f := range sources(t) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				declared[fn.Name.Name] = true
			}
		}
	}
	named := regexp.MustCompile("`(Test\\w+|\\w+\\.txtar)`").FindAllSubmatch(text, -1)
	if len(named) < 10 {
		t.Errorf("the README names only %d tests", len(named))
	}
	for _, m := range named {
		name := string(m[1])
		if _, err := os.Stat(filepath.Join("testdata", name)); err != nil && !declared[name] {
			t.Errorf("the README names %s, which does not exist", name)
		}
	}
}

func TestEveryDependencyIsAccountedFor(t *testing.T) {
	text, err := os.ReadFile("../docs/DEPENDENCIES.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile("`([a-z0-9.]+\\.[a-z]+/[A-Za-z0-9/._-]+)`").FindAllSubmatch(text, -1) {
		listed = append(listed, string(m[1]))
	}
	for _, f := range sources(t) {
		for _, spec := range f.syntax.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			first, _, _ := strings.Cut(path, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(path, module) {
				continue // the standard library, or ours
			}
			if !slices.ContainsFunc(listed, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") }) {
				t.Errorf("%s imports %s, which docs/DEPENDENCIES.md does not account for", f.path, path)
			}
		}
	}
}
