package chunkstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/zeebo/blake3"

	"github.com/cairn-backup/cairn/chunkstore/chunker"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/frame"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// DefaultShape is the parity of packs when nothing else is asked for: any 2 of 12 shards may be lost.
var DefaultShape = stripe.Shape{Data: 10, Parity: 2}

// Store is one open repository. It is safe for concurrent use.
type Store struct {
	dest    destination.Destination
	config  Config
	master  keys.Master
	keys    [typeCount][32]byte // of each object type, from which each object's own is derived
	chunker *chunker.Chunker
	codec   *frame.Codec
	random  io.Reader
	hashers sync.Pool // of *blake3.Hasher, keyed for chunk ids

	packs   *openPacks
	frames  *frameCache
	buffers sync.Pool // of *[]byte, for sealed frames on their way to being opened
}

// InitOptions say what repository Init makes.
type InitOptions struct {
	Shape      stripe.Shape    // parity of packs; zero: DefaultShape
	Plain      bool            // no encryption
	Recipients []age.Recipient // one key slot each; at least one unless Plain
	Labels     []string        // of the slots, by position; may be shorter
	Random     io.Reader       // fit for keys; nil: crypto/rand
	Now        time.Time       // when the repository is made
}

// Init makes a repository at a destination that holds none: ErrRepositoryExists when there are objects of one, be it
// without its config. What Init wrote before an error is no repository.
func Init(ctx context.Context, d destination.Destination, o InitOptions) (*Store, error) {
	if o.Shape == (stripe.Shape{}) {
		o.Shape = DefaultShape
	}
	if err := o.Shape.Check(); err != nil {
		return nil, err
	}
	if !o.Plain && len(o.Recipients) == 0 {
		return nil, fmt.Errorf("make a repository: %w", ErrKeyNeeded)
	}
	if o.Random == nil {
		o.Random = rand.Reader
	} else {
		o.Random = &oneAtATime{r: o.Random}
	}
	if err := refuseExisting(ctx, d); err != nil {
		return nil, err
	}
	c := Config{Version: FormatVersion, Shape: o.Shape, Plain: o.Plain, Chunker: chunker.Default, Created: o.Now.UTC()}
	if _, err := io.ReadFull(o.Random, c.Repository[:]); err != nil {
		return nil, fmt.Errorf("draw the repository's id: %w", err)
	}
	master := keys.ForPlain(c.Repository)
	if !o.Plain {
		var err error
		if master, err = keys.New(o.Random); err != nil {
			return nil, err
		}
	}
	s, err := newStore(d, c, master, o.Random)
	if err != nil {
		return nil, err
	}
	// What is there now is of an Init that was interrupted: nothing else has slots and no config.
	left, err := ownSlots(ctx, d)
	if err != nil {
		return nil, err
	}
	// The slots come first: whoever finds a config finds what opens it. The config decides between two at once.
	made, err := s.firstSlots(ctx, o)
	taken := false
	if err == nil {
		taken, err = s.writeConfig(ctx)
	}
	switch {
	case err == nil:
		removeSlots(ctx, d, left) // one that stays is in nobody's way, but verify would call it damaged
		return s, nil
	case !taken:
		removeSlots(ctx, d, made)
	}
	return nil, err
}

// firstSlots makes a slot for each recipient, and gives the ids of those that it made.
func (s *Store) firstSlots(ctx context.Context, o InitOptions) (made []string, err error) {
	for i, r := range o.Recipients {
		if o.Plain {
			break
		}
		label := ""
		if i < len(o.Labels) {
			label = o.Labels[i]
		}
		slot, err := s.AddSlot(ctx, r, label, o.Now)
		if err != nil {
			return made, err
		}
		made = append(made, slot.ID)
	}
	return made, nil
}

// oneAtATime lets many goroutines read from a reader that was not made for it.
type oneAtATime struct {
	mu sync.Mutex
	r  io.Reader
}

// Read reads alone.
func (o *oneAtATime) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.r.Read(p)
}

// removeSlots removes slots of no repository, as far as it can.
func removeSlots(ctx context.Context, d destination.Destination, ids []string) {
	for _, id := range ids {
		_ = d.Remove(context.WithoutCancel(ctx), folders[TypeKey]+id)
	}
}

// writeConfig creates the config and its spare. When it fails it takes its config back; taken says that this failed too,
// or that nobody can tell, so that the slots must stay.
func (s *Store) writeConfig(ctx context.Context) (taken bool, err error) {
	payload, err := encodeConfig(s.config, s.master)
	if err != nil {
		return false, err
	}
	object := stripe.Encode(payload, configShape(s.config.Shape), configSeed())
	err = s.dest.Create(ctx, configName, object)
	switch {
	case errors.Is(err, destination.ErrExists):
		return false, ErrRepositoryExists
	case err != nil:
		return !s.withdrawConfig(ctx, object), fmt.Errorf("write the config: %w", err)
	}
	// From here on there is a repository: an interruption comes too late.
	ctx = context.WithoutCancel(ctx)
	if err := s.dest.Create(ctx, spareName, object); err != nil && !errors.Is(err, destination.ErrExists) {
		return !s.withdrawConfig(ctx, object), fmt.Errorf("write the spare config: %w", err)
	}
	return false, nil
}

// withdrawConfig removes the config if it is this one, and tells whether it is surely not there.
func (s *Store) withdrawConfig(ctx context.Context, object []byte) bool {
	ctx = context.WithoutCancel(ctx)
	there := make([]byte, len(object))
	_, err := s.dest.ReadAt(ctx, configName, there, 0)
	switch {
	case errors.Is(err, destination.ErrNotFound):
		return true
	case err != nil && err != io.EOF:
		return false
	case !bytes.Equal(there, object): // another's
		return true
	}
	err = s.dest.Remove(ctx, configName)
	return err == nil || errors.Is(err, destination.ErrNotFound)
}

// refuseExisting returns ErrRepositoryExists when the destination holds a config, or packs or records without one:
// a second config would make them unreadable for ever. (Slots alone are what an interrupted Init leaves.)
func refuseExisting(ctx context.Context, d destination.Destination) error {
	for _, prefix := range []string{configName, spareName, folders[TypePack], folders[TypeIndex], folders[TypePoint]} {
		err := d.List(ctx, prefix, func(i destination.Info) error {
			if prefix == configName && i.Name != configName {
				return nil
			}
			return ErrRepositoryExists
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Open opens the repository at a destination: ErrNoRepository when there is none, keys.ErrWrongKey when no slot opens,
// *VersionError when it is of a later format. u is what opens an encrypted repository, and nil for one without
// encryption: whoever holds the storage can put a repository without encryption in the place of an encrypted one, and
// backups would go there for all to read, so a key for a repository that needs none is ErrKeyNotNeeded.
func Open(ctx context.Context, d destination.Destination, u keys.Unlocker) (*Store, error) {
	c, payload, err := readConfig(ctx, d)
	if err != nil {
		return nil, err
	}
	master := keys.ForPlain(c.Repository)
	switch {
	case c.Plain && u != nil:
		return nil, ErrKeyNotNeeded
	case !c.Plain:
		if u == nil {
			return nil, ErrKeyNeeded
		}
		identities, err := u.Identities()
		if err != nil {
			return nil, err
		}
		if master, err = unlock(ctx, d, c, identities); err != nil {
			return nil, err
		}
	}
	if err := checkConfig(payload, master); err != nil {
		return nil, err
	}
	return newStore(d, c, master, rand.Reader)
}

// frameCodec is one for all stores: it bounds how much compresses at once in this process, and its tables are large.
var frameCodec = sync.OnceValue(func() *frame.Codec { return frame.New(0) })

// newStore derives what a store works with.
func newStore(d destination.Destination, c Config, master keys.Master, random io.Reader) (*Store, error) {
	ch, err := chunker.New(master.Derive(keys.Chunker), c.Chunker)
	if err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	s := &Store{dest: d, config: c, master: master, chunker: ch, codec: frameCodec(), random: random}
	for t, purpose := range purposes {
		s.keys[t] = master.Derive(purpose)
	}
	ids := master.Derive(keys.ChunkIDs)
	s.hashers.New = func() any {
		h, err := blake3.NewKeyed(ids[:])
		if err != nil { // a key that is not of 32 bytes, which the type rules out
			h = blake3.New()
		}
		return h
	}
	s.buffers.New = func() any { return new([]byte) }
	s.packs = newOpenPacks(s)
	s.frames = newFrameCache(DefaultFrameCache)
	return s, nil
}

// Close lets go of what the destination keeps open. Nothing may use the store afterwards.
func (s *Store) Close() error {
	if c, ok := s.dest.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Config tells what the repository is.
func (s *Store) Config() Config { return s.config }

// Destination is where the repository lies.
func (s *Store) Destination() destination.Destination { return s.dest }

// Chunker cuts data into chunks, at places that only this repository's key can tell.
func (s *Store) Chunker() *chunker.Chunker { return s.chunker }

// ChunkID names a chunk: keyed BLAKE3, which needs the repository's key.
func (s *Store) ChunkID(data []byte) ID {
	var id ID
	h := s.hashers.Get().(*blake3.Hasher)
	h.Reset()
	h.Write(data)
	h.Sum(id[:0])
	s.hashers.Put(h)
	return id
}
