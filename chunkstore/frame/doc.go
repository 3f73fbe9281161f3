// Package frame seals pieces of a pack: it compresses the bytes of many chunks together and makes sure that exactly these bytes, at
// exactly this place, come back.
//
// [Codec] does both directions: [Codec.Seal] appends a sealed frame to a buffer, [Codec.Open] appends what was in it to another.
// [Key] is either an AES-256-GCM key, one for each pack, or [PlainKey] for repositories without encryption, where a checksum takes the place
// of the tag: it finds accidents, not malice. [Place] says where in the pack the frame starts; it is the nonce, so a frame that was moved
// does not open, and two frames of a pack never share one.
//
// Chunks are framed together because neighbours resemble each other: about 1 MiB at a time gives a source tree nearly a third less to
// store than chunk by chunk, at half the time. What does not shrink is stored as it is.
//
// The package never reads or writes a destination, never derives a key, and does not know where in a frame a chunk lies.
package frame
