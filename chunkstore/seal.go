package chunkstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/cairn-backup/cairn/chunkstore/keys"
)

// header opens the payload of every object:
//
//	[0:5)   "CAIRN"
//	[5]     object type
//	[6]     version of the object's format
//	[7]     flags: bit 0 compressed with zstd, bit 1 sealed with AES-256-GCM
//	[8:12)  length of what is behind the header once it is opened, little endian (packs: 0)
//	[12:24) nonce (sealed), or zero
type header struct {
	objectType ObjectType
	version    uint8
	flags      uint8
	length     uint32
	nonce      [12]byte
}

const (
	magic      = "CAIRN"
	headerSize = 24

	flagCompressed = 1
	flagSealed     = 2

	objectVersion = 1
	checkSize     = 16 // bytes of GCM tag (sealed), or of keyed BLAKE3 (plain), at the end of an object's payload
)

func (h header) append(dst []byte) []byte {
	dst = append(dst, magic...)
	dst = append(dst, byte(h.objectType), h.version, h.flags)
	dst = binary.LittleEndian.AppendUint32(dst, h.length)
	return append(dst, h.nonce[:]...)
}

// parseHeader reads and checks the header of an object that should be of type t.
func parseHeader(payload []byte, t ObjectType) (header, error) {
	if len(payload) < headerSize || !bytes.Equal(payload[:len(magic)], []byte(magic)) {
		return header{}, fmt.Errorf("%w: it does not begin with %s", ErrForeign, magic)
	}
	h := header{objectType: ObjectType(payload[5]), version: payload[6], flags: payload[7], length: binary.LittleEndian.Uint32(payload[8:])}
	copy(h.nonce[:], payload[12:])
	if h.objectType != t {
		return header{}, fmt.Errorf("%w: it is of type %d where %d belongs", ErrDamaged, h.objectType, t)
	}
	if h.version > objectVersion {
		return header{}, &VersionError{Found: int(h.version), Known: objectVersion}
	}
	if h.version == 0 || h.flags > flagCompressed|flagSealed {
		return header{}, fmt.Errorf("%w: its header makes no sense", ErrDamaged)
	}
	return h, nil
}

// configSeed seeds the cells of the config and its spare.
func configSeed() uint64 { return xxhash.Sum64String(configName) }

// seed seeds the cells of an object: a cell of another object, or of another repository, is no cell of this one.
func (s *Store) seed(fullName string) uint64 { return seedOf(s.config.Repository, fullName) }

func seedOf(repository [16]byte, fullName string) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(repository[:])
	d.WriteString(fullName)
	return d.Sum64()
}

// worthCompressing is the length below which zstd's own frame eats what it saves, bytes.
const worthCompressing = 128

// objectZstd compresses and decompresses small objects; both are safe for concurrent use of their All functions.
var objectZstd = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, nil
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxObject))
	if err != nil {
		return nil, nil
	}
	return e, d
})

// sealObject makes the payload of an object's stripe: header, then the body, compressed if that pays, and sealed with
// a key of this one object. The header and the full name are bound to it: what was renamed or swapped does not open.
func (s *Store) sealObject(t ObjectType, fullName string, plain []byte) ([]byte, error) {
	if len(plain) > maxObject {
		return nil, fmt.Errorf("%d bytes are more than the %d that an object may have", len(plain), maxObject)
	}
	h := header{objectType: t, version: objectVersion, length: uint32(len(plain))}
	body := plain
	if encoder, _ := objectZstd(); encoder != nil && len(plain) >= worthCompressing {
		if c := encoder.EncodeAll(plain, make([]byte, 0, len(plain)/2+64)); len(c) < len(plain) {
			body, h.flags = c, flagCompressed
		}
	}
	key := keys.Sub(s.keys[t], []byte(fullName))
	if s.config.Plain {
		sealed := append(h.append(make([]byte, 0, headerSize+len(body)+checkSize)), body...)
		return append(sealed, keyedSum(key, []byte(fullName), sealed)[:checkSize]...), nil
	}
	h.flags |= flagSealed
	if _, err := io.ReadFull(s.random, h.nonce[:]); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	sealed := h.append(make([]byte, 0, headerSize+len(body)+checkSize))
	return aead.Seal(sealed, h.nonce[:], body, append(sealed[:headerSize:headerSize], fullName...)), nil
}

// openObject is the way back.
func (s *Store) openObject(t ObjectType, fullName string, sealed []byte) ([]byte, error) {
	h, err := parseHeader(sealed, t)
	if err != nil {
		return nil, err
	}
	if len(sealed) < headerSize+checkSize || h.length > maxObject {
		return nil, fmt.Errorf("%w: its length is wrong", ErrDamaged)
	}
	if s.config.Plain == (h.flags&flagSealed != 0) {
		return nil, fmt.Errorf("%w: it is not sealed as the repository is", ErrDamaged)
	}
	key := keys.Sub(s.keys[t], []byte(fullName))
	var body []byte
	if s.config.Plain {
		end := len(sealed) - checkSize
		if subtle.ConstantTimeCompare(sealed[end:], keyedSum(key, []byte(fullName), sealed[:end])[:checkSize]) != 1 {
			return nil, fmt.Errorf("%w: its check does not hold", ErrDamaged)
		}
		body = sealed[headerSize:end]
	} else {
		aead, err := newGCM(key)
		if err != nil {
			return nil, err
		}
		bound := append(sealed[:headerSize:headerSize], fullName...)
		if body, err = aead.Open(nil, h.nonce[:], sealed[headerSize:], bound); err != nil {
			return nil, fmt.Errorf("%w: its seal is broken", ErrDamaged)
		}
	}
	if h.flags&flagCompressed != 0 {
		_, decoder := objectZstd()
		if decoder == nil {
			return nil, errors.New("no decompressor")
		}
		if body, err = decoder.DecodeAll(body, make([]byte, 0, min(int(h.length), 64*len(body)+64))); err != nil {
			return nil, fmt.Errorf("%w: decompress it: %w", ErrDamaged, err)
		}
	}
	if len(body) != int(h.length) {
		return nil, fmt.Errorf("%w: its length is wrong", ErrDamaged)
	}
	return body, nil
}

func newGCM(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("set up AES: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("set up AES-GCM: %w", err)
	}
	return aead, nil
}
