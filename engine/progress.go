package engine

import "sync/atomic"

// Progress is counted up by a running operation and may be read at any time by whoever shows it. The zero
// value is ready. Numbers only rise.
type Progress struct {
	Files  atomic.Int64 // regular files done
	Dirs   atomic.Int64 // directories done
	Bytes  atomic.Int64 // bytes of the files done, read or not
	Read   atomic.Int64 // bytes read from the source or the repository
	Added  atomic.Int64 // bytes of new chunks, before compression
	Errors atomic.Int64 // entries with a problem

	TotalFiles atomic.Int64 // what is expected; 0 while unknown
	TotalBytes atomic.Int64

	Current atomic.Pointer[string] // the path being worked on
	Phase   atomic.Pointer[string] // one word for what goes on: "scan", "read", "commit", ...
}

// SetPhase names what goes on.
func (p *Progress) SetPhase(phase string) {
	if p != nil {
		p.Phase.Store(&phase)
	}
}
