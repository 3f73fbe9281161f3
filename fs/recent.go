//go:build linux

package fs

import (
	"container/list"
	"sync"
)

// recent keeps the values used last.
type recent[K comparable, V any] struct {
	mu    sync.Mutex
	limit int
	order *list.List // of *kept[K, V], the one used last in front
	byKey map[K]*list.Element
}

type kept[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	return &recent[K, V]{limit: limit, order: list.New(), byKey: map[K]*list.Element{}}
}

// get gives the value of key, which open makes when it is not kept. Two callers at once may both make it.
func (r *recent[K, V]) get(key K, open func() (V, error)) (V, error) {
	r.mu.Lock()
	if at := r.byKey[key]; at != nil {
		r.order.MoveToFront(at)
		r.mu.Unlock()
		return at.Value.(*kept[K, V]).value, nil
	}
	r.mu.Unlock()
	value, err := open()
	if err != nil {
		return value, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey[key] == nil {
		r.byKey[key] = r.order.PushFront(&kept[K, V]{key, value})
	}
	if r.order.Len() > r.limit {
		last := r.order.Back()
		r.order.Remove(last)
		delete(r.byKey, last.Value.(*kept[K, V]).key)
	}
	return value, nil
}
