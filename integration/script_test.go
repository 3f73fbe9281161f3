package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// binDir holds the program under test, built once, with buildFlags.
var (
	binDir     string
	buildFlags []string
)

func TestMain(m *testing.M) {
	code, err := withProgram(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withProgram builds the program into a directory that goes in front of PATH.
func withProgram(run func() int) (int, error) {
	dir, err := os.MkdirTemp("", "cairn-integration.")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // other users run it too
		return 0, err
	}
	args := append([]string{"build", "-o", filepath.Join(dir, "cairn")}, buildFlags...)
	build := exec.Command("go", append(args, module+"/cmd/cairn")...)
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	binDir = dir
	return run(), nil
}

// Each script is a story of commands with what they must print. The scripts double as documentation of the command line.
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUpScript,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"point":    point,
			"damage":   damage,
			"truncate": truncate,
			"replace":  replace,
			"same":     same,
			"newer":    newer,
		},
	})
}

// setUpScript gives each script a home of its own, so that no script sees another's cache, and takes mounts away at its end.
func setUpScript(env *testscript.Env) error {
	env.Setenv("PATH", binDir+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("HOME", filepath.Join(env.WorkDir, ".home"))
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
	env.Setenv("CAIRN_REPO", filepath.Join(env.WorkDir, "repo"))
	env.Setenv("CAIRN_KEY_FILE", filepath.Join(env.WorkDir, "key"))
	env.Setenv("LC_ALL", "C.UTF-8")
	env.Setenv("TZ", "UTC")
	env.Defer(func() { unmountBelow(env.WorkDir) })
	// Some scripts run the program as another user, who must be able to come here.
	return errors.Join(os.Chmod(filepath.Dir(env.WorkDir), 0o755), os.Chmod(env.WorkDir, 0o755))
}

// unmountBelow takes away what a script that failed left mounted.
func unmountBelow(dir string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return // not Linux: nothing was mounted
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			exec.Command("umount", "-l", fields[4]).Run()
		}
	}
}

func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "fuse":
		_, err := os.Stat("/dev/fuse")
		return err == nil && runtime.GOOS == "linux", nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// exits CODE PROGRAM ARGUMENTS...: the program ends with just this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENTS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// point VARIABLE: keep what the last command printed, a restore point's name, in an environment variable.
func point(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: point VARIABLE")
	}
	name := strings.TrimSpace(ts.ReadFile("stdout"))
	if name == "" || strings.ContainsAny(name, " \n/:@") {
		ts.Fatalf("%q is not the name of a restore point", name)
	}
	ts.Setenv(args[0], name)
}

// objects gives the files below a directory, the largest first.
func objects(ts *testscript.TestScript, dir string) []string {
	var paths []string
	sizes := map[string]int64{}
	ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		i := 0
		for i < len(paths) && sizes[paths[i]] >= info.Size() {
			i++
		}
		paths = append(paths[:i], append([]string{path}, paths[i:]...)...)
		sizes[path] = info.Size()
		return nil
	}))
	if len(paths) == 0 {
		ts.Fatalf("no object below %s", dir)
	}
	return paths
}

// damage DIR PART: overwrite a part of the largest object below DIR: "burst" is as long as parity can heal, "all" its whole
// length, "flip" one bit in its middle.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage DIR burst|flip|all")
	}
	path := objects(ts, args[0])[0]
	body, err := os.ReadFile(path)
	ts.Check(err)
	from, to := 0, len(body)
	switch args[1] {
	case "burst":
		from = len(body) / 4
		to = from + len(body)/12
	case "flip":
		from = len(body) / 3
		to = from + 1
	case "all":
	default:
		ts.Fatalf("unknown damage %q", args[1])
	}
	for i := from; i < to; i++ {
		body[i] ^= 0x5a
	}
	ts.Check(os.WriteFile(path, body, 0o600))
}

// truncate DIR: cut the largest object below DIR in half.
func truncate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: truncate DIR")
	}
	path := objects(ts, args[0])[0]
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()/2))
}

// replace FILE OLD NEW: replace text in a file.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	path := ts.MkAbs(args[0])
	text := ts.ReadFile(path)
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

// same A B: two directories hold the same files with the same content.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same A B")
	}
	err := ts.Exec("diff", "-r", "--no-dereference", ts.MkAbs(args[0]), ts.MkAbs(args[1]))
	if (err == nil) == neg {
		ts.Fatalf("diff -r %s %s: %v", args[0], args[1], err)
	}
}

// newer OBJECT: rewrite the config of a repository so that it says it is of format 9.
func newer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: newer OBJECT")
	}
	path := ts.MkAbs(args[0])
	object, err := os.ReadFile(path)
	ts.Check(err)
	const versionAt = 6 // behind the magic and the type
	payload := bytes.Clone(object[stripe.HeadSize : stripe.CellSize/2])
	payload[versionAt] = 9
	ts.Check(os.WriteFile(path, stripe.Encode(payload, stripe.Shape{Data: 1, Parity: 2}, xxhash.Sum64String("config")), 0o600))
}
