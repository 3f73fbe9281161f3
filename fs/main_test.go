//go:build linux

package fs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// A process that reads a mount it serves itself can wait for itself for ever, so this binary runs again as a child for what
// reads a mount.
const childVariable = "CAIRN_FS_TEST_CHILD"

func TestMain(m *testing.M) {
	if task := os.Getenv(childVariable); task != "" {
		if err := children[task](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// children are the tasks that a child runs.
var children = map[string]func(args []string) error{
	"walk":    walkChild,
	"compare": compareChild,
	"pread":   preadChild,
}

// child runs a task in a child and gives what it prints.
func runChild(t testing.TB, task string, args ...string) string {
	t.Helper()
	return output(t, childCommand(task, args...))
}

func childCommand(task string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childVariable+"="+task, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// run runs a program that reads the mount and gives what it prints; it must succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	return output(t, exec.Command(name, args...))
}

func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s%s", cmd.Args, err, out.String(), errs.String())
	}
	return out.String()
}

// fails runs a program that must fail, and gives what it says.
func fails(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("%q succeeded:\n%s", cmd.Args, out)
	}
	return string(out)
}

// seen is what a child sees of one entry.
type seen struct {
	Path   string
	Mode   uint32
	UID    uint32
	GID    uint32
	Links  uint64
	Inode  uint64
	Size   int64
	Blocks int64
	Mtime  int64
	Rdev   uint64
	Target string            `json:",omitempty"`
	Xattrs map[string]string `json:",omitempty"`
	Sum    string            `json:",omitempty"`
	Error  string            `json:",omitempty"`
}

// walkChild prints a line of JSON for each entry below a folder.
func walkChild(args []string) error {
	out := json.NewEncoder(os.Stdout)
	return filepath.WalkDir(args[0], func(path string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		s, err := look(path)
		if err != nil {
			return err
		}
		s.Path, _ = filepath.Rel(args[0], path)
		s.Path = hex.EncodeToString([]byte(s.Path))
		return out.Encode(s)
	})
}

func look(path string) (seen, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return seen{}, err
	}
	s := seen{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: st.Nlink, Inode: st.Ino, Size: st.Size, Blocks: st.Blocks,
		Mtime: st.Mtim.Nano(), Rdev: st.Rdev}
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return seen{}, err
	}
	for name := range strings.SplitSeq(strings.Trim(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return seen{}, fmt.Errorf("%s of %q: %w", name, path, err)
		}
		if s.Xattrs == nil {
			s.Xattrs = map[string]string{}
		}
		s.Xattrs[name] = string(value[:n])
	}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFLNK:
		s.Target, err = os.Readlink(path)
	case syscall.S_IFREG:
		var f *os.File
		if f, err = os.Open(path); err != nil {
			break
		}
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		s.Sum = hex.EncodeToString(h.Sum(nil))
	}
	if err != nil {
		s.Error = err.Error()
	}
	return s, nil
}

// walk gives what a child sees below dir, by path.
func walk(t testing.TB, dir string) map[string]seen {
	t.Helper()
	found := map[string]seen{}
	d := json.NewDecoder(strings.NewReader(runChild(t, "walk", dir)))
	for {
		var s seen
		if err := d.Decode(&s); err == io.EOF {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		path, err := hex.DecodeString(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		s.Path = string(path)
		found[s.Path] = s
	}
}

// compareChild reads pieces of two files at many offsets and lengths, with a seed, and fails where they differ.
func compareChild(args []string) error {
	a, err := os.Open(args[0])
	if err != nil {
		return err
	}
	b, err := os.Open(args[1])
	if err != nil {
		return err
	}
	var seed uint64
	if _, err := fmt.Sscan(args[2], &seed); err != nil {
		return err
	}
	info, err := b.Stat()
	if err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(seed, 1))
	p, q := make([]byte, 3<<20), make([]byte, 3<<20)
	for range 300 {
		off := r.Int64N(info.Size() + 4096)
		size := 1 + r.IntN(1<<r.IntN(21))
		n, errA := a.ReadAt(p[:size], off)
		m, errB := b.ReadAt(q[:size], off)
		if n != m || errA != errB || !bytes.Equal(p[:n], q[:m]) {
			return fmt.Errorf("seed %d: %d bytes at %d: %d (%v) and %d (%v), or other bytes", seed, size, off, n, errA, m, errB)
		}
	}
	return nil
}

// preadChild reads so many bytes of a file at each offset and prints a line with the sum or the error for each.
func preadChild(args []string) error {
	var size int64
	if _, err := fmt.Sscan(args[1], &size); err != nil {
		return err
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	p := make([]byte, size)
	for _, arg := range args[2:] {
		var off int64
		if _, err := fmt.Sscan(arg, &off); err != nil {
			return err
		}
		var errno syscall.Errno
		switch _, err := f.ReadAt(p, off); {
		case errors.As(err, &errno):
			fmt.Printf("errno %d\n", int(errno))
		case err != nil:
			return err
		default:
			fmt.Printf("%x\n", sha256.Sum256(p))
		}
	}
	return nil
}

// pread gives what a child reads at each offset: the sum of the bytes, or "errno" and its number.
func pread(t testing.TB, path string, size int, offsets ...int64) []string {
	t.Helper()
	args := []string{path, fmt.Sprint(size)}
	for _, off := range offsets {
		args = append(args, fmt.Sprint(off))
	}
	return strings.Fields(strings.ReplaceAll(runChild(t, "pread", args...), "errno ", "errno"))
}

// shelf is a repository in memory: what a mount needs, and no more.
type shelf struct {
	t      testing.TB
	mu     sync.Mutex
	nodes  map[chunkstore.ID][]byte
	places map[chunkstore.ID]chunkstore.Location
	packs  map[touch][]byte
	lost   map[touch]bool
	points []*index.Point
	next   touch
	opened map[touch]bool
}

func newShelf(t testing.TB) *shelf {
	return &shelf{t: t, nodes: map[chunkstore.ID][]byte{}, places: map[chunkstore.ID]chunkstore.Location{},
		packs: map[touch][]byte{}, lost: map[touch]bool{}, opened: map[touch]bool{}}
}

func (s *shelf) LoadNode(_ context.Context, id chunkstore.ID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.nodes[id]; ok {
		return n, nil
	}
	return nil, &index.MissingError{ID: id}
}

func (s *shelf) SaveNode(_ context.Context, node []byte) (chunkstore.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := chunkstore.ID(sha256.Sum256(node))
	s.nodes[id] = bytes.Clone(node)
	return id, nil
}

func (s *shelf) Points(context.Context) ([]*index.Point, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.points), nil
}

func (s *shelf) Locate(id chunkstore.ID) (chunkstore.Location, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	loc, ok := s.places[id]
	return loc, ok, nil
}

func (s *shelf) Frame(_ context.Context, pack chunkstore.PackID, offset, _ uint32) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := touch{pack, offset}
	s.opened[at] = true
	if s.lost[at] || s.packs[at] == nil {
		return nil, &chunkstore.DamageError{Object: pack.ObjectName(), Offset: int64(offset), Length: 1, Err: chunkstore.ErrDamaged}
	}
	return s.packs[at], nil
}

func (s *shelf) Cut(opened []byte, _ chunkstore.ID, loc chunkstore.Location) ([]byte, error) {
	return opened[loc.Start:][:loc.Length], nil
}

func (s *shelf) FrameCached(chunkstore.PackID, uint32) ([]byte, bool) { return nil, false }

func (s *shelf) Table(_ context.Context, id chunkstore.PackID) (chunkstore.Pack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := chunkstore.Pack{ID: id}
	for chunk, loc := range s.places {
		if loc.Pack == id {
			p.Chunks = append(p.Chunks, chunkstore.Placed{ID: chunk, Location: loc})
		}
	}
	slices.SortFunc(p.Chunks, func(a, b chunkstore.Placed) int {
		return int(int64(a.Location.Offset)-int64(b.Location.Offset))*1<<20 + int(a.Location.Start) - int(b.Location.Start)
	})
	return p, nil
}

// put stores content in chunks of at most size bytes, four to a frame. Runs of zeros as long as a chunk become holes.
func (s *shelf) put(content []byte, size int) []tree.Extent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []tree.Extent
	for chunk := range slices.Chunk(content, size) {
		if len(chunk) == size && len(bytes.Trim(chunk, "\x00")) == 0 {
			list = append(list, tree.Extent{Length: int64(size)})
			continue
		}
		id := chunkstore.ID(sha256.Sum256(chunk))
		list = append(list, tree.Extent{ID: id, Length: int64(len(chunk))})
		if _, ok := s.places[id]; ok {
			continue
		}
		frame := s.packs[s.next]
		if len(frame) >= 4*size {
			if s.next.offset++; s.next.offset%8 == 0 {
				s.next.pack[0]++
			}
			frame = nil
		}
		s.places[id] = chunkstore.Location{Pack: s.next.pack, Offset: s.next.offset, Sealed: 1, Start: uint32(len(frame)), Length: uint32(len(chunk))}
		s.packs[s.next] = append(frame[:len(frame):len(frame)], chunk...)
	}
	return list
}

// tree of a test: names and what they are. A string or []byte is a file, a folder is a directory, an Entry is itself.
type folderOf map[string]any

const chunkSize = 1000

// save stores a directory and gives its entry.
func (s *shelf) save(dir folderOf) tree.Ref {
	s.t.Helper()
	w := tree.NewWriter(s)
	for _, name := range namesOf(dir) {
		e := s.entryOf(dir[name])
		e.Name = name
		if err := w.Add(s.t.Context(), e); err != nil {
			s.t.Fatal(err)
		}
	}
	ref, err := w.Finish(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return ref
}

// namesOf gives the names of a directory in their order.
func namesOf(dir folderOf) []string {
	names := make([]string, 0, len(dir))
	for name := range dir {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *shelf) entryOf(what any) *tree.Entry {
	e := &tree.Entry{Type: tree.File, Mode: 0o644, Links: 1, Mtime: 1_600_000_000_123_456_789, Ctime: 1_600_000_001_000_000_000}
	switch what := what.(type) {
	case string:
		e.Content, e.Size = s.put([]byte(what), chunkSize), int64(len(what))
	case []byte:
		e.Content, e.Size = s.put(what, chunkSize), int64(len(what))
	case folderOf:
		e.Type, e.Mode, e.Links = tree.Directory, 0o755, 2
		e.SetChild(s.save(what))
	case *tree.Entry:
		return what
	default:
		s.t.Fatalf("no entry is made of %T", what)
	}
	return e
}

// back adds a restore point, started at the given time.
func (s *shelf) back(source, started string, dir folderOf) *index.Point {
	s.t.Helper()
	at, err := time.Parse("2006-01-02T15:04", started)
	if err != nil {
		s.t.Fatal(err)
	}
	ref := s.save(dir)
	root := &tree.Entry{Type: tree.Directory, Mode: 0o750, Links: 2, Mtime: at.UnixNano() + 7, UID: 0, Inode: 2, Device: 1}
	root.SetChild(ref)
	rootRef, err := tree.SaveRoot(s.t.Context(), s, root)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &index.Point{Name: at.UTC().Format("2006-01-02T15-04-05Z"), Source: source, Sequence: uint64(len(s.points) + 1),
		Started: at, Finished: at, Root: rootRef}
	s.points = append(s.points, p)
	return p
}

// serve mounts a shelf, changed by prepare, and gives the folder; the mount must end cleanly with the test.
func serve(t testing.TB, s *shelf, o Options, prepare ...func(*server)) (string, *Mounted) {
	t.Helper()
	dir := t.TempDir()
	if o.Now == nil {
		o.Now = func() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }
	}
	if o.Log == nil {
		o.Log = func(line string) { t.Log("log:", line) }
	}
	m, err := mount(t.Context(), s, s, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range prepare {
		change(m.server)
	}
	m.start(context.WithoutCancel(t.Context()), o)
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
		if there, err := mountAt(dir); err != nil || there != nil {
			t.Errorf("left a mount: %v, %v", there, err)
		}
	})
	return dir, m
}

// rootOf stores a topmost directory with a mode.
func (s *shelf) rootOf(dir folderOf, mode uint32) tree.Ref {
	s.t.Helper()
	root := &tree.Entry{Type: tree.Directory, Mode: mode}
	root.SetChild(s.save(dir))
	ref, err := tree.SaveRoot(s.t.Context(), s, root)
	if err != nil {
		s.t.Fatal(err)
	}
	return ref
}
