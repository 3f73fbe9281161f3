//go:build linux

package fs

import (
	"context"
	"fmt"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/cairn-backup/cairn/index/tree"
)

// benchServer is a server without a kernel, over a restore point with one directory.
func benchServer(b *testing.B, s *shelf) (*server, *node) {
	ctx, cancel := context.WithCancel(b.Context())
	b.Cleanup(cancel)
	v := newView(s, s, Options{})
	v.ahead = newAhead(ctx, v, 2)
	server := newServer(ctx, v)
	if err := v.refresh(ctx); err != nil {
		b.Fatal(err)
	}
	n := server.table.get(fuse.FUSE_ROOT_ID)
	for _, name := range []string{"docs", "2026-11-20T10-00-00Z"} {
		c, err := n.kind.(folder).find(ctx, name)
		if err != nil {
			b.Fatal(err)
		}
		n = server.hold(n, &c)
	}
	return server, n
}

// BenchmarkList lists a directory of 10,000 entries with their attributes, as find and ls -l do, and forgets them.
func BenchmarkList(b *testing.B) {
	const entries = 10_000
	s := newShelf(b)
	dir := folderOf{}
	for i := range entries {
		dir[fmt.Sprintf("some-file-%06d.txt", i)] = &tree.Entry{Type: tree.File, Mode: 0o644, Size: 1, Inode: uint64(i + 1)}
	}
	s.back("docs", "2026-11-20T10:00", dir)
	server, n := benchServer(b, s)
	buf := make([]byte, 32<<10)
	b.ReportAllocs()
	for b.Loop() {
		var open fuse.OpenOut
		server.OpenDir(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: n.id}}, &open)
		in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: n.id}, Fh: open.Fh}
		for {
			out := fuse.NewDirEntryList(buf, in.Offset)
			if st := server.ReadDirPlus(nil, in, out); !st.Ok() {
				b.Fatal(st)
			}
			if in.Offset == out.Offset {
				break
			}
			in.Offset = out.Offset
		}
		server.ReleaseDir(&fuse.ReleaseIn{Fh: open.Fh})
		for id := range server.table.nodes {
			if id != n.id {
				server.Forget(id, 1)
			}
		}
		server.table.order = server.table.order[:0]
	}
	b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkRead answers reads of 1 MiB of a large file whose frames are in memory: what is left is finding the chunks.
func BenchmarkRead(b *testing.B) {
	s := newShelf(b)
	content := random(1, 32<<20)
	s.back("docs", "2026-11-20T10:00", folderOf{"big": &tree.Entry{Type: tree.File, Mode: 0o644, Size: int64(len(content)), Content: s.put(content, 64<<10)}})
	server, n := benchServer(b, s)
	c, err := n.kind.(folder).find(b.Context(), "big")
	if err != nil {
		b.Fatal(err)
	}
	big := server.hold(n, &c)
	in := &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: big.id}, Size: maxRequest}
	b.SetBytes(maxRequest)
	b.ReportAllocs()
	for b.Loop() {
		if _, st := server.Read(nil, in, nil); !st.Ok() {
			b.Fatal(st)
		}
		in.Offset = (in.Offset + maxRequest) % uint64(len(content))
	}
}
