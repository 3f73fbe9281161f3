package keys

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"github.com/zeebo/blake3"
)

// ErrWrongKey: none of the identities opens any of the slots.
var ErrWrongKey = errors.New("no key slot opens with this key")

// ErrDamaged: a slot opened with an identity, but holds no master key of this repository.
var ErrDamaged = errors.New("key slot holds no key of this repository")

// Master is the key that all others are derived from.
type Master [32]byte

// New draws a master key. random must be fit for keys (crypto/rand.Reader).
func New(random io.Reader) (Master, error) {
	var m Master
	if _, err := io.ReadFull(random, m[:]); err != nil {
		return Master{}, fmt.Errorf("draw the master key: %w", err)
	}
	return m, nil
}

// ForPlain gives the master key of a repository without encryption: no secret, but another in each repository, so
// that ids, checks and chunk boundaries are made the same way with and without encryption.
func ForPlain(repository [16]byte) Master {
	var m Master
	blake3.DeriveKey(contextPrefix+"master key of a plain repository", repository[:], m[:])
	return m
}

// Purpose is what a sub-key is for. It is part of the format.
type Purpose string

// The purposes of sub-keys.
const (
	ChunkIDs   Purpose = "chunk ids"        // keyed BLAKE3 of chunks
	Chunker    Purpose = "chunker"          // gear table of the chunker
	Packs      Purpose = "packs"            // a key for each pack is derived from it
	Config     Purpose = "config"           // keyed BLAKE3 of the config
	Index      Purpose = "index objects"    // and below: a key for each object is derived
	Points     Purpose = "restore points"   //
	Sessions   Purpose = "sessions"         //
	Tombstones Purpose = "tombstones"       //
	Ledger     Purpose = "ledger"           //
	Marks      Purpose = "marks"            //
	print      Purpose = "slot fingerprint" // tells a master key from rubbish
)

const contextPrefix = "cairn v1 2026-11-26 "

// Derive gives the sub-key for a purpose, by BLAKE3's derive-key mode.
func (m Master) Derive(p Purpose) [32]byte {
	var out [32]byte
	blake3.DeriveKey(contextPrefix+string(p), m[:], out[:])
	return out
}

// Sub derives the key of one thing (a pack, an object) from the key of its kind. The context is fixed and name is the
// thing's.
func Sub(key [32]byte, name []byte) [32]byte {
	var out [32]byte
	h := blake3.NewDeriveKey(contextPrefix + "key of one object")
	h.Write(key[:])
	h.Write(name)
	h.Sum(out[:0])
	return out
}

// Layout of what a slot's age file holds, in bytes: the master key, the repository that it is of, and the first bytes
// of the sub-key "slot fingerprint", which tell that the two are what was sealed.
const (
	masterAt      = 0
	repositoryAt  = 32
	fingerprintAt = 48
	slotLength    = 64
)

// Seal makes the content of a key slot: a binary age file (age-encryption.org/v1) for one recipient.
func (m Master) Seal(repository [16]byte, r age.Recipient) ([]byte, error) {
	fingerprint := m.Derive(print)
	plain := make([]byte, 0, slotLength)
	plain = append(plain, m[:]...)
	plain = append(plain, repository[:]...)
	plain = append(plain, fingerprint[:slotLength-fingerprintAt]...)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, r)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("seal the master key: %w", err)
	}
	return sealed.Bytes(), nil
}

// Open gets the master key out of a slot's content: ErrWrongKey when no identity matches, ErrDamaged when one does
// and what it finds is not of this repository, another error when the content is no age file.
func Open(sealed []byte, repository [16]byte, identities []age.Identity) (Master, error) {
	if len(identities) == 0 {
		return Master{}, ErrWrongKey
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		var none *age.NoIdentityMatchError
		if errors.As(err, &none) {
			return Master{}, ErrWrongKey
		}
		return Master{}, fmt.Errorf("open a key slot: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, slotLength+1))
	if err != nil {
		return Master{}, fmt.Errorf("open a key slot: %w", err)
	}
	if len(plain) != slotLength {
		return Master{}, ErrDamaged
	}
	m := Master(plain[masterAt:repositoryAt])
	fingerprint := m.Derive(print)
	if !bytes.Equal(plain[repositoryAt:fingerprintAt], repository[:]) ||
		subtle.ConstantTimeCompare(plain[fingerprintAt:], fingerprint[:slotLength-fingerprintAt]) != 1 {
		return Master{}, ErrDamaged
	}
	return m, nil
}

// Kind tells how a slot's content opens, by the first stanza of its age header: "passphrase", "X25519",
// "mlkem768x25519", "ssh-ed25519" ...; "unknown" when it is no age file.
func Kind(sealed []byte) string {
	lines := bytes.SplitN(sealed[:min(len(sealed), 4096)], []byte("\n"), 3)
	if len(lines) < 3 || string(lines[0]) != "age-encryption.org/v1" {
		return "unknown"
	}
	fields := bytes.Fields(lines[1])
	if len(fields) < 2 || string(fields[0]) != "->" {
		return "unknown"
	}
	if kind := string(fields[1]); kind != "scrypt" {
		return kind
	}
	return "passphrase"
}
