package tree

import "slices"

// SameContent tells whether two entries are one version of a thing: whether they hold the same, whatever their names, owners and times
// are. Directories do when their nodes are the same, the metadata of what is below included.
func SameContent(a, b *Entry) bool {
	if a.Type != b.Type {
		return false
	}
	switch a.Type {
	case Directory:
		return a.Child == b.Child
	case Symlink:
		return a.Target == b.Target
	case File:
		return a.Size == b.Size && a.List == b.List && slices.Equal(a.Content, b.Content)
	}
	return a.Rdev == b.Rdev
}
