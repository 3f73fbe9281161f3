//go:build unix && !linux

package local

func renameNew(temporary, path string) error { return linkNew(temporary, path) }
