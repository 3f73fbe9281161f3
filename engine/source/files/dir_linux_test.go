package files

import (
	"slices"
	"testing"
)

func FuzzDirents(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x08name\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08name\x00"))
	f.Fuzz(func(t *testing.T, listing []byte) {
		var found listed
		err := found.add(slices.Clone(listing))
		if len(found.names) > len(listing)/19 || err == nil && len(found.names) != len(found.kinds) {
			t.Errorf("%d names and %d types in %d bytes", len(found.names), len(found.kinds), len(listing))
		}
	})
}
