package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Sizes in bytes. They are part of the format.
const (
	MaxPlain = 16 << 20 // the largest content of a frame
	HeadSize = 8        // method, reserved, length
)

// Ways to hold the content. They are part of the format.
const (
	methodStored = 0 // as it is
	methodZstd   = 1 // one or more zstd frames (RFC 8878)
)

// ErrDamaged is returned for a frame that is not exactly what was sealed with this key at this place.
var ErrDamaged = errors.New("frame is damaged")

// Place is where a frame lies: its first byte, counted in the payload of its pack. No two frames under one key may have the same.
type Place struct{ Offset uint32 }

// Codec seals and opens frames. It is safe for many goroutines; each call works in the caller's, as many at once as there are
// processors, and others wait.
type Codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// encoderWindow is how far back zstd looks, in bytes: a whole frame of the usual size. A larger one would only take memory.
const encoderWindow = 1 << 20

// New makes a codec that compresses at a zstd level from 1 to 22; 0 is zstd's default of 3. Higher levels than the library has
// are taken for its highest.
func New(level int) *Codec {
	if level == 0 {
		level = 3
	}
	n := runtime.GOMAXPROCS(0)
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderConcurrency(n),
		zstd.WithWindowSize(encoderWindow), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true))
	if err != nil {
		panic(fmt.Sprintf("frame: zstd encoder: %v", err)) // only for options out of bounds
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecoderMaxMemory(MaxPlain), zstd.WithDecoderMaxWindow(MaxPlain))
	if err != nil {
		panic(fmt.Sprintf("frame: zstd decoder: %v", err))
	}
	return &Codec{encoder: encoder, decoder: decoder}
}

// A sealed frame, little endian:
//
//	0  1  method: 0 stored, 1 zstd
//	1  3  zero
//	4  4  length of the plain content, at most 16 MiB
//	8  .  content as the method has it, encrypted unless the key is the plain one
//	.  .  16 bytes tag of AES-256-GCM, or 8 bytes checksum for the plain key
//
// Associated data are the first 8 bytes. The nonce is the offset in 4 bytes, then 8 zero bytes; the checksum is xxHash64 of all before
// it, with the offset as its seed.

// Seal appends the sealed frame to dst and returns the extended slice, like append. Plain is at most MaxPlain long, which is the
// caller's to see to: it panics otherwise. It takes no memory of its own when dst has room for len(plain)+[Key.Overhead] more.
//
// Where the place is only known later, [Codec.Compress] and [Codec.Finish] do the same in two steps.
func (c *Codec) Seal(dst, plain []byte, key *Key, place Place) []byte {
	start := len(dst)
	dst = c.Compress(slices.Grow(dst, len(plain)+key.Overhead()), plain)
	return key.seal(dst, start, place)
}

// Compress appends the first half of a sealed frame to dst: head and content, neither encrypted nor checked. It is for a writer that
// learns a frame's place only once it knows how long the frame is; [Codec.Finish] does the rest. Plain is bounded as for Seal.
func (c *Codec) Compress(dst, plain []byte) []byte {
	if len(plain) > MaxPlain {
		panic(fmt.Sprintf("frame: %d bytes are more than the %d of a frame", len(plain), MaxPlain))
	}
	start := len(dst)
	dst = append(dst, methodZstd, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(plain)))
	if looksRandom(plain) {
		dst = append(dst, plain...)
		dst[start] = methodStored
		return dst
	}
	dst = c.encoder.EncodeAll(plain, dst)
	if len(dst)-start-HeadSize >= len(plain) {
		dst = append(dst[:start+HeadSize], plain...)
		dst[start] = methodStored
	}
	return dst
}

// Finish appends the sealed frame of what Compress gave to dst. dst may be compressed[:0]: then it seals in place.
func (c *Codec) Finish(dst, compressed []byte, key *Key, place Place) []byte {
	start := len(dst)
	return key.seal(append(slices.Grow(dst, len(compressed)+key.Overhead()-HeadSize), compressed...), start, place)
}

// bodies keeps buffers for decrypted content; one belongs to the call of Open that took it.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// Open appends the plain content of a sealed frame to dst and returns the extended slice. It never writes to sealed. The error is
// ErrDamaged, wrapped or not; dst is unchanged then, except for what lies behind its length.
func (c *Codec) Open(dst, sealed []byte, key *Key, place Place) ([]byte, error) {
	length, err := PlainLength(sealed)
	if err != nil {
		return dst, err
	}
	if len(sealed) < key.Overhead() {
		return dst, fmt.Errorf("%w: %d bytes are too few", ErrDamaged, len(sealed))
	}
	// zstd decodes up to 16 bytes beyond what it returns when it has the room, and copies when it has not.
	dst = slices.Grow(dst, length+16)
	if sealed[0] == methodStored {
		opened, err := key.open(dst, sealed, place)
		if err == nil && len(opened)-len(dst) != length {
			err = fmt.Errorf("%w: %d bytes instead of %d", ErrDamaged, len(opened)-len(dst), length)
		}
		if err != nil {
			return dst, err
		}
		return opened, nil
	}
	scratch := bodies.Get().(*[]byte)
	defer bodies.Put(scratch)
	body, err := key.open((*scratch)[:0], sealed, place)
	if err != nil {
		return dst, err
	}
	*scratch = body
	opened, err := c.decoder.DecodeAll(body, dst)
	if err != nil {
		return dst, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if len(opened)-len(dst) != length {
		return dst, fmt.Errorf("%w: %d bytes instead of %d", ErrDamaged, len(opened)-len(dst), length)
	}
	return opened, nil
}

// PlainLength reads from the head of a sealed frame how long its content is, so that a buffer can be had for it. Nothing vouches for
// it before Open, but it is never more than MaxPlain. The error is ErrDamaged.
func PlainLength(sealed []byte) (int, error) {
	if len(sealed) < HeadSize {
		return 0, fmt.Errorf("%w: %d bytes are too few", ErrDamaged, len(sealed))
	}
	length := binary.LittleEndian.Uint32(sealed[4:])
	if sealed[0] > methodZstd || sealed[1]|sealed[2]|sealed[3] != 0 || length > MaxPlain {
		return 0, fmt.Errorf("%w: impossible head %x", ErrDamaged, sealed[:HeadSize])
	}
	return int(length), nil
}
