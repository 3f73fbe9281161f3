package files

import (
	"os/user"
	"strconv"
	"sync"
)

// owners gives the names of users and groups, each looked up once. The zero value is ready.
type owners struct {
	mu     sync.RWMutex
	users  map[uint32]string
	groups map[uint32]string
}

func (o *owners) names(uid, gid uint32) (string, string) {
	o.mu.RLock()
	u, okUser := o.users[uid]
	g, okGroup := o.groups[gid]
	o.mu.RUnlock()
	if okUser && okGroup {
		return u, g
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users == nil {
		o.users, o.groups = make(map[uint32]string), make(map[uint32]string)
	}
	// A number without a name is no error: the number is kept.
	if found, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		u = found.Username
	}
	if found, err := user.LookupGroupId(strconv.FormatUint(uint64(gid), 10)); err == nil {
		g = found.Name
	}
	o.users[uid], o.groups[gid] = u, g
	return u, g
}
