package fs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index"
)

// Bounds of requests and of the kernel's own read-ahead.
const (
	maxRequest    = 1 << 20 // bytes of one read: as large as a frame
	kernelAhead   = 4 << 20 // bytes, where root may set it; the kernel's default is 128 KiB
	maxBackground = 32      // requests of read-ahead that the kernel has under way at once
	defaultPoll   = 5 * time.Second
	defaultDevice = "/dev/fuse"
)

// Mounted is a mount that serves. It ends when it is unmounted, by whomever, and when the context given to Mount does.
type Mounted struct {
	dir    string
	server *server
	stop   context.CancelFunc
	ended  chan struct{} // the kernel has let go of the mount, and no request is being answered
	gone   chan struct{} // closed with ended, or once the mount was detached while some still used it
	once   sync.Once
}

// Mount serves repo at dir, which must be an empty directory, and returns once it can be used. Cancelling ctx unmounts. A dead
// mount that a killed process left at dir is cleared away first. The errors are those of this package, of the file
// system when dir cannot be looked at, and of the mount itself; they do not name dir, which the caller knows.
func Mount(ctx context.Context, repo *index.Repository, dir string, o Options) (*Mounted, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.CacheBytes > 0 {
		repo.Store().SetFrameCache(o.CacheBytes)
	}
	m, err := mount(ctx, repo, repo.Store(), dir, o)
	if err != nil {
		return nil, err
	}
	m.server.space = m.server.v.space(func(ctx context.Context) (sum int64, err error) {
		err = repo.Store().Packs(ctx, func(p chunkstore.PackInfo) error { sum += p.Size; return nil })
		return sum, err
	}, repo.Store().Destination())
	m.start(ctx, o)
	return m, nil
}

// mount does what Mount does on the parts that tests replace, up to the point where requests are answered.
func mount(ctx context.Context, repo holdings, store frames, dir string, o Options) (*Mounted, error) {
	dir, err := ready(dir, o)
	if err != nil {
		return nil, err
	}
	v := newView(repo, store, o)
	if err := v.refresh(ctx); err != nil {
		if len(v.points.Load().names) == 0 && ctx.Err() != nil {
			return nil, err
		}
		v.report("/", err) // an index that is damaged in part must not hide the rest
	}
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.ahead = newAhead(own, v, max(2, runtime.GOMAXPROCS(0)))
	s := newServer(own, v)
	s.space = func(context.Context) (int64, int64) { return 0, 0 }
	kernel, err := attach(s, dir, o)
	if err != nil {
		stop()
		v.ahead.workers.Wait()
		if mounted, _ := mountAt(dir); mounted != nil && mounted.ours() {
			_ = detach(dir)
		}
		return nil, explain(err)
	}
	s.kernel = kernel
	return &Mounted{dir: dir, server: s, stop: stop, ended: make(chan struct{}), gone: make(chan struct{})}, nil
}

// start answers requests until the kernel lets go of the mount.
func (m *Mounted) start(ctx context.Context, o Options) {
	s := m.server
	var tasks sync.WaitGroup
	every := cmp.Or(max(o.Poll, 0), defaultPoll)
	tasks.Go(func() { s.tick(every) })
	tasks.Go(func() { s.poll(every) })
	tasks.Go(s.notify)
	tasks.Go(s.prune)
	// Not waiting for go-fuse's own first request, which opens a file in the mount: were this process killed while it
	// waits for itself, the kernel would wait for ever. The kernel holds what comes until Serve reads it.
	tasks.Go(func() { setReadAhead(m.dir) })
	undo := context.AfterFunc(ctx, func() { _ = m.Unmount() })
	go func() {
		s.kernel.Serve()
		undo()
		m.stop()
		tasks.Wait()
		s.v.ahead.workers.Wait()
		close(m.ended)
		m.once.Do(func() { close(m.gone) })
	}()
}

// Wait returns once the mount has ended: nil however that came about.
func (m *Mounted) Wait() error {
	<-m.gone
	return nil
}

// Unmount ends the mount. One that is in use is detached after two seconds: it leaves the directory at once, and those who
// have files open in it are served until they close them or this process ends.
func (m *Mounted) Unmount() error {
	select {
	case <-m.ended:
		return nil
	default:
	}
	lazily, err := unmount(m.dir)
	if err != nil && !errors.Is(err, ErrNotMounted) {
		return err
	}
	if lazily {
		select {
		case <-m.ended:
		case <-time.After(100 * time.Millisecond):
		}
		m.once.Do(func() { close(m.gone) })
		return nil
	}
	<-m.gone // another call may have detached it
	return nil
}

// ready checks that dir can be mounted on and gives its absolute path without symlinks, as the kernel lists it.
func ready(dir string, o Options) (string, error) {
	abs, err := resolve(dir)
	if errors.Is(err, syscall.ENOTCONN) { // a killed process left it
		if err = clearDead(abs); err == nil {
			abs, err = resolve(dir)
		}
	}
	if errors.Is(err, iofs.ErrNotExist) {
		return "", fmt.Errorf("%w: make the directory first (mkdir -p)", iofs.ErrNotExist)
	}
	if err != nil {
		return "", err
	}
	there, err := mountAt(abs)
	if err != nil {
		return "", err
	}
	if there != nil {
		return "", ErrMounted
	}
	d, err := os.Open(abs)
	if err != nil {
		return "", err
	}
	defer d.Close()
	if info, err := d.Stat(); err != nil || !info.IsDir() {
		return "", errors.Join(err, ErrNotDirectory)
	}
	if _, err := d.Readdirnames(1); err != io.EOF {
		if err != nil {
			return "", err
		}
		return "", ErrNotEmpty
	}
	return abs, device(o.Device)
}

// resolve gives the absolute path of dir without symlinks; of what it is known also beside an error.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir, err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return abs, err
	}
	_, err = os.Stat(real)
	return real, err
}

// clearDead takes a dead cairn mount away.
func clearDead(dir string) error {
	there, err := mountAt(dir)
	if err == nil && there != nil && there.ours() {
		return detach(dir)
	}
	return cmp.Or(err, ErrMounted)
}

// device checks that the kernel has FUSE and that this process may ask for a mount.
func device(path string) error {
	path = cmp.Or(path, defaultDevice)
	info, err := os.Stat(path)
	if errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, ErrNoDevice)
	}
	if err != nil {
		return err
	}
	if info.Mode()&iofs.ModeCharDevice == 0 {
		return fmt.Errorf("%s is no device: %w", path, ErrNoDevice)
	}
	if os.Geteuid() != 0 {
		if _, err := exec.LookPath("fusermount3"); err != nil {
			return ErrNoHelper
		}
	}
	return nil
}

// attach makes the mount: root by itself, anybody else through fusermount3.
func attach(s *server, dir string, o Options) (*fuse.Server, error) {
	options := mountOptions(o)
	if os.Geteuid() != 0 {
		return fuse.NewServer(s, dir, options)
	}
	fd, err := mountDirectly(dir, o)
	if err != nil {
		return nil, err
	}
	return fuse.NewServer(s, fmt.Sprintf("/dev/fd/%d", fd), options) // go-fuse takes it as mounted, and owns fd
}

// mountDirectly mounts and gives the device that the kernel's requests come from. No child inherits it: one that waits for
// an answer of this process would keep the mount alive after this process, and wait for ever. (go-fuse, which can
// mount by itself too, leaves it to be inherited.)
func mountDirectly(dir string, o Options) (fd int, err error) {
	fd, err = unix.Open(cmp.Or(o.Device, defaultDevice), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the FUSE device: %w", err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,max_read=%d,default_permissions,allow_other", fd, unix.S_IFDIR, maxRequest)
	if err := unix.Mount("cairn", dir, fsType, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// mountOptions are read-only. Root lets every user in. Where others are let in, the kernel checks permissions and ACLs as the
// restore points have them; a user alone in his mount, who has the key, may read all of it whoever owned it.
func mountOptions(o Options) *fuse.MountOptions {
	logger := log.New(io.Discard, "", 0)
	if o.Log != nil {
		logger = log.New(lineWriter(o.Log), "", 0)
	}
	f := &fuse.MountOptions{
		Name: "cairn", FsName: "cairn", Logger: logger, Debug: o.Debug,
		AllowOther: o.AllowOther || os.Geteuid() == 0, Options: []string{"ro"},
		MaxWrite: maxRequest, MaxReadAhead: kernelAhead, MaxBackground: maxBackground,
		EnableSymlinkCaching: true, ExplicitDataCacheControl: true,
		DisableSplice: true, // what is read lies in memory, and goes out by writev
	}
	if f.AllowOther {
		f.Options = append(f.Options, "default_permissions")
		f.EnableAcl = true // the mode's group bits are then the mask: without the list they would let too many in
	}
	return f
}

// explain says what an error of mounting calls for.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: mounting needs root with CAP_SYS_ADMIN, or fusermount3 as another user", err)
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return fmt.Errorf("%w (%w)", ErrNoDevice, err)
	case strings.Contains(err.Error(), "fusermount exited"):
		return errors.New("fusermount3 refused, and said above why: the directory must be this user's own, and allow-other needs user_allow_other in /etc/fuse.conf")
	}
	return err
}

// lineWriter hands what go-fuse logs, a line at a time, to a log.
type lineWriter func(string)

func (w lineWriter) Write(p []byte) (int, error) {
	if line := strings.TrimSuffix(string(p), "\n"); !strings.Contains(line, "Writev failed, err: 2=") { // the reader was killed meanwhile
		w(line)
	}
	return len(p), nil
}

// setReadAhead lets the kernel read ahead in large requests, which the mount's own option cannot. Only root may; without it
// all works, with smaller requests.
func setReadAhead(dir string) {
	there, err := mountAt(dir)
	if err != nil || there == nil || os.Geteuid() != 0 {
		return
	}
	_ = os.WriteFile("/sys/class/bdi/"+there.device+"/read_ahead_kb", fmt.Appendf(nil, "%d", kernelAhead>>10), 0)
}
