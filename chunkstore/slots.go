package chunkstore

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// Slot is one key slot: one recipient that can open the repository.
type Slot struct {
	ID      string    // hexadecimal
	Label   string    // for people; it stands unencrypted and unsigned
	Kind    string    // "passphrase", "X25519", "mlkem768x25519", "ssh-ed25519", "ssh-rsa"
	Created time.Time // UTC
}

// slotText is what stands before the age file in a slot, in JSON.
type slotText struct {
	Label   string    `json:"label"`
	Created time.Time `json:"created"`
	Age     []byte    `json:"age"` // the binary age file, base64
}

const maxSlot = 1 << 20 // bytes; an age file for one RSA key of 16,384 bits takes 3 KB

// ownSlots lists the ids of slots, sorted. Other names in the folder are foreign.
func ownSlots(ctx context.Context, d destination.Destination) ([]string, error) {
	var ids []string
	err := d.List(ctx, folders[TypeKey], func(i destination.Info) error {
		if id := i.Name[len(folders[TypeKey]):]; isSlotID(id) {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the key slots: %w", err)
	}
	slices.Sort(ids)
	return ids, nil
}

func isSlotID(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == 16 && strings.ToLower(id) == id
}

func readSlot(ctx context.Context, d destination.Destination, repository [16]byte, id string) (slotText, error) {
	name := folders[TypeKey] + id
	payload, err := readPayload(ctx, d, name, seedOf(repository, name), maxSlot)
	if err != nil {
		return slotText{}, err
	}
	var t slotText
	h, err := parseHeader(payload, TypeKey)
	if err != nil {
		return slotText{}, &DamageError{Object: name, Err: err}
	}
	if int(h.length) != len(payload)-headerSize {
		return slotText{}, &DamageError{Object: name, Err: ErrDamaged}
	}
	if err := json.Unmarshal(payload[headerSize:], &t); err != nil {
		return slotText{}, &DamageError{Object: name, Err: fmt.Errorf("%w: %w", ErrDamaged, err)}
	}
	return t, nil
}

// unlock tries the identities on every slot. A slot that cannot be read does not hinder the others; what hindered is
// told when none opens.
func unlock(ctx context.Context, d destination.Destination, c Config, identities []age.Identity) (keys.Master, error) {
	ids, err := ownSlots(ctx, d)
	if err != nil {
		return keys.Master{}, err
	}
	var hindered error
	for _, id := range ids {
		if ctx.Err() != nil {
			return keys.Master{}, ctx.Err()
		}
		t, err := readSlot(ctx, d, c.Repository, id)
		if err == nil {
			var m keys.Master
			if m, err = keys.Open(t.Age, c.Repository, identities); err == nil {
				return m, nil
			}
		}
		if !errors.Is(err, keys.ErrWrongKey) {
			hindered = errors.Join(hindered, fmt.Errorf("key slot %s: %w", id, err))
		}
	}
	if len(ids) == 0 {
		return keys.Master{}, fmt.Errorf("%w: the repository has no key slot left", keys.ErrWrongKey)
	}
	return keys.Master{}, errors.Join(keys.ErrWrongKey, hindered)
}

// Slots lists the key slots. A damaged one is listed with the kind "damaged".
func (s *Store) Slots(ctx context.Context) ([]Slot, error) {
	if s.config.Plain {
		return nil, ErrPlain
	}
	ids, err := ownSlots(ctx, s.dest)
	if err != nil {
		return nil, err
	}
	slots := make([]Slot, 0, len(ids))
	for _, id := range ids {
		t, err := readSlot(ctx, s.dest, s.config.Repository, id)
		var hurt *DamageError
		switch {
		case errors.As(err, &hurt):
			slots = append(slots, Slot{ID: id, Kind: "damaged"})
		case err != nil:
			return nil, fmt.Errorf("read key slot %s: %w", id, err)
		default:
			slots = append(slots, Slot{ID: id, Label: t.Label, Kind: keys.Kind(t.Age), Created: t.Created.UTC()})
		}
	}
	return slots, nil
}

// AddSlot lets one more recipient open the repository.
func (s *Store) AddSlot(ctx context.Context, r age.Recipient, label string, now time.Time) (Slot, error) {
	if s.config.Plain {
		return Slot{}, ErrPlain
	}
	sealed, err := s.master.Seal(s.config.Repository, r)
	if err != nil {
		return Slot{}, err
	}
	var raw [16]byte
	if _, err := io.ReadFull(s.random, raw[:]); err != nil {
		return Slot{}, fmt.Errorf("draw the slot's id: %w", err)
	}
	slot := Slot{ID: hex.EncodeToString(raw[:]), Label: label, Kind: keys.Kind(sealed), Created: now.UTC()}
	text, err := json.Marshal(slotText{Label: label, Created: slot.Created, Age: sealed})
	if err != nil {
		return Slot{}, fmt.Errorf("encode the key slot: %w", err)
	}
	name := folders[TypeKey] + slot.ID
	h := header{objectType: TypeKey, version: objectVersion, length: uint32(len(text))}
	object := stripe.Encode(append(h.append(nil), text...), configShape(s.config.Shape), s.seed(name))
	if err := s.dest.Create(ctx, name, object); err != nil {
		return Slot{}, fmt.Errorf("write the key slot: %w", err)
	}
	return slot, nil
}

// RemoveSlot takes a key slot away, by its id or by a beginning of it that only one slot has: ErrNoSlot, ErrLastSlot.
// Who knew the removed key may have kept the master key: only a new repository shuts such a reader out.
func (s *Store) RemoveSlot(ctx context.Context, id string) error {
	slots, err := s.Slots(ctx)
	if err != nil {
		return err
	}
	found, whole := "", 0
	for _, slot := range slots {
		if id != "" && strings.HasPrefix(slot.ID, id) {
			if found != "" {
				return fmt.Errorf("%w: %q is the beginning of several", ErrNoSlot, id)
			}
			found = slot.ID
		}
	}
	if found == "" {
		return fmt.Errorf("%w: %q", ErrNoSlot, id)
	}
	for _, slot := range slots {
		if slot.ID != found && slot.Kind != "damaged" {
			whole++
		}
	}
	if whole == 0 {
		return ErrLastSlot
	}
	if err := s.dest.Remove(ctx, folders[TypeKey]+found); err != nil {
		return fmt.Errorf("remove key slot %s: %w", found, err)
	}
	return nil
}
