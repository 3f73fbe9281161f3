// Package locator is this host's cache of where chunks lie: chunk id to pack, frame and place.
//
// A [Cache] is a folder of runs. A run is an immutable bbolt file of entries sorted by id, written once, renamed into
// place and from then on only mapped for reading, so that any number of processes use the folder at once: bbolt's lock
// on a run is a shared one. Each run says which index objects it covers. Fold writes the chunks of further index objects
// as a new run and merges with it the runs that are not much bigger, so that each run that is left holds more than twice
// of all smaller ones together and there are never more than a dozen or so.
//
// The cache is never the authority. A run that is damaged or of another format is dropped, and what it covered is
// folded again from the repository. Whoever writes holds an exclusive lock on a file of its own, which the kernel takes
// back when the process dies; what a killed process leaves is a file *.in-progress, which the next writer removes. Nothing is
// synced to the disk: after a power failure the checksums tell.
//
// # Layout of a run
//
// Entries lie in blocks of up to 1,820, ids apart from places, so that a search touches few cache lines. An id is cut to
// 16 bytes: ids are keyed hashes, so nobody can choose them, and two of 16 million agree in 128 bits with a chance of
// 4e-25. Ids being uniform, both the block and the place in it are found by interpolation. Each 64 blocks have a binary
// fuse filter of 8 bits (Graf and Lemire, "Binary Fuse Filters", 2022), which answers for all but 0.4 % of the ids that
// are not there; building it for a part of the run at a time bounds the memory of a merge. An entry takes 36 bytes and
// 1.2 bytes of filter. Blocks and filters are mapped, not read, when a look-up first needs them, and checked against a
// checksum then; so opening a run of 16 million chunks reads about 1 MiB.
//
// All integers are little endian, except keys of bbolt and the fences, which are big endian so that they sort.
//
//	bucket "run"      "head"     see encodeHead
//	                  "fences"   for each block the first 8 bytes of its first id
//	                  "covers"   names of the index objects: length (uvarint), bytes
//	bucket "packs"    n (4)      records n*2048 and on: pack id (16), kind (1), zero (7), size of the object (8)
//	bucket "blocks"   n (4)      number of entries (4), zero (4), ids (16 each), places (20 each: number of the pack,
//	                             offset and sealed length of the frame, start and length in the opened frame)
//	bucket "filters"  n (4)      of blocks n*64 and on: seed (8), segment length (4), segment count (4), segment count
//	                             length (4), zero (4), fingerprints
//
// Before each value stands the xxhash64 (8) of the bucket's name, the key and the value.
package locator
