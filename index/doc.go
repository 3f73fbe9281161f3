// Package index knows what a repository holds: its restore points, and where each chunk lies.
//
// [Open] gives a [Repository] over a [chunkstore.Store]. It answers where a chunk is (Locate, ReadChunk, LoadNode), which
// restore points there are (Points, [Resolve], Versions), and takes new ones: [Repository.Begin] starts a [Session], its
// [Batch]es store chunks that are not known yet, and [Session.Commit] makes the restore point.
//
// The repository is the authority, in three kinds of objects that are only ever added: packs, which describe
// themselves; index objects (index/), which list the chunks of new packs; and restore-point records (points/), named by
// sequence number, whose creation is what completes a backup. What this host keeps is a cache of the index objects
// (package locator), which many processes share and which is made again whenever it is missing, stale or damaged.
//
// Records never change. Tags and pins that are set later (Mark), and that restore points are forgotten (Forget), stand in
// a log beside them, in which changes have one order; Marked is the view with all of that applied.
//
// Data flows in through a Batch to the store's packs; when a pack is durable its chunks wait in the session until an
// index object lists them; then they go to the cache and the session forgets them. The order of commit is packs, index
// object, record, so that a crash at any instruction leaves at most chunks that the next backup finds again.
//
// A prune gives space back beside all that, without a lock: [Pruner], and why it is safe, in barring.go and graves.go.
//
// The package never decides what to back up or to delete, and never reads a clock or a source of randomness of its own:
// both come with [Options].
package index
