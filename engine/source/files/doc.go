// Package files is the source that backs up directories and files of this host.
//
// [New] takes paths and [Options] and gives a [Source]. Directories are opened relative to the one above them,
// by descriptor, so that a path may be deeper than the kernel takes in one piece, and a directory that is swapped
// for a symlink in mid-backup leads nowhere else. Names are bytes; nothing is decoded or normalised.
//
// Left out are what [Options] exclude, and always the repository that the backup goes to. Only what a path on the
// command line names is resolved through symlinks; below it symlinks are stored as such and never followed.
//
// The package only reads, and never changes access times where the system lets it do so. It decides nothing about what
// has changed or is worth reading: that is the engine's part.
package files
