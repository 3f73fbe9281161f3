//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// arena is a repository, what is backed up into it, and what must be in it.
type arena struct {
	bin    string // the program
	dir    string // everything is below it
	repo   string
	chance *rand.Rand
	garden garden
	kept   bodies
	points map[string]manifest // SOURCE@NAME: restore points that must be there
	number map[string]uint64   // their sequence numbers
	loose  map[string]bool     // of them, those that were to be forgotten by a command that was killed
	key    string              // the key file in use
	latest string              // the restore point that was entered last
	runs   int
}

// patience is how long a command may take before it counts as hung.
const patience = 5 * time.Minute

func newArena(bin, dir string, seed uint64) (*arena, error) {
	a := &arena{bin: bin, dir: dir, repo: filepath.Join(dir, "repo"), chance: rand.New(rand.NewPCG(seed, 7)),
		kept: bodies{}, points: map[string]manifest{}, number: map[string]uint64{}, loose: map[string]bool{}, key: filepath.Join(dir, "key")}
	a.garden = garden{filepath.Join(dir, "docs"), a.chance}
	return a, os.MkdirAll(a.garden.dir, 0o755)
}

// outcome is how a command ended.
type outcome struct {
	args   string
	stdout string
	stderr string
	code   int // -1: by a signal
}

func (o outcome) String() string {
	return fmt.Sprintf("cairn %s: exit code %d: %s", o.args, o.code, strings.TrimSpace(last(o.stdout, 300)+" "+last(o.stderr, 700)))
}

func last(text string, n int) string {
	if len(text) > n {
		return "..." + text[len(text)-n:]
	}
	return text
}

// command prepares a command of the program, in a process group of its own.
func (a *arena) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, a.bin, args...)
	cmd.Env = append(os.Environ(), "HOME="+filepath.Join(a.dir, "home"), "XDG_CACHE_HOME="+filepath.Join(a.dir, "cache"),
		"CAIRN_REPO="+a.repo, "CAIRN_KEY_FILE="+a.key, "TZ=UTC")
	cmd.Dir = a.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// run runs a command to its end.
func (a *arena) run(args ...string) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return finish(a.command(ctx, args...), args)
}

func finish(cmd *exec.Cmd, args []string) outcome {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := outcome{strings.Join(args, " "), stdout.String(), stderr.String(), 0}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		o.code = exit.ExitCode()
	case err != nil:
		o.code, o.stderr = -2, err.Error()
	}
	return o
}

// must runs a command that has to succeed.
func (a *arena) must(args ...string) (outcome, error) {
	o := a.run(args...)
	if o.code != 0 {
		return o, errors.New(o.String())
	}
	return o, nil
}

// backup takes a backup of a directory that has to succeed, and enters the restore point.
func (a *arena) backup(dir string, flags ...string) error {
	m, err := a.kept.read(dir)
	if err != nil {
		return err
	}
	o, err := a.must(append(append([]string{"backup", "--json"}, flags...), dir)...)
	if err != nil {
		return err
	}
	return a.enter(o, m)
}

// enter enters the restore point that a backup with --json made.
func (a *arena) enter(o outcome, m manifest) error {
	var p pointLine
	if err := json.Unmarshal([]byte(o.stdout), &p); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	a.latest = p.Source + "@" + p.Name
	a.points[a.latest], a.number[a.latest] = m, p.Sequence
	return nil
}

type pointLine struct {
	Source, Name string
	Root         string
	Sequence     uint64
}

// list gives the restore points that the program lists.
func (a *arena) list() (map[string]pointLine, error) {
	o, err := a.must("points", "--json")
	if err != nil {
		return nil, err
	}
	all := map[string]pointLine{}
	for d := json.NewDecoder(strings.NewReader(o.stdout)); d.More(); {
		var p pointLine
		if err := d.Decode(&p); err != nil {
			return nil, err
		}
		all[p.Source+"@"+p.Name] = p
	}
	return all, nil
}

// settle compares what is listed with what must be. A point that is new is one that a command which was killed had
// completed: it holds what underway says, or is a fault when that is nil.
func (a *arena) settle(underway map[string]manifest) error {
	listed, err := a.list()
	if err != nil {
		return err
	}
	for name := range a.points {
		if _, ok := listed[name]; ok {
			continue
		}
		if !a.loose[name] {
			return fmt.Errorf("restore point %s is gone", name)
		}
		delete(a.points, name)
	}
	clear(a.loose)
	for name, p := range listed {
		if a.points[name] != nil {
			continue
		}
		a.number[name] = p.Sequence
		if a.points[name] = underway[p.Source]; a.points[name] == nil {
			return fmt.Errorf("restore point %s comes from nowhere", name)
		}
	}
	return nil
}

// restore restores a point and compares it.
func (a *arena) restore(name string) error {
	a.runs++
	target := filepath.Join(a.dir, fmt.Sprintf("restored%d", a.runs))
	defer os.RemoveAll(target)
	if _, err := a.must("restore", name, "--to", target); err != nil {
		return err
	}
	if err := a.points[name].compare(target, nil); err != nil {
		return fmt.Errorf("restore point %s: %w", name, err)
	}
	return nil
}

// restoreAll restores every point.
func (a *arena) restoreAll() error {
	for name := range a.points {
		if err := a.restore(name); err != nil {
			return err
		}
	}
	return nil
}

// anyPoint picks one, or "".
func (a *arena) anyPoint() string {
	names := a.names("")
	if len(names) == 0 {
		return ""
	}
	return names[a.chance.IntN(len(names))]
}

// names gives the points whose names begin so, the oldest first.
func (a *arena) names(prefix string) []string {
	var names []string
	for name := range a.points {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Compare(a.number[x], a.number[y]) })
	return names
}

// verified runs verify, which must find nothing.
func (a *arena) verified(readData bool) error {
	args := []string{"verify"}
	if readData {
		args = append(args, "--read-data")
	}
	_, err := a.must(args...)
	return err
}

// age makes sessions and leftovers look as if two days had gone by: the disk's clock is what counts.
func (a *arena) age() error {
	old := time.Now().Add(-48 * time.Hour)
	return filepath.WalkDir(a.repo, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.Contains(path, ".in-progress") || filepath.Base(filepath.Dir(path)) == "sessions" {
			return os.Chtimes(path, old, old)
		}
		return nil
	})
}
