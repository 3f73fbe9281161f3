package index

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// How a backup commits beside prunes, without a lock and without a clock that anybody has to trust.
//
// A backup creates sessions/<id>.commit, which names its tree, then reads tombstones and ledger once more, and creates
// its record only when nothing that it relies on is condemned. A prune creates its tombstone, then reads the .commit
// objects, then the records, and keeps what the trees of either refer to. Whichever came second sees the other: the
// backup finds the tombstone and stores the condemned chunks afresh, or the prune finds the tree.
//
// So that a prune need not disturb backups, it waits for those that were under way when its tombstone came. One that
// seems dead is barred: the prune creates the .commit object in its stead. Should it come back after all, it finds that
// and begins again.

const commitSuffix = ".commit"

// The first byte behind the format in a .commit object.
const (
	stateCommitting = 1
	stateBarred     = 2
)

var (
	// ErrBarred: the session seemed dead for so long that a prune has barred it. What it stored is there for the next.
	ErrBarred = errors.New("the session was given up for dead by a prune")
	errCommit = errors.New("not a valid commit object")
)

// CondemnedError: a prune has condemned packs that the backup relies on. The session goes on: what lay in them has to
// be stored again, and whatever refers to it be looked at again.
type CondemnedError struct {
	Packs int // how many
}

// Error gives the number.
func (e *CondemnedError) Error() string {
	return fmt.Sprintf("%d packs that the backup relies on were condemned by a prune meanwhile", e.Packs)
}

// encodeCommit makes the payload of a .commit object:
//
//	format (1), state (1): 1 committing, 2 barred
//	id of the root of the tree that is being committed (32), zero when barred
func encodeCommit(state byte, root chunkstore.ID) []byte {
	return append([]byte{graveFormat, state}, root[:]...)
}

func decodeCommit(payload []byte) (state byte, root chunkstore.ID, err error) {
	r, err := openGrave(payload)
	if err != nil {
		return 0, root, err
	}
	head := r.take(1)
	copy(root[:], r.take(len(root)))
	if r.endGrave() != nil || head[0] != stateCommitting && head[0] != stateBarred {
		return 0, root, errCommit
	}
	return head[0], root, nil
}

func (r *Repository) readCommit(ctx context.Context, session string) (state byte, root chunkstore.ID, err error) {
	payload, err := r.store.GetObject(ctx, chunkstore.TypeSession, session+commitSuffix)
	if err == nil {
		state, root, err = decodeCommit(payload)
	}
	if err != nil {
		return 0, root, fmt.Errorf("read sessions/%s%s: %w", session, commitSuffix, err)
	}
	return state, root, nil
}

// relied are the packs in which a session found what it refers to, and those that it wrote: 16 bytes each.
type relied struct{ packs sync.Map }

func (r *relied) add(id chunkstore.PackID) {
	if _, ok := r.packs.Load(id); !ok {
		r.packs.Store(id, struct{}{})
	}
}

// among counts the packs that may not be relied on any more. Frames that are lost do not count: they are no worse now than they were.
func (r *relied) among(u *unusable) (n int) {
	r.packs.Range(func(id, _ any) bool {
		if pack := id.(chunkstore.PackID); u.condemned.has(pack) || u.gone.has(pack) {
			n++
		}
		return true
	})
	return n
}

// known tells whether a chunk lies in a place that may be relied on, and notes the pack if so.
func (s *Session) known(id chunkstore.ID) (bool, error) {
	bad := s.bad.Load()
	for tries := 0; ; tries++ {
		found := false
		err := s.r.cache.Places(id, func(loc chunkstore.Location) bool {
			if !bad.reliable(loc) {
				return true
			}
			s.relied.add(loc.Pack)
			found = true
			return false
		})
		if err == nil || tries == 3 {
			return found, err
		}
		if _, _, err := s.r.Locate(id); err != nil { // makes a damaged cache again
			return false, err
		}
	}
}

// readGraves brings the session up to date with what may not be relied on.
func (s *Session) readGraves(ctx context.Context) error {
	bad, _, err := s.r.graves(ctx)
	if err != nil {
		return err
	}
	s.bad.Store(&bad)
	return nil
}

// declare announces that the session is about to commit a tree, and then looks whether it may: *CondemnedError when a
// prune came in between, and the session can go on; ErrBarred when it cannot.
func (s *Session) declare(ctx context.Context, root chunkstore.ID) error {
	name := s.mark.id + commitSuffix
	err := s.r.store.PutObject(ctx, chunkstore.TypeSession, name, encodeCommit(stateCommitting, root))
	if errors.Is(err, destination.ErrExists) {
		return ErrBarred
	}
	if err != nil {
		return fmt.Errorf("announce the commit: %w", err)
	}
	if err := s.readGraves(ctx); err != nil {
		return err
	}
	if n := s.relied.among(s.bad.Load()); n > 0 {
		if err := s.withdraw(ctx); err != nil {
			return err
		}
		return &CondemnedError{Packs: n}
	}
	return nil
}

// withdraw takes the announcement back.
func (s *Session) withdraw(ctx context.Context) error {
	err := s.r.store.RemoveObject(context.WithoutCancel(ctx), chunkstore.TypeSession, s.mark.id+commitSuffix)
	if err != nil && !errors.Is(err, destination.ErrNotFound) {
		return fmt.Errorf("take back the announcement of a commit: %w", err)
	}
	return nil
}

// again makes a session that was about to commit take chunks once more. What it stored so far is durable and listed.
func (s *Session) again() {
	s.relied.packs.Clear()
	s.claims.clear()
	s.openWriters()
	s.mu.Lock()
	s.ended = false
	s.mu.Unlock()
}
