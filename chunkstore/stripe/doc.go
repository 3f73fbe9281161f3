// Package stripe turns a payload into an object that survives damage, and back.
//
// An object is a stripe of k data shards and m parity shards (Reed-Solomon, systematic), cut into cells of 4096 bytes: a head of 16
// bytes and 4080 bytes of content. Every cell carries its own checksum, so a reader knows which cells are bad, and every cell
// carries the geometry of the whole object, so any one good cell is enough to know how to read the rest. The cells at the same
// offset of all shards are a row, the unit of healing: up to m bad cells in each row are rebuilt. That covers a burst of m shards
// as well as damage scattered over the whole object.
//
// The central types are [Shape] (k+m), [Layout] (a shape and a payload length: where everything lies), [Builder] (payload in,
// object out, in one buffer) and [Reader] (object in, payload out, healing on the way; also checks and rebuilds). Data shards are
// slices of the payload, so a healthy read is one range read that never touches parity.
//
// The package never encrypts, never compresses, never talks to a destination and never decides where shards are put: all
// shards may lie in one object or each in an object of its own ([Layout.ShardRange], [Shards]). Its checksums find accidents, not
// malice; what is inside the payload has to be sealed by the caller.
package stripe
