package chunkstore

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/zeebo/blake3"

	"github.com/cairn-backup/cairn/chunkstore/chunker"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// The config stands twice, byte for byte the same: without it nothing can be opened, and it is small.
const (
	configName = "config"
	spareName  = "spare/config"
)

const (
	configMAC = 32 // bytes of keyed BLAKE3 behind the config's text
	maxConfig = 64 << 10
	// chunkerName is the one chunking method of format version 1.
	chunkerName = "fastcdc-keyed-1"
)

// configText is the config as it stands in the object, in JSON. Unknown fields are kept out of the way of later
// versions: they are ignored, and the MAC covers them.
type configText struct {
	Repository []byte    `json:"repository"` // 16 bytes, base64
	Shape      string    `json:"shape"`      // "10+2"
	Encryption string    `json:"encryption"` // "aes-256-gcm" or "none"
	Chunker    string    `json:"chunker"`
	ChunkMin   int       `json:"chunk_min"`
	ChunkAvg   int       `json:"chunk_avg"`
	ChunkMax   int       `json:"chunk_max"`
	Created    time.Time `json:"created"`
}

const (
	encryptionNone = "none"
	encryptionGCM  = "aes-256-gcm"
)

// encodeConfig gives the payload of the config object: header, JSON, MAC.
func encodeConfig(c Config, master keys.Master) ([]byte, error) {
	encryption := encryptionGCM
	if c.Plain {
		encryption = encryptionNone
	}
	text, err := json.MarshalIndent(configText{
		Repository: c.Repository[:], Shape: c.Shape.String(), Encryption: encryption, Chunker: chunkerName,
		ChunkMin: c.Chunker.Min, ChunkAvg: c.Chunker.Avg, ChunkMax: c.Chunker.Max, Created: c.Created.UTC(),
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the config: %w", err)
	}
	h := header{objectType: TypeConfig, version: uint8(c.Version), length: uint32(len(text))}
	payload := append(h.append(nil), text...)
	return append(payload, macConfig(master, payload)...), nil
}

// decodeConfig reads the payload of the config object. The MAC is left to checkConfig, which needs the master key
// that the config helps to find.
func decodeConfig(payload []byte) (Config, error) {
	h, err := parseHeader(payload, TypeConfig)
	if err != nil {
		return Config{}, err
	}
	if int64(h.length) != int64(len(payload)-headerSize-configMAC) {
		return Config{}, fmt.Errorf("%w: the config's length is wrong", ErrDamaged)
	}
	var t configText
	if err := json.Unmarshal(payload[headerSize:len(payload)-configMAC], &t); err != nil {
		return Config{}, fmt.Errorf("%w: read the config: %w", ErrDamaged, err)
	}
	shape, err := stripe.ParseShape(t.Shape)
	if err != nil {
		return Config{}, fmt.Errorf("%w: read the config: %w", ErrDamaged, err)
	}
	c := Config{
		Version: int(h.version), Shape: shape, Plain: t.Encryption == encryptionNone, Created: t.Created,
		Chunker: chunker.Params{Min: t.ChunkMin, Avg: t.ChunkAvg, Max: t.ChunkMax},
	}
	switch {
	case len(t.Repository) != len(c.Repository):
		return Config{}, fmt.Errorf("%w: the config's repository id is wrong", ErrDamaged)
	case t.Encryption != encryptionNone && t.Encryption != encryptionGCM:
		return Config{}, fmt.Errorf("the config asks for encryption %q, which this program does not know", t.Encryption)
	case t.Chunker != chunkerName:
		return Config{}, fmt.Errorf("the config asks for chunker %q, which this program does not know", t.Chunker)
	}
	copy(c.Repository[:], t.Repository)
	return c, nil
}

// macConfig is the MAC over header and text.
func macConfig(master keys.Master, signed []byte) []byte {
	key := master.Derive(keys.Config)
	return keyedSum(key, signed)
}

// checkConfig tells whether the config was written by who had the master key.
func checkConfig(payload []byte, master keys.Master) error {
	signed := len(payload) - configMAC
	if signed < headerSize || subtle.ConstantTimeCompare(payload[signed:], macConfig(master, payload[:signed])) != 1 {
		return &DamageError{Object: configName, Err: fmt.Errorf("%w: the config was altered", ErrDamaged)}
	}
	return nil
}

// readConfig gets the config's payload, from the spare where the config itself is gone or lost.
func readConfig(ctx context.Context, d destination.Destination) (Config, []byte, error) {
	var first error
	for _, name := range []string{configName, spareName} {
		payload, err := readPayload(ctx, d, name, configSeed(), maxConfig)
		if err == nil {
			c, err := decodeConfig(payload)
			if err == nil {
				return c, payload, nil
			}
			first = errors.Join(first, err)
			continue
		}
		first = errors.Join(first, err)
	}
	if everyIs(first, destination.ErrNotFound) {
		return Config{}, nil, ErrNoRepository
	}
	return Config{}, nil, fmt.Errorf("read the config: %w", first)
}

// everyIs tells whether each of the errors joined in err is target.
func everyIs(err, target error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return errors.Is(err, target)
	}
	for _, e := range joined.Unwrap() {
		if !everyIs(e, target) {
			return false
		}
	}
	return true
}

// configShape is the shape of the config and of the key slots: copies, whatever the shape of packs is, and never
// fewer than three.
func configShape(s stripe.Shape) stripe.Shape { return stripe.Shape{Data: 1, Parity: max(2, s.Parity)} }

// keyedSum is keyed BLAKE3, 32 bytes.
func keyedSum(key [32]byte, parts ...[]byte) []byte {
	h, err := blake3.NewKeyed(key[:])
	if err != nil { // a key that is not of 32 bytes, which the type rules out
		return nil
	}
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
