//go:build linux

package hostile

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// program is the one under test.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cairn-hostile-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	code := 1
	if err == nil {
		program = filepath.Join(dir, "cairn")
		out, failed := exec.Command("go", "build", "-o", program, "../../cmd/cairn").CombinedOutput()
		if err = failed; err != nil {
			err = fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// villain writes what it likes into a repository.
type villain struct {
	t     *testing.T
	dir   string // holds everything
	repo  *index.Repository
	store *chunkstore.Store
}

var made = time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC)

func newVillain(t *testing.T, plain bool) *villain {
	t.Helper()
	v := &villain{t: t, dir: t.TempDir()}
	d, err := local.New(v.path("repository"))
	v.must(err)
	identity, err := age.GenerateX25519Identity()
	v.must(err)
	v.must(os.WriteFile(v.path("key"), []byte(identity.String()+"\n"), 0o600))
	o := chunkstore.InitOptions{Plain: plain, Now: made}
	if !plain {
		o.Recipients = []age.Recipient{identity.Recipient()}
	}
	v.store, err = chunkstore.Init(t.Context(), d, o)
	v.must(err)
	v.repo, err = index.Open(t.Context(), v.store, index.Options{CacheDir: t.TempDir(), Now: func() time.Time { return made }, Random: rand.Reader, Host: "host"})
	v.must(err)
	t.Cleanup(func() { v.repo.Close(); v.store.Close() })
	return v
}

func (v *villain) path(name string) string { return filepath.Join(v.dir, name) }

func (v *villain) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// commit makes a restore point of the source "evil" from nodes that write stores; it gives the id of the topmost directory.
func (v *villain) commit(write func(save func(node []byte) chunkstore.ID) chunkstore.ID) {
	v.t.Helper()
	ctx := context.Background()
	session, err := v.repo.Begin(ctx, index.SessionOptions{Source: "evil"})
	v.must(err)
	save := func(node []byte) chunkstore.ID {
		id, err := session.SaveNode(ctx, node)
		v.must(err)
		return id
	}
	root := save(leaf(kindRoot, bad{kind: typeDir, mode: 0o755, child: write(save)}))
	_, err = session.Commit(ctx, &index.Point{Source: "evil", Kind: index.Full, Started: made, Finished: made, Root: tree.Ref{ID: root}})
	v.must(err)
}

// entries makes a restore point of one directory.
func (v *villain) entries(entries ...bad) {
	v.t.Helper()
	v.commit(func(save func([]byte) chunkstore.ID) chunkstore.ID { return save(leaf(kindLeaf, entries...)) })
}

// command is the program on the villain's repository.
func (v *villain) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = v.dir
	cmd.Env = append(os.Environ(), "HOME="+v.path("home"), "XDG_CACHE_HOME="+v.path("cache"), "CAIRN_CACHE_DIR="+v.path("cache/cairn"),
		"CAIRN_REPO="+v.path("repository"), "LC_ALL=C.UTF-8", "CAIRN_PASSWORD=", "CAIRN_PASSWORD_FILE=")
	if v.store.Config().Plain {
		cmd.Env = append(cmd.Env, "CAIRN_KEY_FILE=")
	} else {
		cmd.Env = append(cmd.Env, "CAIRN_KEY_FILE="+v.path("key"))
	}
	return cmd
}

// run runs it with two minutes' time, and gives what it printed and its exit code. It must end by itself and without a panic.
func (v *villain) run(args ...string) (string, int) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := v.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	v.must(cmd.Start())
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		v.t.Fatal(err)
	}
	text := out.String()
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") || strings.Contains(text, "fatal error") {
		v.t.Fatalf("cairn %q panics:\n%.4000s", args, text)
	}
	if ctx.Err() != nil || !cmd.ProcessState.Exited() {
		v.t.Fatalf("cairn %q did not end by itself:\n%.4000s", args, text)
	}
	return text, cmd.ProcessState.ExitCode()
}

// restore restores everything into out/target. out also holds a canary and a directory "elsewhere"; nothing but
// out/target may change.
func (v *villain) restore(flags ...string) (said string, code int) {
	v.t.Helper()
	v.must(os.MkdirAll(v.path("out/elsewhere"), 0o755))
	v.must(os.WriteFile(v.path("out/canary"), []byte("alive"), 0o644))
	v.must(os.WriteFile(v.path("out/elsewhere/kept"), []byte("kept"), 0o644))
	before := v.outside()
	said, code = v.run(append([]string{"restore", "evil", "--to", v.path("out/target")}, flags...)...)
	if after := v.outside(); after != before {
		v.t.Errorf("outside the target it was\n%sand is\n%s", before, after)
	}
	return said, code
}

// outside lists all in out but what is below the target.
func (v *villain) outside() string {
	var list strings.Builder
	v.must(filepath.WalkDir(v.path("out"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == v.path("out/target") {
			return filepath.SkipDir
		}
		if path == v.path("out") {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&list, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		return nil
	}))
	return list.String()
}

// target gives the mode of an entry of the target; zero when it is not there.
func (v *villain) target(name string) fs.FileMode {
	info, err := os.Lstat(v.path("out/target/" + name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	v.must(err)
	return info.Mode()
}

// mount mounts the repository and runs a shell in the mount, which must be alive afterwards. It gives what the shell says.
func (v *villain) mount(script string) string {
	v.t.Helper()
	dir := v.path("mount")
	v.must(os.MkdirAll(dir, 0o755))
	if said, code := v.run("mount", "--background", dir); code != 0 {
		v.t.Fatalf("mount: exit code %d\n%s", code, said)
	}
	defer func() {
		if said, code := v.run("umount", dir); code != 0 {
			v.t.Errorf("umount: exit code %d\n%s", code, said)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", script+"\nexec ls -l .")
	shell.Dir = dir
	shell.WaitDelay = 10 * time.Second
	out, err := shell.CombinedOutput()
	if err != nil {
		v.t.Errorf("the mount does not answer after %q: %v\n%.4000s", script, err, out)
	}
	return string(out)
}
