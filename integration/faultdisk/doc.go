// Package faultdisk is a disk that can be made to fail: a file system in memory, mounted by FUSE, so that the
// program under test runs against it with the system calls that it makes anywhere.
//
// [Disk] keeps the files. While it records, each call that changes anything (write, fsync, rename, link, unlink and
// so on) goes to a [Log], and [Log.Crash] tells what a disk may hold when the power fails after any of them: what was not
// synced is lost, or kept, or torn, each name and each sector for itself. [Disk.Break] makes calls fail, wait or hang,
// and [Disk.Limit] makes it small.
//
// The model is stricter than the file systems in use: a name is durable once its folder was synced and not before, whatever
// became of later names; the content of a file is durable once the file was synced; and nothing else makes an order.
//
// The package knows nothing of cairn: what must hold after a crash is for its tests to say.
package faultdisk
