//go:build !linux

package engine

// descriptors is how many files this process may be sure to have open.
func descriptors() int { return 256 }
