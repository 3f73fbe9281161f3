package tree

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/cairn-backup/cairn/chunkstore"
)

var update = flag.Bool("update", false, "write the golden files afresh")

// memory keeps nodes as a repository would, and counts what is done.
type memory struct {
	nodes         map[chunkstore.ID][]byte
	saves, loads  int
	largest, size int
}

func newMemory() *memory { return &memory{nodes: map[chunkstore.ID][]byte{}} }

func (m *memory) SaveNode(_ context.Context, node []byte) (chunkstore.ID, error) {
	id := chunkstore.ID(blake3.Sum256(node))
	m.saves++
	m.largest = max(m.largest, len(node))
	if _, ok := m.nodes[id]; !ok {
		m.nodes[id] = bytes.Clone(node)
		m.size += len(node)
	}
	return id, nil
}

func (m *memory) LoadNode(_ context.Context, id chunkstore.ID) ([]byte, error) {
	m.loads++
	if n, ok := m.nodes[id]; ok {
		return n, nil
	}
	return nil, errors.New("gone")
}

// dir is a directory as a literal: names to contents, which are files' contents, other dirs or entries.
type dir map[string]any

// store writes a literal and gives its root.
func (m *memory) store(t testing.TB, d dir) chunkstore.ID {
	t.Helper()
	root := &Entry{Type: Directory, Mode: 0o755}
	root.SetChild(m.storeDir(t, d))
	ref, err := SaveRoot(t.Context(), m, root)
	if err != nil {
		t.Fatal(err)
	}
	return ref.ID
}

func (m *memory) storeDir(t testing.TB, d dir) Ref {
	t.Helper()
	var names []string
	for name := range d {
		names = append(names, name)
	}
	slices.Sort(names)
	w := NewWriter(m)
	for _, name := range names {
		var e Entry
		switch v := d[name].(type) {
		case dir:
			e = Entry{Type: Directory, Mode: 0o755}
			e.SetChild(m.storeDir(t, v))
		case string:
			e = Entry{Type: File, Mode: 0o644, Size: int64(len(v)), Content: []Extent{{idOf(v), int64(len(v))}}}
		case Entry:
			e = v
		}
		e.Name = name
		if err := w.Add(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func idOf(v any) chunkstore.ID { return chunkstore.ID(blake3.Sum256(fmt.Append(nil, v))) }

// sample has entries of every type, every flag and every form of content.
func sample() []Entry {
	acl := []Xattr{{"system.posix_acl_access", []byte{2, 0, 0, 0, 1, 0, 6, 0}}, {"user.empty", []byte{}}}
	return []Entry{
		{Name: "\x01odd\nname", Type: File, Mode: 0o600, UID: 1000, GID: 1000, User: "ann", Group: "staff", Mtime: -1, Ctime: 5, Device: 64769, Inode: 1 << 62, Links: 1},
		{Name: "block", Type: BlockDevice, Mode: 0o660, GID: 6, User: "root", Group: "disk", Rdev: 8<<8 | 1, Links: 1},
		{Name: "char", Type: CharDevice, Mode: 0o666, Rdev: 1<<40 | 3, Links: 1},
		{Name: "dir", Type: Directory, Mode: 0o1777, Child: idOf("child"), Below: Totals{4, 2, 1, 1 << 40}, Links: 3, Mtime: 1_795_000_000_123_456_789},
		{Name: "dir-unread", Type: Directory, Mode: 0o700, Flags: Unreadable},
		{Name: "fifo", Type: FIFO, Mode: 0o644},
		{Name: "file", Type: File, Mode: 0o4755, Size: 11, Content: []Extent{{idOf(1), 11}}, Links: 2, Inode: 7, Xattrs: acl},
		{Name: "hole", Type: File, Mode: 0o644, Size: 1 << 40, Content: []Extent{{Length: 1 << 40}}},
		{Name: "list", Type: File, Mode: 0o644, Size: 1 << 41, List: idOf("list"), Flags: Changed},
		{Name: "short", Type: File, Mode: 0o644, Size: 100, Content: []Extent{{idOf(2), 60}}, Flags: Unreadable},
		{Name: "socket", Type: Socket, Mode: 0o755, Xattrs: acl},
		{Name: "sparse", Type: File, Mode: 0o644, Size: 30, Content: []Extent{{idOf(3), 10}, {Length: 10}, {idOf(4), 10}}},
		{Name: "symlink", Type: Symlink, Mode: 0o777, Target: "no/such\xff"},
		{Name: "\xff\xfe", Type: File, Mode: 0o644, Size: 0},
	}
}

func TestLeafKeepsEveryField(t *testing.T) {
	var enc encoder
	for range 2 { // the second time with the encoder's tables of the first
		got, err := decodeLeaf(enc.encodeLeaf(nil, kindLeaf, sample()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sample(), got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestGoldenNodesStayReadable(t *testing.T) {
	var enc encoder
	root := []Entry{{Type: Directory, Mode: 0o755, Child: idOf("child"), Mtime: 1}}
	for name, node := range map[string][]byte{
		"leaf":          enc.encodeLeaf(nil, kindLeaf, sample()),
		"root":          enc.encodeLeaf(nil, kindRoot, root),
		"inner":         encodeInner(nil, 1, []child{{"a", idOf(1), Totals{1, 2, 3, 4}}, {"b\xff", idOf(2), Totals{}}}),
		"content-leaf":  encodeExtents(nil, []Extent{{idOf(1), 65536}, {Length: 1 << 33}, {idOf(2), 1}}),
		"content-inner": encodeSpans(nil, 2, []span{{idOf(1), 1 << 40}, {idOf(2), 5}}),
	} {
		path := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(path, node, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(golden, node) {
			t.Errorf("%s: the encoding changed", name)
		}
	}
}

// drawEntry makes any entry that can be stored.
func drawEntry(t *rapid.T) Entry {
	number := rapid.Int64()
	e := Entry{
		Name: rapid.StringMatching(`[^/\x00]{1,12}`).Filter(func(s string) bool { return checkName(s) == nil }).Draw(t, "name"),
		Type: Type(rapid.IntRange(1, 7).Draw(t, "type")), Flags: uint8(rapid.IntRange(0, 3).Draw(t, "flags")),
		Mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
		User: rapid.SampledFrom([]string{"", "root", "ann"}).Draw(t, "user"), Group: rapid.String().Draw(t, "group"),
		Size: rapid.Int64Min(0).Draw(t, "size"), Mtime: number.Draw(t, "mtime"), Ctime: number.Draw(t, "ctime"),
		Device: rapid.Uint64().Draw(t, "device"), Inode: rapid.Uint64().Draw(t, "inode"), Links: rapid.Uint32().Draw(t, "links"),
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "xattrs") {
		e.Xattrs = append(e.Xattrs, Xattr{fmt.Sprint("user.", i), rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "value")})
	}
	switch e.Type {
	case Symlink:
		e.Target = rapid.String().Draw(t, "target")
	case CharDevice, BlockDevice:
		e.Rdev = rapid.Uint64().Draw(t, "rdev")
	case Directory:
		e.Child = idOf(rapid.Int().Draw(t, "child"))
		e.Below = Totals{Entries: rapid.Int64Range(0, 1<<40).Draw(t, "entries"), Bytes: rapid.Int64Range(0, 1<<50).Draw(t, "bytes")}
	case File:
		for range rapid.IntRange(0, 4).Draw(t, "extents") {
			x := Extent{Length: rapid.Int64Range(1, 1<<40).Draw(t, "length")}
			if rapid.Bool().Draw(t, "data") {
				x.ID = idOf(x.Length)
			}
			e.Content = append(e.Content, x)
		}
		if e.Content == nil && rapid.Bool().Draw(t, "list") {
			e.List = idOf("list")
		}
	}
	return e
}

func TestAnyLeafComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfNDistinct(rapid.Custom(drawEntry), 0, 20, func(e Entry) string { return e.Name }).Draw(t, "entries")
		slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
		var enc encoder
		got, err := decodeLeaf(enc.encodeLeaf(nil, kindLeaf, entries))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(entries, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEveryTruncationOfANodeIsAnError(t *testing.T) {
	names, _ := filepath.Glob("testdata/*.golden")
	if len(names) == 0 {
		t.Fatal("no golden nodes")
	}
	for _, name := range names {
		node, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for n := range node {
			if decodeAny(node[:n]) == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for a node", name, n, len(node))
			}
		}
		if decodeAny(append(bytes.Clone(node), 0)) == nil {
			t.Errorf("%s: a byte too many goes unseen", name)
		}
	}
}

// decodeAny decodes a node by its kind.
func decodeAny(node []byte) error {
	var err error
	switch {
	case len(node) > 0 && (node[0] == kindContentLeaf || node[0] == kindContentInner):
		_, err = decodeContentNode(node)
	case len(node) > 0 && node[0] == kindInner:
		_, _, err = decodeInner(node)
	default:
		_, err = decodeLeaf(node)
	}
	if err != nil && !errors.Is(err, ErrCorrupt) {
		panic(fmt.Sprintf("error without ErrCorrupt: %v", err))
	}
	return err
}

func FuzzDecodeNode(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.golden")
	for _, name := range names {
		node, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(node)
	}
	f.Fuzz(func(t *testing.T, node []byte) {
		if decodeAny(node) != nil || node[0] != kindLeaf {
			return
		}
		entries, _ := decodeLeaf(node)
		var enc encoder
		again, err := decodeLeaf(enc.encodeLeaf(nil, kindLeaf, entries))
		if err != nil {
			t.Fatalf("what was decoded cannot be decoded again: %v", err)
		}
		if diff := cmp.Diff(entries, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestWriterRefusesWhatNoDirectoryHas(t *testing.T) {
	for name, e := range map[string]Entry{
		"no name":       {Type: File},
		"dot":           {Name: ".", Type: File},
		"dot dot":       {Name: "..", Type: File},
		"slash":         {Name: "a/b", Type: File},
		"NUL":           {Name: "a\x00", Type: File},
		"no type":       {Name: "b"},
		"size":          {Name: "b", Type: File, Size: -1},
		"empty extent":  {Name: "b", Type: File, Content: []Extent{{}}},
		"order":         {Name: "a", Type: File},
		"overflow":      {Name: "b", Type: File, Content: []Extent{{Length: 1 << 62}, {Length: 1 << 62}}},
		"large xattr":   {Name: "b", Type: File, Xattrs: []Xattr{{"user.x", make([]byte, maxXattrs)}}},
		"endless name":  {Name: strings.Repeat("x", maxName+1), Type: File},
		"long target":   {Name: "b", Type: Symlink, Target: strings.Repeat("x", maxTarget+1)},
		"unknown flags": {Name: "b", Type: File, Flags: 16},
	} {
		w := NewWriter(newMemory())
		if err := w.Add(t.Context(), &Entry{Name: "a", Type: File}); err != nil {
			t.Fatal(err)
		}
		if err := w.Add(t.Context(), &e); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestFileModeIsWhatIoFsWrites(t *testing.T) {
	for want, e := range map[string]Entry{
		"urwxr-xr-x":  {Type: File, Mode: 0o4755},
		"dtrwxrwxrwx": {Type: Directory, Mode: 0o1777},
		"Dcrw-------": {Type: CharDevice, Mode: 0o600},
		"Lrwxrwxrwx":  {Type: Symlink, Mode: 0o777},
		"pg-wxr----x": {Type: FIFO, Mode: 0o2341},
		"S---------":  {Type: Socket},
		"Drw-rw----":  {Type: BlockDevice, Mode: 0o660},
	} {
		if got := e.FileMode().String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
