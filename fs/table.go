//go:build linux

package fs

import (
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is what the kernel knows by a number. All but lookups is fixed once it is in the table.
type node struct {
	id      uint64
	parent  uint64
	name    string
	salt    uint64
	ino     uint64 // shown to users; equal for the names of one hard-linked file
	kind    kind
	lookups uint64 // how often the kernel was told of it and has not forgotten; guarded by table.mu
}

// child is a node to be: what a folder finds or lists.
type child struct {
	name string
	// salt tells apart what may stand under one name at different times, such as the targets of latest: the kernel
	// must get a new number then, since it keeps what it knows of a number.
	salt uint64
	ino  uint64 // zero: the node's number
	kind kind   // nil in a listing: a folder whose attributes are not at hand, so the kernel is to look it up
}

// table holds the nodes that the kernel remembers. A node's number is a hash of its parent's number and its name: it is the
// same for as long as the name means the same, however often it is forgotten in between.
type table struct {
	mu    sync.Mutex
	nodes map[uint64]*node
	order []uint64 // numbers in the order of their coming, forgotten ones included
}

func newTable(root kind) *table {
	t := &table{nodes: make(map[uint64]*node)}
	t.nodes[fuse.FUSE_ROOT_ID] = &node{id: fuse.FUSE_ROOT_ID, ino: fuse.FUSE_ROOT_ID, kind: root, lookups: 1}
	return t
}

// get gives the node of a number, or nil.
func (t *table) get(id uint64) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nodes[id]
}

// hold gives the node for c below parent, counting that the kernel is told of it, and how many nodes there are.
func (t *table) hold(parent *node, c *child) (*node, int) {
	id := mix(parent.id, xxhash.Sum64String(c.name)) ^ c.salt
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		n := t.nodes[id]
		switch {
		case id <= fuse.FUSE_ROOT_ID || id == ^uint64(0): // numbers that the kernel or go-fuse keep for themselves
		case n == nil:
			n = &node{id: id, parent: parent.id, name: c.name, salt: c.salt, ino: c.ino, kind: c.kind, lookups: 1}
			if n.ino == 0 {
				n.ino = id
			}
			t.nodes[id] = n
			t.order = append(t.order, id)
			return n, len(t.nodes)
		case n.parent == parent.id && n.salt == c.salt && n.name == c.name:
			n.lookups++
			return n, len(t.nodes)
		}
		id = mix(id, 1) // taken by another name
	}
}

// forget takes back count lookups of a number.
func (t *table) forget(id, count uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[id]
	if n == nil || id == fuse.FUSE_ROOT_ID {
		return
	}
	if n.lookups > count {
		n.lookups -= count
		return
	}
	delete(t.nodes, id)
}

// find gives the node that is known under a name below parent, or nil.
func (t *table) find(parent uint64, name string, salt uint64) *node {
	n := t.get(mix(parent, xxhash.Sum64String(name)) ^ salt)
	if n == nil || n.parent != parent || n.name != name {
		return nil
	}
	return n
}

// oldest gives up to count nodes to be forgotten, when there are more than limit. They go to the end of the order, since the
// kernel keeps those that are in use.
func (t *table) oldest(limit, count int) []*node {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.nodes) <= limit {
		t.compact(limit)
		return nil
	}
	var found []*node
	for i, id := range t.order {
		if len(found) == count || i == len(t.order)-1 {
			t.order = append(t.order[:0], t.order[i:]...)
			break
		}
		if n := t.nodes[id]; n != nil {
			found = append(found, n)
		}
	}
	for _, n := range found {
		t.order = append(t.order, n.id)
	}
	return found
}

// compact drops forgotten numbers from the order once they are the most of it.
func (t *table) compact(limit int) {
	if len(t.order) < limit+2*len(t.nodes) {
		return
	}
	kept := t.order[:0]
	for _, id := range t.order {
		if t.nodes[id] != nil {
			kept = append(kept, id)
		}
	}
	t.order = kept
}

// path gives a node's path from the mount's root, as far as its parents are known: for messages.
func (t *table) path(n *node) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for n != nil && n.id != fuse.FUSE_ROOT_ID && len(names) < 1000 {
		names = append(names, n.name)
		n = t.nodes[n.parent]
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	return b.String()
}

// mix combines two numbers into one that looks random (the finaliser of SplitMix64, Steele et al. 2014).
func mix(a, b uint64) uint64 {
	z := a*0x9e3779b97f4a7c15 + b + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
