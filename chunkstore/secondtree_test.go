package chunkstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
)

// The second reader goes on here from packs to restore points: sections 9 to 11 of FORMAT.md.

// columns reads the numbers and bytes of an encoding one by one. It panics where they end early.
type columns struct{ *bytes.Reader }

func (c columns) number() uint64 {
	n, err := binary.ReadUvarint(c)
	if err != nil {
		panic(err)
	}
	return n
}

func (c columns) signed() int64 {
	n := c.number()
	return int64(n>>1) ^ -int64(n&1)
}

func (c columns) bytes(n int) string {
	p := make([]byte, n)
	if read, _ := c.Read(p); read != n {
		panic(fmt.Sprintf("%d bytes instead of %d", read, n))
	}
	return string(p)
}

func (c columns) blob() string { return c.bytes(int(c.number())) }

// each reads a column of n numbers.
func (c columns) each(n int) []uint64 {
	column := make([]uint64, n)
	for i := range column {
		column[i] = c.number()
	}
	return column
}

// deltas reads a column of n differences.
func (c columns) deltas(n int) []int64 {
	column := make([]int64, n)
	last := int64(0)
	for i := range column {
		last += c.signed()
		column[i] = last
	}
	return column
}

// place is where a chunk lies.
type place struct{ frame, start, length int }

// packedFrame is a frame of a pack.
type packedFrame struct {
	pack, offset, length int
	opened               []byte
}

// chunkReader reads chunks by their ids.
type chunkReader struct {
	*second
	packs  [][]byte // payloads
	frames []packedFrame
	chunks map[string]place
	kinds  map[byte]bool // of the nodes met
}

// index reads an index object: section 9.
func (r *chunkReader) index(name string) error {
	body, err := r.object(name, 4, "index objects")
	if err != nil {
		return err
	}
	c := columns{bytes.NewReader(body[1:])}
	first := len(r.frames)
	for range c.number() {
		id := c.bytes(16)
		c.bytes(1) // kind
		size := int(c.number())
		name := fmt.Sprintf("packs/%x/%x", id[:1], id)
		if info, err := os.Stat(filepath.Join(r.dir, name)); err != nil || int(info.Size()) != size {
			return fmt.Errorf("%s does not have %d bytes: %v", name, size, err)
		}
		payload, err := r.payload(name)
		if err != nil {
			return err
		}
		offset := 0
		for range c.number() {
			offset += int(c.number())
			length := int(c.number())
			r.frames = append(r.frames, packedFrame{pack: len(r.packs), offset: offset, length: length})
			offset += length
		}
		r.packs = append(r.packs, payload)
	}
	n := int(c.number())
	ids := c.bytes(32 * n)
	frames, starts, lengths := c.each(n), c.each(n), c.each(n)
	for i := range n {
		r.chunks[ids[32*i:32*i+32]] = place{frame: first + int(frames[i]), start: int(starts[i]), length: int(lengths[i])}
	}
	if c.Len() > 0 || body[0] != 1 {
		return fmt.Errorf("%s: form %d, %d bytes left", name, body[0], c.Len())
	}
	return nil
}

func (r *chunkReader) chunk(id string) string {
	at, ok := r.chunks[id]
	if !ok {
		panic(fmt.Sprintf("no chunk %x", id))
	}
	f := &r.frames[at.frame]
	if f.opened == nil {
		payload := r.packs[f.pack]
		var err error
		if f.opened, err = r.frame(payload, payload[24:40], f.offset, f.length); err != nil {
			panic(err)
		}
	}
	return string(f.opened[at.start : at.start+at.length])
}

// tree reads the entries below a node, as lines of text by path: section 11.
func (r *chunkReader) tree(id, path string, lines map[string]string) {
	node := r.chunk(id)
	c := columns{bytes.NewReader([]byte(node[2:]))}
	r.kinds[node[0]] = true
	switch kind := node[0]; {
	case node[1] != 1:
		panic(fmt.Sprintf("node version %d", node[1]))
	case kind == 2:
		c.number() // level
		for range c.number() {
			c.blob()
			r.tree(c.bytes(32), path, lines)
			c.each(4)
		}
	case kind == 1 || kind == 5:
		r.leaf(c, path, lines)
	default:
		panic(fmt.Sprintf("node kind %d", kind))
	}
}

func (r *chunkReader) leaf(c columns, path string, lines map[string]string) {
	n := int(c.number())
	lengths := c.each(n)
	names := make([]string, n)
	for i := range names {
		names[i] = c.bytes(int(lengths[i]))
	}
	types := c.bytes(n)
	var attrs []string
	for range c.number() {
		mode := c.number()
		c.each(2) // uid, gid
		c.blob()  // user
		c.blob()  // group
		attrs = append(attrs, fmt.Sprintf("%04o", mode))
	}
	attr, sizes := c.each(n), c.each(n)
	mtimes := c.deltas(n)
	c.deltas(n) // ctimes
	c.deltas(n) // devices
	inodes, links := c.deltas(n), c.each(n)
	sets := []string{""}
	for range c.number() {
		set := ""
		for range c.number() {
			set += fmt.Sprintf(" %s=%s", c.blob(), c.blob())
		}
		sets = append(sets, set)
	}
	which := make([]uint64, n)
	if len(sets) > 1 {
		which = c.each(n)
	}
	for i, name := range names {
		line := fmt.Sprintf("%d %s links %d mtime %d%s", types[i], attrs[attr[i]], links[i], mtimes[i], sets[which[i]])
		below := strings.TrimPrefix(path+"/"+name, "/")
		switch types[i] & 15 {
		case 1:
			line += fmt.Sprintf(" size %d content %x inode %d", sizes[i], sha256.Sum256([]byte(r.file(c, int(sizes[i])))), inodes[i])
		case 2:
			if child := c.bytes(32); child != string(make([]byte, 32)) {
				r.tree(child, below, lines)
			}
			c.each(4)
		case 3:
			line += fmt.Sprintf(" -> %x", sha256.Sum256([]byte(c.blob())))
		case 6, 7:
			line += fmt.Sprintf(" rdev %x", c.number())
		}
		lines[fmt.Sprintf("%q", below)] = line
	}
	if c.Len() > 0 {
		panic(fmt.Sprintf("%d bytes behind a leaf", c.Len()))
	}
}

// file reads the content of a file whose form comes next.
func (r *chunkReader) file(c columns, size int) string {
	switch form := int(c.number()); form {
	case 0:
		return ""
	case 1:
		return r.chunk(c.bytes(32))[:size]
	case 2:
		return r.list(c.bytes(32))
	default:
		return r.extents(c, form-2)
	}
}

func (r *chunkReader) list(id string) string {
	node := r.chunk(id)
	c := columns{bytes.NewReader([]byte(node[2:]))}
	r.kinds[node[0]] = true
	if node[0] == 3 {
		return r.extents(c, int(c.number()))
	}
	content := ""
	c.number() // level
	for range c.number() {
		c.number() // length
		content += r.list(c.bytes(32))
	}
	return content
}

func (r *chunkReader) extents(c columns, n int) string {
	content := ""
	for range n {
		length := c.number()
		if length&1 == 1 {
			content += string(make([]byte, length/2))
			continue
		}
		chunk := r.chunk(c.bytes(32))
		if len(chunk) != int(length/2) {
			panic(fmt.Sprintf("chunk of %d bytes, not %d", len(chunk), length/2))
		}
		content += chunk
	}
	return content
}

// The backup in testdata was made by cairn, of a tree with every kind of entry, holes, and a directory and a content list of several nodes;
// backup.json is what another program saw of the same tree.
func TestASecondReaderFindsTheFilesOfAnOldBackup(t *testing.T) {
	text, err := os.ReadFile(goldenIdentity)
	if err != nil {
		t.Fatal(err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	base, err := openSecond(filepath.Join(goldenDir, "backup"), identities...)
	if err != nil {
		t.Fatal(err)
	}
	r := &chunkReader{second: base, chunks: map[string]place{}, kinds: map[byte]bool{}}
	objects, err := os.ReadDir(filepath.Join(r.dir, "index"))
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if err := r.index("index/" + object.Name()); err != nil {
			t.Fatal(err)
		}
	}
	body, err := r.object("points/0000000000000001", 5, "restore points")
	if err != nil {
		t.Fatal(err)
	}
	var point struct {
		Format, Sequence int
		Source           string
		Root             struct{ ID string }
	}
	if err := json.Unmarshal(body, &point); err != nil {
		t.Fatal(err)
	}
	root, err := hex.DecodeString(point.Root.ID)
	if err != nil || point.Format != 1 || point.Sequence != 1 || point.Source != "golden" {
		t.Fatalf("%+v, %v", point, err)
	}
	got := map[string]string{}
	r.tree(string(root), "", got)
	if want := map[byte]bool{1: true, 2: true, 3: true, 5: true}; !cmp.Equal(want, r.kinds) {
		t.Errorf("met nodes of the kinds %v", r.kinds)
	}
	golden, err := os.ReadFile(goldenDir + "/backup.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(golden, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
