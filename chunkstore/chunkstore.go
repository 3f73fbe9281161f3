package chunkstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/cairn-backup/cairn/chunkstore/chunker"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// FormatVersion is the newest repository format that this code reads, and the one that it writes.
const FormatVersion = 1

// ID names a chunk: BLAKE3 of its bytes, keyed with a key of the repository. The zero ID is no chunk.
type ID [32]byte

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero tells whether the id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// PackID names a pack. It is random.
type PackID [16]byte

// String returns the id in hexadecimal.
func (id PackID) String() string { return hex.EncodeToString(id[:]) }

// ObjectName is the pack's full name at a destination.
func (id PackID) ObjectName() string {
	h := id.String()
	return "packs/" + h[:2] + "/" + h
}

// ParsePackID reads the full name of a pack; false when the name is not one.
func ParsePackID(name string) (PackID, bool) {
	var id PackID
	if len(name) != len("packs/xx/")+2*len(id) {
		return id, false
	}
	if _, err := hex.Decode(id[:], []byte(name[len("packs/xx/"):])); err != nil {
		return PackID{}, false
	}
	return id, id.ObjectName() == name
}

// Kind tells what a pack's chunks are. Data and trees lie apart, so that reading all trees touches no data.
type Kind uint8

// The kinds of packs.
const (
	KindData Kind = 1 // contents of files
	KindTree Kind = 2 // nodes of directory trees
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case KindData:
		return "data"
	case KindTree:
		return "tree"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Location is where one chunk lies.
type Location struct {
	Pack   PackID
	Offset uint32 // of the sealed frame in the pack's payload, bytes
	Sealed uint32 // length of the sealed frame, bytes
	Start  uint32 // of the chunk in the opened frame, bytes
	Length uint32 // of the chunk, bytes
}

// Placed is a chunk and where it lies.
type Placed struct {
	ID       ID
	Location Location
}

// Pack describes one pack that is durable.
type Pack struct {
	ID     PackID
	Kind   Kind
	Size   int64    // of the object, parity included, bytes
	Chunks []Placed // in the order of their places
}

// PackInfo is a pack as a listing shows it.
type PackInfo struct {
	ID   PackID
	Size int64 // of the object, bytes
}

// Config is what a repository is, fixed when it was made.
type Config struct {
	Repository [16]byte // random; tells repositories apart
	Version    int      // of the format
	Shape      stripe.Shape
	Plain      bool // no encryption: damage is still detected, but anybody can read and alter
	Chunker    chunker.Params
	Created    time.Time // UTC
}

// Errors that callers ask for with errors.Is.
var (
	// ErrRepositoryExists: Init met objects of a repository.
	ErrRepositoryExists = errors.New("there is a repository already")
	// ErrNoRepository: Open found no config.
	ErrNoRepository = errors.New("no repository there")
	// ErrMissing: an object that something refers to is not there.
	ErrMissing = errors.New("object is missing")
	// ErrDamaged: an object's bytes are not what was written, and parity could not bring them back.
	ErrDamaged = errors.New("object is damaged")
	// ErrForeign: what lies under the name is not an object of this repository.
	ErrForeign = errors.New("not an object of this repository")
	// ErrLastSlot: RemoveSlot refused to take the only key slot.
	ErrLastSlot = errors.New("the last key slot cannot be removed")
	// ErrNoSlot: there is no key slot of that id.
	ErrNoSlot = errors.New("no such key slot")
	// ErrPlain: a repository without encryption has no key slots.
	ErrPlain = errors.New("the repository is not encrypted")
	// ErrKeyNeeded: Open was given no Unlocker for an encrypted repository.
	ErrKeyNeeded = errors.New("the repository is encrypted and needs a key")
	// ErrKeyNotNeeded: Open was given an Unlocker for a repository without encryption, which may be another one that
	// was put in the place of the right one.
	ErrKeyNotNeeded = errors.New("a key was given, but the repository there is not encrypted: it may have been put in the place of another")
)

// VersionError: the repository, or one object of it, is of a format that this code does not know.
type VersionError struct {
	Found, Known int
}

// Error says which version was found.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the repository has format version %d, and this program knows versions up to %d", e.Found, e.Known)
}

// DamageError tells what part of an object cannot be read: the one type that verify yields, repair consumes and a
// mount turns into EIO. It wraps ErrDamaged, ErrMissing or the error of the destination.
type DamageError struct {
	Object         string // full name at the destination
	Offset, Length int64  // in the object's payload, bytes; Length 0 means the whole object
	Err            error
}

// Error names the object and the range.
func (e *DamageError) Error() string {
	if e.Length == 0 {
		return fmt.Sprintf("%s: %v", e.Object, e.Err)
	}
	return fmt.Sprintf("%s, bytes %d to %d: %v", e.Object, e.Offset, e.Offset+e.Length, e.Err)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }
