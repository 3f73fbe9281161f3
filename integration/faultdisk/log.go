package faultdisk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Op is a kind of call.
type Op string

// The calls. Those before Open change something and are recorded.
const (
	Create   Op = "create"
	Mkdir    Op = "mkdir"
	Write    Op = "write"
	Truncate Op = "truncate"
	Sync     Op = "fsync" // of a file or a folder
	Rename   Op = "rename"
	Link     Op = "link"
	Unlink   Op = "unlink" // rmdir too
	Open     Op = "open"
	Get      Op = "read"
	List     Op = "list"
	Stat     Op = "stat"
)

// Call is one call as the disk saw it.
type Call struct {
	Op   Op
	Path string // where the kernel said it was, for people and for Break
	// The rest is what a replay needs.
	inode, folder, toFolder uint64
	name, toName            string
	offset                  int64
	data                    []byte
	size                    int64
}

// String tells the call in words.
func (c Call) String() string {
	switch c.Op {
	case Write:
		return fmt.Sprintf("write %s, %d bytes from %d", c.Path, len(c.data), c.offset)
	case Rename:
		return fmt.Sprintf("rename %s to %s", c.Path, c.toName)
	case Truncate:
		return fmt.Sprintf("truncate %s to %d bytes", c.Path, c.size)
	}
	return string(c.Op) + " " + c.Path
}

// Loss says what becomes of what was not synced.
type Loss string

// The losses. Kept is what a killed process leaves, the others are what a power failure may.
const (
	Kept  Loss = "kept"  // nothing is lost
	Lost  Loss = "lost"  // all of it is lost, names and content
	Empty Loss = "empty" // names are kept, content is lost: files are shorter or hold zeros
	Torn  Loss = "torn"  // each name and each sector is kept or lost, by chance
)

// Losses are all of them.
var Losses = []Loss{Kept, Lost, Empty, Torn}

// sector is what a disk writes whole or not at all, bytes.
const sector = 512

// Log is what happened to a disk since it began to record.
type Log struct {
	Start Image
	Calls []Call
}

// change is a change to the names of folders.
type change struct {
	folder, toFolder uint64 // toFolder is 0 but for renames
	name, toName     string
	inode            uint64 // 0: the name goes
	durable          bool
}

// body is the content of a file: what is durable, and the writes since.
type body struct {
	durable []byte
	since   []Call
}

// crashed is the state of a replay.
type crashed struct {
	inodes  map[uint64]*inode
	bodies  map[uint64]*body
	changes []change
}

// Crash gives what the disk may hold when the power fails after the first n calls. Chance is for Torn alone.
func (l *Log) Crash(n int, loss Loss, chance *rand.Rand) Image {
	c := &crashed{inodes: map[uint64]*inode{}, bodies: map[uint64]*body{}}
	next := uint64(1)
	root := l.Start.build(func() uint64 { next++; return next })
	var enter func(*inode)
	enter = func(i *inode) {
		c.inodes[i.number] = i
		if i.names == nil {
			c.bodies[i.number] = &body{durable: i.content}
		}
		for _, child := range i.names {
			enter(child)
		}
	}
	enter(root)
	for _, call := range l.Calls[:n] {
		c.take(call)
	}
	for _, change := range c.changes {
		if change.durable || loss == Kept || loss == Empty || loss == Torn && chance.IntN(2) == 0 {
			c.apply(change)
		}
	}
	for _, number := range slices.Sorted(maps.Keys(c.bodies)) {
		c.inodes[number].content = c.bodies[number].after(loss, chance)
	}
	return root.image()
}

// take enters one call.
func (c *crashed) take(call Call) {
	switch call.Op {
	case Create:
		c.inodes[call.inode] = &inode{number: call.inode}
		c.bodies[call.inode] = &body{}
		c.changes = append(c.changes, change{folder: call.folder, name: call.name, inode: call.inode})
	case Mkdir:
		c.inodes[call.inode] = &inode{number: call.inode, names: map[string]*inode{}}
		c.changes = append(c.changes, change{folder: call.folder, name: call.name, inode: call.inode})
	case Link:
		c.changes = append(c.changes, change{folder: call.folder, name: call.name, inode: call.inode})
	case Unlink:
		c.changes = append(c.changes, change{folder: call.folder, name: call.name})
	case Rename:
		c.changes = append(c.changes, change{folder: call.folder, name: call.name, inode: call.inode, toFolder: call.toFolder, toName: call.toName})
	case Write, Truncate:
		b := c.bodies[call.inode]
		b.since = append(b.since, call)
	case Sync:
		if b := c.bodies[call.inode]; b != nil {
			b.durable, b.since = b.after(Kept, nil), nil
			return
		}
		for i := range c.changes {
			if ch := &c.changes[i]; ch.folder == call.inode && (ch.toFolder == 0 || ch.toFolder == call.inode) || ch.toFolder == call.inode {
				ch.durable = true
			}
		}
	}
}

// apply carries a change out.
func (c *crashed) apply(ch change) {
	from := c.inodes[ch.folder].names
	switch {
	case ch.inode == 0:
		delete(from, ch.name)
	case ch.toFolder == 0:
		from[ch.name] = c.inodes[ch.inode]
	default:
		delete(from, ch.name)
		c.inodes[ch.toFolder].names[ch.toName] = c.inodes[ch.inode]
	}
}

// after is the content after a loss.
func (b *body) after(loss Loss, chance *rand.Rand) []byte {
	if len(b.since) == 0 || loss == Lost {
		return b.durable
	}
	content := slices.Clone(b.durable)
	for _, call := range b.since {
		if call.Op == Truncate {
			if loss != Torn || chance.IntN(2) == 0 {
				content = resize(content, call.size)
			}
			continue
		}
		end := call.offset + int64(len(call.data))
		switch {
		case loss == Kept:
			content = resize(content, max(end, int64(len(content))))
			copy(content[call.offset:], call.data)
		case loss == Empty: // the length was kept, as some file systems do
			if call.offset%2 == 0 {
				content = resize(content, max(end, int64(len(content))))
			}
		default:
			content = tear(content, call, chance)
		}
	}
	return content
}

// tear writes some of the sectors, up to some length.
func tear(content []byte, call Call, chance *rand.Rand) []byte {
	data := call.data
	if chance.IntN(3) == 0 {
		data = data[:chance.IntN(len(data)+1)]
	}
	content = resize(content, max(call.offset+int64(len(data)), int64(len(content))))
	keep := chance.IntN(100)
	for at := 0; at < len(data); at += sector {
		if chance.IntN(100) < keep {
			copy(content[call.offset+int64(at):], data[at:min(at+sector, len(data))])
		}
	}
	return content
}

func resize(content []byte, size int64) []byte {
	if size <= int64(len(content)) {
		return content[:size]
	}
	return append(content, make([]byte, size-int64(len(content)))...)
}
