//go:build linux

package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/cespare/xxhash/v2"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

const (
	passphrase = "Zq7-marker-passphrase-xK2"
	another    = "Zq7-marker-new-passphrase-xK3"
	wrong      = "Zq7-marker-wrong-passphrase-xK4"
	nobody     = 65534
)

var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cairn-secrets-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	code := 1
	if err == nil {
		program = filepath.Join(dir, "cairn")
		if out, failed := exec.Command("go", "build", "-o", program, "../../cmd/cairn").CombinedOutput(); failed != nil {
			err = fmt.Errorf("build: %w\n%s", failed, out)
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

// place is where the program is run.
type place struct {
	t       *testing.T
	dir     string
	secrets map[string][]byte // by what they are
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, dir: t.TempDir(), secrets: map[string][]byte{}}
	for _, s := range []string{passphrase, another, wrong} {
		p.secrets["the passphrase "+s] = []byte(s)
	}
	for name, text := range map[string]string{"password": passphrase, "new-password": another, "wrong": wrong, "docs/a": "text"} {
		p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
		p.must(os.WriteFile(p.path(name), []byte(text+"\n"), 0o600))
	}
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "HOME="+p.path("home"), "XDG_CACHE_HOME="+p.path("cache"), "CAIRN_CACHE_DIR="+p.path("cache/cairn"),
		"CAIRN_REPO="+p.path("repository"), "CAIRN_KEY_FILE=", "CAIRN_PASSWORD=", "CAIRN_PASSWORD_FILE=")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// run runs the program, which must end with a code, and searches what it prints.
func (p *place) run(code int, env []string, args ...string) string {
	p.t.Helper()
	out, err := p.command(env, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if err == nil && code != 0 || exit != nil && exit.ExitCode() != code {
		p.t.Errorf("cairn %q: %v, want exit code %d\n%s", args, err, code, out)
	}
	p.search(fmt.Sprintf("what cairn %q prints", args), out)
	return string(out)
}

func (p *place) search(where string, b []byte) {
	p.t.Helper()
	for what, secret := range p.secrets {
		if bytes.Contains(b, secret) {
			p.t.Errorf("%s holds %s", where, what)
		}
	}
}

// searchFiles searches everything below the place but the files that hold secrets by their purpose.
func (p *place) searchFiles(but ...string) {
	p.t.Helper()
	files := 0
	p.must(filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		for _, name := range but {
			if path == p.path(name) {
				return nil
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		p.search(path, b)
		return nil
	}))
	if files < 10 {
		p.t.Errorf("only %d files were searched", files)
	}
}

// learnMaster takes the repository's master key for one more secret, in the forms in which it might be written down.
func (p *place) learnMaster(keyFile string) {
	p.t.Helper()
	identities, err := keys.IdentityFile(p.path(keyFile)).Identities()
	p.must(err)
	text, err := os.ReadFile(p.path(keyFile))
	p.must(err)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "AGE-SECRET-KEY-") {
			p.secrets["the identity"] = []byte(line)
		}
	}
	d, err := local.New(p.path("repository"))
	p.must(err)
	store, err := chunkstore.Open(p.t.Context(), d, keys.IdentityFile(p.path(keyFile)))
	p.must(err)
	defer store.Close()
	master := p.master(store.Config().Repository, identities)
	p.secrets["the master key"] = master[:]
	p.secrets["the master key in hexadecimal"] = []byte(hex.EncodeToString(master[:]))
	p.secrets["the master key in base64"] = []byte(base64.RawStdEncoding.EncodeToString(master[:]))
	if p.secrets["the identity"] == nil {
		p.t.Fatal("the key file holds no identity")
	}
}

// master opens the slots by the book: stripe, header of 24 bytes, JSON.
func (p *place) master(repository [16]byte, identities []age.Identity) keys.Master {
	p.t.Helper()
	slots, err := filepath.Glob(p.path("repository/keys/*"))
	p.must(err)
	for _, path := range slots {
		object, err := os.ReadFile(path)
		p.must(err)
		h := xxhash.New()
		h.Write(repository[:])
		h.WriteString("keys/" + filepath.Base(path))
		layout, err := stripe.Probe(p.t.Context(), whole(object), int64(len(object)), h.Sum64())
		p.must(err)
		payload := make([]byte, layout.Length)
		p.must(stripe.NewReader(stripe.OneObject(whole(object), layout), layout, h.Sum64()).ReadAt(p.t.Context(), payload, 0))
		var slot struct{ Age []byte }
		p.must(json.Unmarshal(payload[24:], &slot))
		if m, err := keys.Open(slot.Age, repository, identities); err == nil {
			return m
		}
	}
	p.t.Fatal("no slot opens")
	return keys.Master{}
}

type whole []byte

func (w whole) ReadAt(_ context.Context, b []byte, off int64) (int, error) {
	return bytes.NewReader(w).ReadAt(b, off)
}

func TestNoSecretIsPrintedOrLeftOnDisk(t *testing.T) {
	p := newPlace(t)
	byKey, byPassword, byEnv := []string{"CAIRN_KEY_FILE=" + p.path("key")}, []string{"CAIRN_PASSWORD_FILE=" + p.path("password")}, []string{"CAIRN_PASSWORD=" + passphrase}
	p.run(0, byKey, "init", "--json")
	p.learnMaster("key")
	p.run(0, byKey, "key", "add", "--new-password-file", "password", "--label", "words")
	p.run(0, byEnv, "key", "add", "--new-password-file", "new-password", "--json")
	p.run(0, byPassword, "key", "list", "--json")
	for _, args := range [][]string{{"backup", "docs"}, {"backup", "--json", "--full", "docs"}, {"points"}, {"points", "--json"}, {"ls", "-l", "docs"}, {"stats", "--json"},
		{"verify", "--read-data", "--json"}, {"repair"}, {"restore", "docs", "--to", "out"}, {"cat", "docs:/a"}} {
		p.run(0, byKey, args...)
	}
	// What goes wrong is where secrets get out.
	p.run(1, []string{"CAIRN_PASSWORD=" + wrong}, "points")
	p.run(1, []string{"CAIRN_PASSWORD_FILE=" + p.path("wrong")}, "points", "--json")
	p.run(1, byKey, "points", "--key-file", "wrong")    // no identity in it
	p.run(1, byKey, "points", "--key-file", "password") // nor there
	p.run(1, byKey, "init")
	p.run(2, byKey, "points", "--no-such-flag")
	p.run(1, byEnv, "points", "--repo", "nowhere")
	p.run(0, append(byEnv, byKey...), "points", "--help")
	p.run(0, append(byEnv, byKey...), "man")
	p.must(os.WriteFile(p.path("half"), p.secrets["the identity"][:40], 0o600))
	said := p.run(1, byKey, "points", "--key-file", "half")
	if bytes.Contains([]byte(said), p.secrets["the identity"][16:40]) {
		t.Errorf("a broken key file is printed:\n%s", said)
	}
	p.must(os.WriteFile(p.path("config-gone"), nil, 0o600))
	p.must(os.Rename(p.path("repository/index"), p.path("index-gone")))
	p.run(0, byKey, "points")
	p.searchFiles("key", "half", "password", "new-password", "wrong")
}

// serving starts a mount that stays, and gives its process.
func (p *place) serving(env []string, user uint32) *exec.Cmd {
	p.t.Helper()
	p.must(os.MkdirAll(p.path("mount"), 0o755))
	cmd := p.command(env, "mount", p.path("mount"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	p.must(cmd.Start())
	p.t.Cleanup(func() {
		exec.Command("umount", "-l", p.path("mount")).Run()
		cmd.Process.Kill()
		cmd.Wait()
		p.search("what the mount prints", out.Bytes())
	})
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		p.must(err)
		if strings.Contains(string(mounts), p.path("mount")+" ") {
			return cmd
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the mount does not come up:\n%s", &out)
		}
	}
}

func TestNoSecretStandsInTheArgumentsOfABackgroundProcess(t *testing.T) {
	p := newPlace(t)
	env := []string{"CAIRN_PASSWORD_FILE=" + p.path("password")}
	p.run(0, env, "init")
	p.run(0, env, "backup", "docs")
	p.must(os.Mkdir(p.path("mount"), 0o755))
	p.run(0, env, "mount", "--background", "mount")
	defer p.run(0, env, "umount", "mount")
	found := 0
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	p.must(err)
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(line, []byte(program)) {
			continue
		}
		found++
		p.search(path, line)
	}
	if found == 0 {
		t.Error("no background process was found")
	}
}

// A process that may not be dumped belongs to root in /proc, whoever runs it; then neither a crash writes its memory to a
// file, nor can another process of the same user read it.
func TestMemoryIsNeitherDumpedNorReadByOthers(t *testing.T) {
	p := newPlace(t)
	env := []string{"CAIRN_KEY_FILE=" + p.path("key"), "GOTRACEBACK=crash"}
	p.run(0, env, "init")
	p.learnMaster("key")
	p.run(0, env, "backup", "docs")
	cmd := p.serving(env, 0)
	proc := fmt.Sprintf("/proc/%d/", cmd.Process.Pid)
	limits, err := os.ReadFile(proc + "limits")
	p.must(err)
	for line := range strings.Lines(string(limits)) {
		if fields := strings.Fields(strings.TrimPrefix(line, "Max core file size")); strings.HasPrefix(line, "Max core file size") && (fields[0] != "0" || fields[1] != "0") {
			t.Errorf("limit of core files: %v", fields)
		}
	}
	p.must(cmd.Process.Signal(syscall.SIGABRT))
	err = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || !ok || !status.Signaled() || status.CoreDump() {
		t.Errorf("after SIGABRT: %v, core dumped: %v", err, status.CoreDump())
	}
	if out, ok := cmd.Stdout.(*bytes.Buffer); !ok || !strings.Contains(out.String(), "goroutine ") {
		t.Error("the crash left no trace of itself")
	}
	p.must(exec.Command("umount", "-l", p.path("mount")).Run()) // the dead mount
	p.searchFiles("key", "password", "new-password", "wrong")
}

// The same seen from the side of another process of that user.
func TestAnotherProcessOfTheUserCannotAttach(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	p := newPlace(t)
	p.must(os.Chown(p.dir, nobody, nobody))
	for parent := p.dir; parent != os.TempDir() && parent != "/"; parent = filepath.Dir(parent) {
		p.must(os.Chmod(parent, 0o755))
	}
	cmd := p.command([]string{"CAIRN_KEY_FILE=" + p.path("key")}, "init", "--password-file", p.path("fifo"))
	p.must(syscall.Mkfifo(p.path("fifo"), 0o644)) // it waits there
	p.must(os.Chmod(p.path("fifo"), 0o644))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	p.must(cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	// It has opened the FIFO, and so is past its start, once a writer gets it open.
	w, err := os.OpenFile(p.path("fifo"), os.O_WRONLY, 0)
	p.must(err)
	defer w.Close()
	info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", cmd.Process.Pid))
	p.must(err)
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		t.Errorf("the memory of the process belongs to user %d", owner)
	}
	read := exec.Command("dd", fmt.Sprintf("if=/proc/%d/environ", cmd.Process.Pid), "of=/dev/null")
	read.SysProcAttr = cmd.SysProcAttr
	if out, err := read.CombinedOutput(); err == nil {
		t.Errorf("its environment can be read:\n%s", out)
	}
}
