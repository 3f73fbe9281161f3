package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// quiet is a program that nobody looks at.
func quiet(t *testing.T) (*program, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	var out, errs bytes.Buffer
	return &program{in: in, out: &out, err: &errs, getenv: func(string) string { return "" },
		now: func() time.Time { return time.Unix(1_800_000_000, 0) }}, &out, &errs
}

func TestFlagsMayStandAnywhere(t *testing.T) {
	p, _, _ := quiet(t)
	for line, want := range map[string]string{
		"cairn backup --full docs":                 "cairn backup --full -- docs",
		"cairn backup docs --full":                 "cairn backup --full -- docs",
		"cairn --full backup docs":                 "cairn backup --full -- docs",
		"cairn --repo r backup docs -s x":          "cairn backup --repo r --source x -- docs",
		"cairn backup docs --repo=r more":          "cairn backup --repo=r -- docs more",
		"cairn backup -- --full docs":              "cairn backup -- --full docs",
		"cairn backup docs -- --full":              "cairn backup -- docs --full",
		"cairn backup backup":                      "cairn backup -- backup",
		"cairn key --repo r add --label l":         "cairn key add --repo r --label l",
		"cairn key remove 3f":                      "cairn key remove -- 3f",
		"cairn backup -e a --exclude b docs":       "cairn backup --exclude a --exclude b -- docs",
		"cairn backup -e=a docs":                   "cairn backup --exclude=a -- docs",
		"cairn ls -lR docs":                        "cairn ls --long --recursive -- docs",
		"cairn ls -lz docs":                        "cairn ls -lz -- docs",
		"cairn cat -":                              "cairn cat -- -",
		"cairn":                                    "cairn",
		"cairn --help":                             "cairn --help",
		"cairn nonsense":                           "cairn nonsense",
		"cairn --generate-bash-completion":         "cairn --generate-bash-completion",
		"cairn backup --unknown docs --exclude -x": "cairn backup --unknown --exclude -x -- docs",
	} {
		got, err := arrange(p.app(), strings.Fields(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
	if _, err := arrange(p.app(), []string{"cairn", "backup", "--source"}); err == nil {
		t.Error("a flag without its value was taken")
	}
}

func TestArrangingLosesNoWord(t *testing.T) {
	p, _, _ := quiet(t)
	app := p.app()
	words := rapid.SliceOf(rapid.SampledFrom([]string{"backup", "key", "add", "--full", "--source", "--source=x", "-s", "-x", "docs", "a b", "", "-"}))
	rapid.Check(t, func(t *rapid.T) {
		line := append([]string{"cairn"}, words.Draw(t, "line")...)
		got, err := arrange(app, line)
		if err != nil {
			return
		}
		left := map[string]int{}
		long := func(w string) string {
			switch w {
			case "-s":
				return "--source"
			case "-x":
				return "--one-file-system"
			}
			return w
		}
		for _, w := range line {
			left[long(w)]++
		}
		for _, w := range got {
			left[long(w)]--
		}
		delete(left, "--")
		for w, n := range left {
			if n != 0 {
				t.Fatalf("%q became %q: %q is there %d times too few", line, got, w, n)
			}
		}
	})
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	p, _, _ := quiet(t)
	for _, c := range p.app().Commands {
		if !strings.Contains(c.Description, "\n\nExamples:\n  cairn "+c.Name) && !strings.Contains(c.Description, "cairn "+c.Name) {
			t.Errorf("%s has no example", c.Name)
		}
		if c.Usage == "" || strings.HasSuffix(c.Usage, ".") {
			t.Errorf("%s: usage %q", c.Name, c.Usage)
		}
	}
}

func TestErrorsBecomeExitCodesAndHints(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{nil, 0, ""},
		{errors.New("broken"), 1, "cairn: broken"},
		{usagef("wrong").hint("so"), 2, "hint: so"},
		{errPartial, 3, ""},
		{errInterrupted, 130, "interrupted"},
		{exitCode(2), 2, ""},
		{fmt.Errorf("open: %w", keys.ErrWrongKey), 1, "hint: check the passphrase"},
		{fmt.Errorf("open: %w", &chunkstore.VersionError{Found: 9, Known: 1}), 1, "hint: use a newer cairn"},
		{fmt.Errorf("write: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), 1, "hint: free some space"},
		{&chunkstore.DamageError{Object: "packs/x", Err: chunkstore.ErrDamaged}, 1, "hint: `cairn verify"},
		{&engine.InTheWayError{Target: "t", Paths: []string{"a"}, Count: 1}, 1, "--overwrite"},
		{context.Canceled, 1, "canceled"}, // not by a signal: something went wrong
		{errors.New("evil\x1b[31m"), 1, "evil?[31m"},
	} {
		p, _, errs := quiet(t)
		if code := p.report(c.err); code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, code, c.code)
		}
		if !strings.Contains(errs.String(), c.says) || (c.says == "" && errs.Len() > 0) {
			t.Errorf("%v: said %q, want %q", c.err, errs, c.says)
		}
	}
}

func TestASpecThatReadsOtherwiseThanMeantIsExplained(t *testing.T) {
	points := []*index.Point{{Source: "docs"}, {Source: "me@home"}, {Source: "c:"}}
	there := time.Date(2026, 11, 20, 14, 0, 0, 0, time.FixedZone("there", -5*60*60))
	for _, c := range []struct {
		spec string
		now  time.Time
		want string
	}{
		{"docs:letters", there, "a path begins with a slash: docs:/letters"},
		{"docs@3d:letters", there, "a path begins with a slash: docs@3d:/letters"},
		{"me@home", there, "that source needs a time behind its name: me@home@latest"},
		{"me@home:/a", there, "that source needs a time behind its name: me@home@latest:/a"},
		{"c:", there, "that source needs a time behind its name: c:@latest"},
		{"docs@2026-11-20T09:00:/a", there, "times are UTC, as in the names of restore points; one of this place ends in its offset: docs@2026-11-20T09:00-05:00:/a"},
		{"docs@2026-11-20T09:00:/a", there.UTC(), ""},
		{"docs@2026-11-20", there, ""},
		{"nobody:letters", there, ""},
		{"docs@9y", there, ""},
	} {
		if got := misread(points, c.spec, c.now); got != c.want {
			t.Errorf("%s: %q, want %q", c.spec, got, c.want)
		}
	}
}

func TestNamesCannotSteerATerminal(t *testing.T) {
	for name, want := range map[string]string{
		"plain name":  "plain name",
		"äöü 漢字":      "äöü 漢字",
		"line\nbreak": `"line\nbreak"`,
		"\x1b[2J":     `"\x1b[2J"`,
		"\xff\xfe":    `"\xff\xfe"`,
	} {
		if got := safe(name); got != want {
			t.Errorf("safe(%q) = %s, want %s", name, got, want)
		}
	}
	p, _, _ := quiet(t)
	if got := p.shown("\x1b[2J"); got != "\x1b[2J" {
		t.Errorf("in a pipe a name became %q", got)
	}
}

func TestTimeLeftFollowsThePace(t *testing.T) {
	if got := timeLeft(25, 100, 10*time.Second); got != 30*time.Second {
		t.Errorf("a quarter in 10 s: %v left", got)
	}
	for _, c := range [][2]int64{{0, 100}, {100, 100}, {120, 100}, {10, 0}} {
		if got := timeLeft(c[0], c[1], time.Minute); got != 0 {
			t.Errorf("%v: %v left", c, got)
		}
	}
	var counters engine.Progress
	counters.Files.Store(1200)
	counters.TotalFiles.Store(5000)
	counters.Bytes.Store(25 << 20)
	counters.TotalBytes.Store(100 << 20)
	began := time.Unix(0, 0)
	r := &pace{noun: "file", started: began, now: func() time.Time { return began.Add(10 * time.Second) }}
	if got, want := r.line(&counters), " 1,200 of 5,000 files, 25 MiB of 100 MiB, 2.5 MiB/s, 30s left"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestModesLookAsInLs(t *testing.T) {
	for want, e := range map[string]tree.Entry{
		"-rwxr-xr-x": {Type: tree.File, Mode: 0o755},
		"drwxrwxrwt": {Type: tree.Directory, Mode: 0o1777},
		"-rwsr-Sr-T": {Type: tree.File, Mode: 0o7744},
		"lrwxrwxrwx": {Type: tree.Symlink, Mode: 0o777},
		"crw-------": {Type: tree.CharDevice, Mode: 0o600},
	} {
		if got := modeText(&e); got != want {
			t.Errorf("%o: %s, want %s", e.Mode, got, want)
		}
	}
}

func TestNearMissesAreRecognised(t *testing.T) {
	names := []string{"backup", "restore", "points", "mount"}
	for word, want := range map[string]string{"bakcup": "backup", "restor": "restore", "point": "points", "xyzzyx": ""} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestTableColumnsLineUp(t *testing.T) {
	table := table{heads: []string{"NAME", "SIZE "}}
	table.add("a", "1")
	table.add("längerer", "1,000")
	var out bytes.Buffer
	table.print(&out)
	if want := "NAME       SIZE\na             1\nlängerer  1,000\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}
