// Package fs shows a repository as one read-only tree that the kernel mounts:
//
//	DIR/SOURCE/2026-11-23T21-05-00Z/...   one folder a restore point
//	DIR/SOURCE/latest                     a symlink to the newest of them
//	DIR/SOURCE/@3d, @2026-11-20 ...       not listed: symlinks to the newest point not after that time
//	DIR/SOURCE/.versions/PATH/            not listed: every distinct state of PATH, named by the point that first had it
//
// [Mount] gives a [Mounted], which serves until it is unmounted; [Unmount] ends a mount of another process.
//
// Inside, a node is what the kernel knows by a number: a name below another node, and a kind. There is one file for each
// kind: the root, a source, an entry of a restore point (directory, or anything else), the folders of .versions, and a
// symlink that cairn made up. A folder finds one child or lists a batch of them; it never holds its children. The table
// keeps a node for as long as the kernel remembers it, asks the kernel to forget the oldest ones above a bound, and holds
// nothing else, so memory does not grow with the repository.
//
// Everything below a restore point never changes, so the kernel may keep names, attributes, symlinks, directories and
// pages of it for a day; what can change (which points there are) is kept for a second. Two names for one directory would
// make the kernel move it about between them, so @WHEN and latest are symlinks.
//
// File content flows from the store's opened frames to the kernel without a copy. Reading marks what comes next and
// has it opened in the background. Damage beyond repair becomes EIO for the blocks it touches, and a line in the log.
//
// The package never writes to the repository, never reads the mount it serves (a process that waits for itself
// cannot be killed), and never asks a clock other than the one in [Options].
package fs
