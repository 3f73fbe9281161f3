// Package chunkstore keeps chunks: it turns them into frames, packs and shards on a destination, and back, and mends
// what was damaged in between.
//
// [Store] is one repository, opened with [Open] or made with [Init]. A [Writer] collects chunks through one [Batch] a
// goroutine, seals them in frames of 1 to 2 MiB and writes packs of about 32 MiB; it reports each [Pack] once that
// is durable. [Store.Read] and [Store.Frame] get a chunk or a whole frame back from a [Location]. Records, index
// objects and other small things go through [Store.PutObject] and [Store.GetObject].
//
// Chunks and places flow in and out: the store reads places and never looks up an id, so whoever writes must remember
// the places that [WriterOptions].Stored reports (the index does), or ask [Store.Table] of each pack for them.
//
// Every object is a stripe (package stripe): damage up to the parity is healed while reading, and damage beyond it is
// a [*DamageError] that names the object and the range. FORMAT.md specifies every byte.
//
// The package never deletes a pack on its own, never holds a lock on the repository and knows neither files nor
// restore points.
package chunkstore
