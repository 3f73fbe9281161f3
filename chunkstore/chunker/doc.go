// Package chunker cuts data into chunks whose ends depend on the content alone, so that an insertion moves the ends next to it and no
// others.
//
// A [Chunker] is made from a secret key and [Params], never changes, and has one method: [Chunker.Cut] gives the length of the first
// chunk. The ends cannot be predicted without the key, so the sizes of chunks do not tell which known file is stored.
//
// The method is FastCDC (Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data Deduplication", USENIX
// ATC 2016, and "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems", IEEE TPDS 2020, which adds
// rolling two bytes at a time), with a 64-bit gear table drawn from the key. Keyed rolling hashes have known attacks (IACR eprint 2025/532 and
// 2025/558) that need the lengths of single chunks; cairn seals chunks by the frame, which hides them.
//
// The package never reads files, never hashes chunks, and keeps no state between calls.
package chunker
