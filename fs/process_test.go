//go:build linux

package fs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	children["serve"] = serveChild
	children["user"] = userChild
}

// holder is what a test repository needs of a test, for a child, which is none.
type holder struct {
	testing.TB
	ctx context.Context
}

func (h holder) Helper()                           {}
func (h holder) Context() context.Context          { return h.ctx }
func (h holder) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (h holder) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func served(ctx context.Context, dir string, o Options) (*Mounted, error) {
	s := newShelf(holder{ctx: ctx})
	s.back("docs", "2026-11-20T10:00", folderOf{"f": "content"})
	m, err := mount(ctx, s, s, dir, o)
	if err == nil {
		m.start(ctx, o)
	}
	return m, err
}

// serveChild mounts a small repository and serves it until a signal.
func serveChild(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	m, err := served(ctx, args[0], Options{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return m.Wait()
}

// userChild mounts, looks and unmounts as a user who is not root.
func userChild(args []string) error {
	m, err := served(context.Background(), args[0], Options{})
	if err != nil {
		return err
	}
	out, err := exec.Command("sh", "-c", "ls "+args[0]+"; cat "+args[0]+"/docs/latest/f; echo; touch "+args[0]+"/x 2>&1; grep -cF ' "+args[0]+" ' /proc/self/mountinfo").CombinedOutput()
	fmt.Printf("%s", out)
	if err != nil {
		return err
	}
	if err := m.Unmount(); err != nil {
		return err
	}
	if _, err := served(context.Background(), args[0], Options{}); err != nil { // left to Unmount, as cairn umount does it
		return err
	}
	if err := Unmount(args[0]); err != nil {
		return err
	}
	if there, err := mountAt(args[0]); there != nil || err != nil {
		return fmt.Errorf("still mounted (%v)", err)
	}
	return nil
}

// startServer starts a child that serves dir, and waits until it says so.
func startServer(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := childCommand("serve", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the server says %q (%v)", line, err)
	}
	return cmd
}

func TestSignalLeavesNoMount(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		dir := t.TempDir()
		server := startServer(t, dir)
		run(t, "cat", dir+"/docs/latest/f")
		if err := server.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := server.Wait(); err != nil {
			t.Errorf("after %v the server ends with %v", sig, err)
		}
		if there, err := mountAt(dir); there != nil || err != nil {
			t.Errorf("after %v it is still mounted (%v)", sig, err)
		}
	}
}

func TestChildrenDoNotInheritTheDevice(t *testing.T) {
	serve(t, newShelf(t), Options{})
	if out := run(t, "sh", "-c", "ls -l /proc/self/fd"); strings.Contains(out, "fuse") {
		t.Errorf("a child has open\n%s", out)
	}
}

func TestUnmountEndsTheServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space\nand newline")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	server := startServer(t, dir)
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(dir, alias); err != nil {
		t.Fatal(err)
	}
	if err := Unmount(alias); err != nil {
		t.Error(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the server ends with %v", err)
	}
}

// A killed server must go at once, also in the middle of mounting, and its directory must be usable again.
func TestKilledServerHangsNobody(t *testing.T) {
	dir := t.TempDir()
	server := startServer(t, dir)
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	if out := fails(t, "ls", dir); !strings.Contains(out, "not connected") {
		t.Errorf("a dead mount: %s", out)
	}
	server = startServer(t, dir) // clears it away
	run(t, "cat", dir+"/docs/latest/f")
	_ = server.Process.Kill()
	_ = server.Wait()
	if err := Unmount(dir); err != nil {
		t.Errorf("unmount a dead mount: %v", err)
	}

	for i := range 20 {
		early := childCommand("serve", dir)
		if err := early.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = early.Wait()
		}()
		if i > 0 { // from at once to as soon as it is mounted
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
				if there, _ := mountAt(dir); there != nil {
					break
				}
			}
		}
		_ = early.Process.Kill()
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Fatal("a killed server does not go")
		}
		for {
			if there, err := mountAt(dir); err != nil || there == nil {
				break
			}
			if err := Unmount(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAnotherUserMountsThroughFusermount(t *testing.T) {
	work := t.TempDir()
	for _, dir := range []string{filepath.Dir(work), work} { // the tests' folders are for root alone
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program, mnt := filepath.Join(work, "program"), filepath.Join(work, "mnt")
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(mnt, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	// In a mount namespace of its own, where everybody may open the device, as most systems have it.
	script := `set -e
mkdir "$1/dev"
mount -t tmpfs -o dev tmpfs "$1/dev"
mknod -m 666 "$1/dev/fuse" c 10 229
mount --bind "$1/dev/fuse" /dev/fuse
cd /
exec setpriv --reuid=65534 --regid=65534 --clear-groups env ` + childVariable + `=user GORACE=atexit_sleep_ms=0 "$1/program" "$1/mnt"`
	out := run(t, "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", work)
	want := "docs\ncontent\n"
	if !strings.HasPrefix(out, want) || !strings.Contains(out, "Read-only file system") || !strings.HasSuffix(out, "\n1\n") {
		t.Errorf("as another user: %q", out)
	}
}
