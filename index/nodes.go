package index

import (
	"container/list"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

var (
	_ tree.Loader = (*Repository)(nil)
	_ tree.Saver  = (*Session)(nil)
)

// nodeCacheBytes bounds what a Repository keeps of tree nodes.
const nodeCacheBytes = 16 << 20

// nodeCache keeps the nodes that were used last.
type nodeCache struct {
	mu    sync.Mutex
	byID  map[chunkstore.ID]*list.Element
	order list.List // of cachedNode, the one used last in front
	bytes int
}

type cachedNode struct {
	id   chunkstore.ID
	node []byte
}

func (c *nodeCache) get(id chunkstore.ID) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byID[id]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cachedNode).node, true
}

func (c *nodeCache) put(id chunkstore.ID, node []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = make(map[chunkstore.ID]*list.Element)
	}
	if _, ok := c.byID[id]; ok || cap(node) > nodeCacheBytes/4 {
		return
	}
	c.byID[id] = c.order.PushFront(cachedNode{id, node})
	c.bytes += cap(node)
	for c.bytes > nodeCacheBytes {
		last := c.order.Back()
		old := c.order.Remove(last).(cachedNode)
		delete(c.byID, old.id)
		c.bytes -= cap(old.node)
	}
}
