//go:build linux

package faultdisk

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Fault decides what becomes of a call before it is carried out: 0 lets it go on. It may wait as long as it likes.
type Fault func(Call) syscall.Errno

// Disk is a file system in memory. It is safe for concurrent use.
type Disk struct {
	mu        sync.Mutex
	root      *inode
	last      uint64 // the highest number of an inode
	mtimes    map[uint64]time.Time
	recording bool
	log       Log
	fault     Fault
	capacity  int64 // bytes; 0 for no bound
	used      int64
}

// New returns a disk that holds an image.
func New(start Image) *Disk {
	d := &Disk{last: 1, mtimes: map[uint64]time.Time{}}
	d.root = start.build(d.next)
	for _, content := range start.Files {
		d.used += int64(len(content))
	}
	return d
}

// next gives the number of a new inode. Crash counts the same way.
func (d *Disk) next() uint64 {
	d.last++
	d.mtimes[d.last] = time.Now()
	return d.last
}

// Image is what the disk holds.
func (d *Disk) Image() Image {
	d.mu.Lock()
	defer d.mu.Unlock()
	image := d.root.image()
	for name, content := range image.Files {
		image.Files[name] = slices.Clone(content)
	}
	return image
}

// Record begins a log of a disk that has just been made, or whose last log has been taken.
func Record(start Image) *Disk {
	d := New(start)
	d.recording, d.log = true, Log{Start: start}
	return d
}

// Log is what was recorded so far.
func (d *Disk) Log() *Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Log{d.log.Start, slices.Clone(d.log.Calls)}
}

// Break makes fault decide on each call from now on; nil mends the disk.
func (d *Disk) Break(fault Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

// Limit bounds what the disk holds, bytes; 0 for no bound.
func (d *Disk) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Used is how many bytes the files hold.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// Mount shows the disk at a directory until the function that it returns is called.
func (d *Disk) Mount(dir string) (unmount func() error, err error) {
	short := time.Duration(0)
	server, err := fs.Mount(dir, &node{d: d, i: d.root}, &fs.Options{
		EntryTimeout: &short, AttrTimeout: &short, RootStableAttr: &fs.StableAttr{Ino: 1},
		MountOptions: fuse.MountOptions{FsName: "faultdisk", Name: "faultdisk", DirectMount: true, MaxWrite: 1 << 20, MaxBackground: 64, DisableSplice: true},
	})
	if err != nil {
		return nil, fmt.Errorf("mount a disk that can fail on %s: %w", dir, err)
	}
	return server.Unmount, nil
}

// pass asks the fault, without holding the disk: a call that hangs keeps no other from going on.
func (d *Disk) pass(c Call) syscall.Errno {
	d.mu.Lock()
	fault := d.fault
	d.mu.Unlock()
	if fault == nil {
		return 0
	}
	return fault(c)
}

// note records a call that is carried out. The disk is held.
func (d *Disk) note(c Call) {
	if d.recording {
		d.log.Calls = append(d.log.Calls, c)
	}
}

// grow takes room for more bytes. The disk is held.
func (d *Disk) grow(bytes int64) syscall.Errno {
	if d.capacity > 0 && bytes > 0 && d.used+bytes > d.capacity {
		return syscall.ENOSPC
	}
	d.used += bytes
	return 0
}
