package frame

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// checksumSize is what a plain frame has in the place of a tag, in bytes.
const checksumSize = 8

// Key seals the frames of one pack. It is safe for many goroutines.
type Key struct{ aead cipher.AEAD } // nil in a plain key

// NewKey makes an AES-256-GCM key. It must be for one pack alone, because the nonces are places in it.
func NewKey(key [32]byte) (*Key, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("make frame key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make frame key: %w", err)
	}
	return &Key{aead: aead}, nil
}

// PlainKey is for repositories without encryption: frames carry a checksum that anyone can make.
func PlainKey() *Key { return &Key{} }

// Overhead is how many bytes a sealed frame has more than its content, at most.
func (k *Key) Overhead() int {
	if k.aead == nil {
		return HeadSize + checksumSize
	}
	return HeadSize + k.aead.Overhead()
}

// seal encrypts what stands behind the head that starts at start, in place, and appends the tag.
func (k *Key) seal(dst []byte, start int, place Place) []byte {
	if k.aead == nil {
		return binary.LittleEndian.AppendUint64(dst, checksum(dst[start:], place))
	}
	head := start + HeadSize
	nonce := place.nonce()
	return k.aead.Seal(dst[:head], nonce[:], dst[head:], dst[start:head])
}

// open appends the content of a sealed frame, as its method has it, to dst. Sealed is at least as long as the overhead.
func (k *Key) open(dst, sealed []byte, place Place) ([]byte, error) {
	if k.aead == nil {
		end := len(sealed) - checksumSize
		if checksum(sealed[:end], place) != binary.LittleEndian.Uint64(sealed[end:]) {
			return dst, ErrDamaged
		}
		return append(dst, sealed[HeadSize:end]...), nil
	}
	nonce := place.nonce()
	opened, err := k.aead.Open(dst, nonce[:], sealed[HeadSize:], sealed[:HeadSize])
	if err != nil {
		return dst, ErrDamaged
	}
	return opened, nil
}

func (p Place) nonce() [12]byte {
	var nonce [12]byte
	binary.LittleEndian.PutUint32(nonce[:], p.Offset)
	return nonce
}

func checksum(p []byte, place Place) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(uint64(place.Offset))
	_, _ = d.Write(p) // never fails
	return d.Sum64()
}
