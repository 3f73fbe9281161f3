package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// ObjectType is the type of an object: it says in which folder it lies and with which key it is sealed.
type ObjectType uint8

// The types of objects. They are part of the format.
const (
	TypeConfig    ObjectType = 1
	TypeKey       ObjectType = 2 // key slots
	TypePack      ObjectType = 3
	TypeIndex     ObjectType = 4
	TypePoint     ObjectType = 5 // restore-point records
	TypeSession   ObjectType = 6 // backups under way
	TypeTombstone ObjectType = 7 // reserved for prune
	TypeLedger    ObjectType = 8 // reserved
	TypeMark      ObjectType = 9 // tags, pins and what was forgotten
	typeCount                = 10
)

var folders = [typeCount]string{
	TypeConfig: "", TypeKey: "keys/", TypePack: "packs/", TypeIndex: "index/", TypePoint: "points/",
	TypeSession: "sessions/", TypeTombstone: "tombstones/", TypeLedger: "ledger/", TypeMark: "marks/",
}

var purposes = [typeCount]keys.Purpose{
	TypeConfig: keys.Config, TypeKey: keys.Config, TypePack: keys.Packs, TypeIndex: keys.Index, TypePoint: keys.Points,
	TypeSession: keys.Sessions, TypeTombstone: keys.Tombstones, TypeLedger: keys.Ledger, TypeMark: keys.Marks,
}

// Folder is where objects of the type lie, with the slash at its end.
func (t ObjectType) Folder() string {
	if t >= typeCount {
		return ""
	}
	return folders[t]
}

// maxObject bounds an object that is not a pack: it is read whole.
const maxObject = 256 << 20

// fullName is an object's name at the destination.
func fullName(t ObjectType, name string) (string, error) {
	if t < TypeIndex || t >= typeCount {
		return "", fmt.Errorf("objects of type %d are not written by name", t)
	}
	full := folders[t] + name
	return full, destination.CheckName(full)
}

// PutObject creates an object: destination.ErrExists when the name is taken. The name may hold slashes
// (destination.CheckName); the payload is at most 256 MiB.
func (s *Store) PutObject(ctx context.Context, t ObjectType, name string, payload []byte) error {
	full, object, err := s.buildObject(t, name, payload)
	if err != nil {
		return err
	}
	if err := s.dest.Create(ctx, full, object); err != nil {
		return fmt.Errorf("put %s: %w", full, err)
	}
	return nil
}

// ReplaceObject writes an object over what was there, or creates it. A destination that cannot replace loses the old
// one for the time in between.
func (s *Store) ReplaceObject(ctx context.Context, t ObjectType, name string, payload []byte) error {
	full, object, err := s.buildObject(t, name, payload)
	if err != nil {
		return err
	}
	if err := s.replace(ctx, full, object); err != nil {
		return fmt.Errorf("replace %s: %w", full, err)
	}
	return nil
}

func (s *Store) replace(ctx context.Context, full string, object []byte) error {
	if r, ok := s.dest.(destination.Replacer); ok {
		return r.Replace(ctx, full, object)
	}
	if err := s.dest.Remove(ctx, full); err != nil && !errors.Is(err, destination.ErrNotFound) {
		return err
	}
	return s.dest.Create(ctx, full, object)
}

func (s *Store) buildObject(t ObjectType, name string, payload []byte) (full string, object []byte, err error) {
	full, err = fullName(t, name)
	if err != nil {
		return "", nil, err
	}
	sealed, err := s.sealObject(t, full, payload)
	if err != nil {
		return "", nil, fmt.Errorf("seal %s: %w", full, err)
	}
	return full, stripe.Encode(sealed, s.config.Shape, s.seed(full)), nil
}

// GetObject reads an object back: destination.ErrNotFound when there is none, *DamageError when it cannot be read,
// *VersionError when it is of a later format.
func (s *Store) GetObject(ctx context.Context, t ObjectType, name string) ([]byte, error) {
	full, err := fullName(t, name)
	if err != nil {
		return nil, err
	}
	sealed, err := readPayload(ctx, s.dest, full, s.seed(full), maxObject)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", full, err)
	}
	payload, err := s.openObject(t, full, sealed)
	if err != nil {
		var later *VersionError
		if errors.As(err, &later) {
			return nil, fmt.Errorf("get %s: %w", full, err)
		}
		return nil, &DamageError{Object: full, Err: err}
	}
	return payload, nil
}

// ListObjects lists the objects of a type, sorted, by their names without the folder.
func (s *Store) ListObjects(ctx context.Context, t ObjectType) ([]destination.Info, error) {
	if t < TypeKey || t >= typeCount {
		return nil, fmt.Errorf("objects of type %d are not listed", t)
	}
	var found []destination.Info
	err := s.dest.List(ctx, folders[t], func(i destination.Info) error {
		i.Name = i.Name[len(folders[t]):]
		found = append(found, i)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", folders[t], err)
	}
	slices.SortFunc(found, func(a, b destination.Info) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// RemoveObject deletes an object: destination.ErrNotFound when there is none.
func (s *Store) RemoveObject(ctx context.Context, t ObjectType, name string) error {
	full, err := fullName(t, name)
	if err != nil {
		return err
	}
	if err := s.dest.Remove(ctx, full); err != nil {
		return fmt.Errorf("remove %s: %w", full, err)
	}
	return nil
}

// smallObject is how much of an object is read at once instead of cell by cell: one request beats many.
const smallObject = 4 << 20

// readPayload reads and heals the whole payload of an object whose size is not known.
func readPayload(ctx context.Context, d destination.Destination, name string, seed uint64, limit int64) ([]byte, error) {
	info, err := destination.Stat(ctx, d, name)
	if err != nil {
		return nil, err
	}
	var r stripe.ReaderAt = object{d, name}
	if info.Size <= smallObject {
		whole := make([]byte, info.Size)
		n, err := d.ReadAt(ctx, name, whole, 0)
		switch {
		case err == nil || err == io.EOF:
			r = memory(whole[:n])
		case errors.Is(err, destination.ErrNotFound): // removed just now
			return nil, err
		}
	}
	layout, err := probe(ctx, r, name, info.Size, seed)
	if err != nil {
		return nil, err
	}
	if layout.Length > limit {
		return nil, &DamageError{Object: name, Err: fmt.Errorf("%w: %d bytes are more than such an object can have", ErrDamaged, layout.Length)}
	}
	payload := make([]byte, layout.Length)
	err = stripe.NewReader(stripe.OneObject(r, layout), layout, seed).ReadAt(ctx, payload, 0)
	if err != nil {
		return nil, damage(ctx, name, err)
	}
	return payload, nil
}

// probe finds an object's layout, or says how it is damaged.
func probe(ctx context.Context, r stripe.ReaderAt, name string, size int64, seed uint64) (stripe.Layout, error) {
	layout, err := stripe.Probe(ctx, r, size, seed)
	if err != nil {
		return stripe.Layout{}, damage(ctx, name, err)
	}
	return layout, nil
}

// damage turns the error of reading a stripe into a DamageError, unless it is the end of the context.
func damage(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var lost *stripe.LostError
	switch {
	case errors.Is(err, destination.ErrNotFound):
		return &DamageError{Object: name, Err: ErrMissing}
	case errors.As(err, &lost):
		return &DamageError{Object: name, Offset: lost.Offset, Length: lost.Length, Err: fmt.Errorf("%w beyond its parity", ErrDamaged)}
	case errors.Is(err, stripe.ErrNoCell):
		return &DamageError{Object: name, Err: fmt.Errorf("%w: %w", ErrDamaged, err)}
	}
	return fmt.Errorf("read %s: %w", name, err)
}

// object reads one object of a destination.
type object struct {
	dest destination.Destination
	name string
}

// ReadAt reads, and tells a missing object in the words of package stripe too.
func (o object) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := o.dest.ReadAt(ctx, o.name, p, off)
	if errors.Is(err, destination.ErrNotFound) {
		err = errors.Join(stripe.ErrMissing, err)
	}
	if errors.Is(err, destination.ErrUnavailable) {
		err = unavailable{err}
	}
	return n, err
}

// unavailable is destination.ErrUnavailable in the words of package stripe too.
type unavailable struct{ error }

func (u unavailable) Unwrap() error        { return u.error }
func (u unavailable) Is(target error) bool { return target == stripe.ErrUnavailable }

// memory is an object that was read whole.
type memory []byte

// ReadAt copies.
func (m memory) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
