package chunkstore_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"filippo.io/age"
	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
)

// second reads repositories by what FORMAT.md says, with nothing of this module: a change of the format that the page does not tell fails
// here. It does not heal (package stripe has a second implementation of parity), and it stops at the first thing that is wrong.
type second struct {
	dir        string
	repository []byte
	plain      bool
	master     []byte
}

// payload reads an object: section 2.
func (r *second) payload(name string) ([]byte, error) {
	object, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	seed := xxhash.Sum64String("config")
	if name != "config" && name != "spare/config" {
		seed = xxhash.Sum64(append(bytes.Clone(r.repository), name...))
	}
	k, m := int(object[8]), int(object[9])
	rows := int(object[10]) | int(object[11])<<8 | int(object[12])<<16
	padding := int(object[13]) | int(object[14])<<8 | int(object[15])<<16
	if len(object) != (k+m)*rows*4096 {
		return nil, fmt.Errorf("%s has %d bytes, not (%d+%d)*%d cells", name, len(object), k, m, rows)
	}
	var payload []byte
	for number := range (k + m) * rows {
		cell := bytes.Clone(object[number*4096 : (number+1)*4096])
		sum := binary.LittleEndian.Uint64(cell)
		binary.LittleEndian.PutUint64(cell, seed+uint64(number))
		if xxhash.Sum64(cell) != sum {
			return nil, fmt.Errorf("%s: cell %d is bad", name, number)
		}
		if number < k*rows {
			payload = append(payload, cell[16:]...)
		}
	}
	return payload[:len(payload)-padding], nil
}

func deriveKey(context string, material ...[]byte) []byte {
	key := make([]byte, 32)
	blake3.DeriveKey("cairn v1 2026-11-26 "+context, bytes.Join(material, nil), key)
	return key
}

func keyed(key, data []byte) []byte {
	h, err := blake3.NewKeyed(key)
	if err != nil {
		panic(err)
	}
	h.Write(data)
	return h.Sum(nil)
}

func (r *second) purpose(name string) []byte { return deriveKey(name, r.master) }

func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// open reads config and a key slot: sections 5 and 6.
func openSecond(dir string, identities ...age.Identity) (*second, error) {
	r := &second{dir: dir}
	payload, err := r.payload("config")
	if err != nil {
		return nil, err
	}
	spare, err := r.payload("spare/config")
	if err != nil || !bytes.Equal(payload, spare) {
		return nil, fmt.Errorf("the spare differs: %v", err)
	}
	signed, mac := payload[:len(payload)-32], payload[len(payload)-32:]
	if !bytes.Equal(signed[:8], []byte("CAIRN\x01\x01\x00")) || int(binary.LittleEndian.Uint32(signed[8:])) != len(signed)-24 {
		return nil, fmt.Errorf("config begins with %q", signed[:24])
	}
	var config struct {
		Repository []byte
		Encryption string
	}
	if err := json.Unmarshal(signed[24:], &config); err != nil {
		return nil, err
	}
	r.repository, r.plain = config.Repository, config.Encryption == "none"
	if r.plain {
		r.master = deriveKey("master key of a plain repository", r.repository)
	} else if err := r.unlock(identities); err != nil {
		return nil, err
	}
	if !bytes.Equal(mac, keyed(r.purpose("config"), signed)) {
		return nil, fmt.Errorf("the config's MAC is wrong")
	}
	return r, nil
}

func (r *second) unlock(identities []age.Identity) error {
	slots, err := os.ReadDir(filepath.Join(r.dir, "keys"))
	if err != nil {
		return err
	}
	for _, slot := range slots {
		payload, err := r.payload("keys/" + slot.Name())
		if err != nil {
			return err
		}
		var text struct{ Age []byte }
		if err := json.Unmarshal(payload[24:], &text); err != nil {
			return err
		}
		opened, err := age.Decrypt(bytes.NewReader(text.Age), identities...)
		if err != nil {
			continue
		}
		plain, err := io.ReadAll(opened)
		if err != nil {
			return err
		}
		r.master = plain[:32]
		if len(plain) != 64 || !bytes.Equal(plain[32:48], r.repository) || !bytes.Equal(plain[48:], r.purpose("slot fingerprint")[:16]) {
			return fmt.Errorf("slot %s holds something else", slot.Name())
		}
		return nil
	}
	return fmt.Errorf("no slot opens")
}

func decompress(p []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(p, nil)
}

// object reads a small object: section 7.
func (r *second) object(name string, typ byte, purpose string) ([]byte, error) {
	payload, err := r.payload(name)
	if err != nil {
		return nil, err
	}
	header, rest := payload[:24], payload[24:]
	if !bytes.Equal(header[:7], []byte{'C', 'A', 'I', 'R', 'N', typ, 1}) || (header[7]&2 == 0) != r.plain {
		return nil, fmt.Errorf("%s begins with %q", name, header)
	}
	key := deriveKey("key of one object", r.purpose(purpose), []byte(name))
	var body []byte
	if r.plain {
		body = rest[:len(rest)-16]
		if !bytes.Equal(rest[len(body):], keyed(key, slices.Concat([]byte(name), header, body))[:16]) {
			return nil, fmt.Errorf("%s: wrong check", name)
		}
	} else if body, err = gcm(key).Open(nil, header[12:24], rest, slices.Concat(header, []byte(name))); err != nil {
		return nil, err
	}
	if header[7]&1 != 0 {
		if body, err = decompress(body); err != nil {
			return nil, err
		}
	}
	if int(binary.LittleEndian.Uint32(header[8:])) != len(body) {
		return nil, fmt.Errorf("%s: wrong length", name)
	}
	return body, nil
}

// frame opens the frame at an offset of a pack's payload: section 8.
func (r *second) frame(payload, id []byte, offset, length int) ([]byte, error) {
	sealed := payload[offset : offset+length]
	var body []byte
	if r.plain {
		h := xxhash.NewWithSeed(uint64(offset))
		h.Write(sealed[:length-8])
		if body = sealed[8 : length-8]; h.Sum64() != binary.LittleEndian.Uint64(sealed[length-8:]) {
			return nil, fmt.Errorf("frame at %d: wrong checksum", offset)
		}
	} else {
		key := deriveKey("key of one object", r.purpose("packs"), id)
		var err error
		if body, err = gcm(key).Open(nil, append(binary.LittleEndian.AppendUint32(nil, uint32(offset)), make([]byte, 8)...), sealed[8:], sealed[:8]); err != nil {
			return nil, err
		}
	}
	if sealed[0] == 1 {
		var err error
		if body, err = decompress(body); err != nil {
			return nil, err
		}
	}
	if len(body) != int(binary.LittleEndian.Uint32(sealed[4:])) {
		return nil, fmt.Errorf("frame at %d: wrong length", offset)
	}
	return body, nil
}

// pack reads all chunks of a pack, in their order: section 8.
func (r *second) pack(name string) (kind byte, chunks [][]byte, err error) {
	payload, err := r.payload(name)
	if err != nil {
		return 0, nil, err
	}
	id := payload[24:40]
	trailer := payload[len(payload)-32:]
	if fmt.Sprintf("packs/%x/%x", id[:1], id) != name || !bytes.Equal(id, trailer[8:24]) || string(trailer[24:]) != "CAIRNEND" {
		return 0, nil, fmt.Errorf("%s: head %x, trailer %x", name, payload[:48], trailer)
	}
	end, length := int(binary.LittleEndian.Uint32(trailer)), int(binary.LittleEndian.Uint32(trailer[4:]))
	table, err := r.frame(payload, id, end, length)
	if err != nil {
		return 0, nil, err
	}
	if table[0] != 1 || table[1] != payload[40] {
		return 0, nil, fmt.Errorf("%s: table begins with %x", name, table[:2])
	}
	numbers := bytes.NewReader(table[2:])
	next := func() int {
		n, readErr := binary.ReadUvarint(numbers)
		if readErr != nil {
			err = readErr
		}
		return int(n)
	}
	var opened []byte // all frames, one behind the other
	offset, total := 48, 0
	for range next() {
		length := next()
		total += next()
		content, err := r.frame(payload, id, offset, length)
		if err != nil {
			return 0, nil, err
		}
		opened = append(opened, content...)
		offset += length
	}
	if offset != end {
		return 0, nil, fmt.Errorf("%s: frames end at %d, the table begins at %d", name, offset, end)
	}
	for range total {
		n := next()
		chunks = append(chunks, opened[:n])
		opened = opened[n:]
	}
	ids := table[len(table)-numbers.Len():]
	for i, chunk := range chunks {
		if !bytes.Equal(keyed(r.purpose("chunk ids"), chunk), ids[i*32:(i+1)*32]) {
			return 0, nil, fmt.Errorf("%s: chunk %d has another id", name, i)
		}
	}
	return table[1], chunks, err
}

func TestASecondReaderBuiltFromTheFormatReadsOldRepositories(t *testing.T) {
	text, err := os.Open(goldenIdentity)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	identities, err := age.ParseIdentities(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sealed", "plain"} {
		t.Run(name, func(t *testing.T) {
			r, err := openSecond(filepath.Join(goldenDir, name), identities...)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range goldenObjects() {
				if got, err := r.object("points/"+name, 5, "restore points"); err != nil || !bytes.Equal(got, want) {
					t.Errorf("object %s: %d bytes, %v", name, len(got), err)
				}
			}
			packs, err := filepath.Glob(filepath.Join(r.dir, "packs/*/*"))
			if err != nil || len(packs) != 2 {
				t.Fatalf("%d packs, %v", len(packs), err)
			}
			for _, path := range packs {
				kind, got, err := r.pack(path[len(r.dir)+1:])
				if err != nil {
					t.Fatal(err)
				}
				want := slices.Concat(goldenChunks()...)
				if kind == 2 {
					want = goldenNodes()
				}
				if !slices.EqualFunc(got, want, bytes.Equal) {
					t.Errorf("%s: other chunks", path)
				}
			}
		})
	}
}
