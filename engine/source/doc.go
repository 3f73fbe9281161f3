// Package source says what can be backed up: anything that shows itself as a tree of directories.
//
// The central types are [Source], which opens the topmost directory, [Dir], which lists names, their metadata and
// opens what lies below, and [File], which gives the bytes of one regular file. Metadata is given in the
// form in which it is stored, [tree.Entry].
//
// A source only reads. It knows nothing of chunks, of restore points or of what an earlier backup has seen: the engine
// compares, decides what is read, reads it consistently and stores it. Implementations are in packages
// below this one: files is the first.
package source
