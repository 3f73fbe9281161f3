package engine

import (
	"fmt"
	"slices"
	"sync"
)

// notes counts what could not be restored for want of privilege or support: said once at the end, not for each entry.
type notes struct {
	mu    sync.Mutex
	count map[string]int
	text  map[string]string
}

// add counts one more of a key; text has one %d for the count.
func (n *notes) add(key, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count == nil {
		n.count, n.text = make(map[string]int), make(map[string]string)
	}
	n.count[key]++
	n.text[key] = text
}

// list gives the notes in the order of their keys.
func (n *notes) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var keys, list []string
	for key := range n.count {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		list = append(list, fmt.Sprintf(n.text[key], n.count[key]))
	}
	return list
}
