package index

import (
	"sync"

	"github.com/cairn-backup/cairn/chunkstore"
)

// claimShards is how many locks the claims are spread over.
const claimShards = 64

// claims are the chunks that a session stores and that the index does not list yet: who claims one first stores it, the
// others refer to it. They are dropped as index objects list them, which bounds them to about objectChunks.
type claims struct {
	shards [claimShards]struct {
		sync.Mutex
		ids map[claimKey]struct{}
	}
}

// claimKey is the first half of an id, as the index has it.
type claimKey [16]byte

func newClaims() *claims {
	c := new(claims)
	for i := range c.shards {
		c.shards[i].ids = make(map[claimKey]struct{})
	}
	return c
}

// add claims a chunk; false when it is claimed already.
func (c *claims) add(id chunkstore.ID) bool {
	s := &c.shards[id[0]%claimShards]
	s.Lock()
	defer s.Unlock()
	n := len(s.ids)
	s.ids[claimKey(id[:])] = struct{}{}
	return len(s.ids) > n
}

func (c *claims) has(id chunkstore.ID) bool {
	s := &c.shards[id[0]%claimShards]
	s.Lock()
	defer s.Unlock()
	_, ok := s.ids[claimKey(id[:])]
	return ok
}

func (c *claims) remove(id chunkstore.ID) {
	s := &c.shards[id[0]%claimShards]
	s.Lock()
	defer s.Unlock()
	delete(s.ids, claimKey(id[:]))
}

// clear drops all claims.
func (c *claims) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		clear(s.ids)
		s.Unlock()
	}
}
