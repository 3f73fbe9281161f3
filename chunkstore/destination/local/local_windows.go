package local

import "os"

// umask lets everybody read: on Windows the folder's access list decides.
const umask os.FileMode = 0

func renameNew(temporary, path string) error { return linkNew(temporary, path) }

// syncFolder does nothing: Windows has no way to sync a folder, and NTFS keeps the order of its names in its log.
func syncFolder(string) error { return nil }

// isUnlinked is false: an open file cannot lose its name here.
func isUnlinked(*os.File) bool { return false }

// descriptors is how many files the process may have open: there is no limit that matters.
func descriptors() int { return 1 << 20 }
