package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// What a prune leaves for others to see, all of it created and never changed:
//
//	tombstones/<name>           packs that are condemned: nobody may rely on them from now on
//	tombstones/<name>.sessions  the sessions that were under way once it was there
//	ledger/<name>               what became of them: which packs are gone (the rest is reprieved), and which index
//	                            objects were written afresh because they listed packs that are gone
//	ledger/<other name>         places that cannot be read any more, as repair found them
//
// A ledger object is created before the tombstone of its name is removed, so whoever reads tombstones first and the
// ledger after sees a pack in one or the other for as long as it may go.

// graveFormat is the first byte of the payloads of tombstones and of the ledger.
const graveFormat = 1

const sessionsSuffix = ".sessions"

var errGrave = errors.New("not a valid tombstone or ledger object")

// LostPlaces are places of one pack that cannot be read any more.
type LostPlaces struct {
	Pack   chunkstore.PackID
	Whole  bool     // nothing of it can be read
	Frames []uint32 // offsets of frames, rising; without Whole
}

// entryOfLedger is one ledger object.
type entryOfLedger struct {
	gone     []chunkstore.PackID
	replaced [][16]byte // names of index objects
	lost     []LostPlaces
}

// encodeIDs makes the payload of a tombstone or of its list of sessions:
//
//	format (1)
//	number of ids (uvarint), the ids (16 each)
func encodeIDs[T ~[16]byte](ids []T) []byte {
	b := make([]byte, 0, 1+binary.MaxVarintLen64+16*len(ids))
	return appendIDs(append(b, graveFormat), ids)
}

func appendIDs[T ~[16]byte](b []byte, ids []T) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return b
}

func decodeIDs[T ~[16]byte](payload []byte) ([]T, error) {
	r, err := openGrave(payload)
	if err != nil {
		return nil, err
	}
	ids := takeIDs[T](r)
	return ids, r.endGrave()
}

func openGrave(payload []byte) (*listingReader, error) {
	r := &listingReader{b: payload}
	v := r.take(1)
	if r.bad {
		return nil, errGrave
	}
	if v[0] != graveFormat {
		return nil, &chunkstore.VersionError{Found: int(v[0]), Known: graveFormat}
	}
	return r, nil
}

func (r *listingReader) endGrave() error {
	if r.bad || len(r.b) > 0 {
		return errGrave
	}
	return nil
}

func takeIDs[T ~[16]byte](r *listingReader) []T {
	n := r.count(16)
	raw := r.take(16 * n)
	if r.bad || n == 0 {
		return nil
	}
	ids := make([]T, n)
	for i := range ids {
		ids[i] = T(raw[16*i:])
	}
	return ids
}

// encodeLedger makes the payload of a ledger object:
//
//	format (1)
//	packs that are gone: number (uvarint), ids (16 each)
//	index objects that were written afresh: number (uvarint), names (16 each, the bytes of the hexadecimal)
//	packs of which something is lost: number (uvarint); of each: id (16), number of frames + 1 (uvarint; 0: all of it),
//	    of each frame, rising: bytes from the offset before (uvarint)
func encodeLedger(e entryOfLedger) []byte {
	b := appendIDs([]byte{graveFormat}, e.gone)
	b = appendIDs(b, e.replaced)
	b = binary.AppendUvarint(b, uint64(len(e.lost)))
	for _, l := range e.lost {
		b = append(b, l.Pack[:]...)
		if l.Whole {
			b = binary.AppendUvarint(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(l.Frames))+1)
		before := uint32(0)
		for _, f := range l.Frames {
			b = binary.AppendUvarint(b, uint64(f-before))
			before = f
		}
	}
	return b
}

func decodeLedger(payload []byte) (entryOfLedger, error) {
	r, err := openGrave(payload)
	if err != nil {
		return entryOfLedger{}, err
	}
	e := entryOfLedger{gone: takeIDs[chunkstore.PackID](r), replaced: takeIDs[[16]byte](r)}
	for range r.count(17) {
		var l LostPlaces
		copy(l.Pack[:], r.take(len(l.Pack)))
		n := r.uvarint(uint64(len(r.b)) + 1)
		if l.Whole = n == 0; !l.Whole && !r.bad {
			l.Frames = make([]uint32, 0, n-1)
			at := uint64(0)
			for range n - 1 {
				at += r.uvarint(math.MaxUint32)
				if at > math.MaxUint32 {
					r.bad = true
					break
				}
				l.Frames = append(l.Frames, uint32(at))
			}
		}
		if r.bad {
			break
		}
		e.lost = append(e.lost, l)
	}
	return e, r.endGrave()
}

// ledger is what was read of the ledger. Its objects never change, so each is read once.
type ledger struct {
	mu       sync.Mutex
	read     map[string]struct{}
	gone     packSet
	replaced map[string]struct{} // names of index objects
	lost     map[chunkstore.PackID]*LostPlaces
}

type packSet map[chunkstore.PackID]struct{}

func (s packSet) has(id chunkstore.PackID) bool {
	_, ok := s[id]
	return ok
}

func (s packSet) add(ids ...chunkstore.PackID) {
	for _, id := range ids {
		s[id] = struct{}{}
	}
}

// refreshLedger reads what is new in the ledger.
func (r *Repository) refreshLedger(ctx context.Context) error {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeLedger)
	if err != nil {
		return fmt.Errorf("list the ledger: %w", err)
	}
	for _, info := range listed {
		r.ledger.mu.Lock()
		_, known := r.ledger.read[info.Name]
		r.ledger.mu.Unlock()
		if known || !isRandomName(info.Name) {
			continue
		}
		if _, err := r.readLedger(ctx, info.Name); err != nil {
			return err
		}
	}
	return nil
}

// readLedger reads one object of the ledger and takes it in.
func (r *Repository) readLedger(ctx context.Context, name string) (entryOfLedger, error) {
	payload, err := r.store.GetObject(ctx, chunkstore.TypeLedger, name)
	var e entryOfLedger
	if err == nil {
		e, err = decodeLedger(payload)
	}
	if err != nil {
		return e, fmt.Errorf("read what an earlier prune did (ledger/%s): %w", name, err)
	}
	r.ledger.take(name, e)
	return e, nil
}

func (l *ledger) take(name string, e entryOfLedger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read == nil {
		l.read, l.replaced = make(map[string]struct{}), make(map[string]struct{})
	}
	l.read[name] = struct{}{}
	for _, n := range e.replaced {
		l.replaced[fmt.Sprintf("%x", n)] = struct{}{}
	}
	// Sets that others hold are never changed, but replaced.
	if len(e.gone) > 0 {
		gone := make(packSet, len(l.gone)+len(e.gone))
		for id := range l.gone {
			gone.add(id)
		}
		gone.add(e.gone...)
		l.gone = gone
	}
	if len(e.lost) > 0 {
		lost := make(map[chunkstore.PackID]*LostPlaces, len(l.lost)+len(e.lost))
		for id, p := range l.lost {
			lost[id] = p
		}
		for i := range e.lost {
			lost[e.lost[i].Pack] = lost[e.lost[i].Pack].with(e.lost[i])
		}
		l.lost = lost
	}
}

// unusable are the places that nobody may rely on: all maps may be nil, and none changes.
type unusable struct {
	condemned, gone packSet
	lost            map[chunkstore.PackID]*LostPlaces
}

func (l *ledger) unusable() unusable {
	l.mu.Lock()
	defer l.mu.Unlock()
	return unusable{gone: l.gone, lost: l.lost}
}

// wasReplaced tells whether an index object went because a prune wrote it afresh.
func (l *ledger) wasReplaced(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.replaced[name]
	return ok
}

// reliable tells whether a chunk at a place may be relied on.
func (u *unusable) reliable(loc chunkstore.Location) bool {
	return !u.condemned.has(loc.Pack) && !u.gone.has(loc.Pack) && !u.lostAt(loc.Pack, loc.Offset)
}

func (u *unusable) lostAt(pack chunkstore.PackID, offset uint32) bool {
	return len(u.lost) > 0 && u.lost[pack].has(offset)
}

// tombstone is a tombstone as it was read.
type tombstone struct {
	name  string
	packs []chunkstore.PackID
}

// tombstones reads all tombstones. One that cannot be read is an error: what it condemns may go any moment.
func (r *Repository) tombstones(ctx context.Context) ([]tombstone, error) {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeTombstone)
	if err != nil {
		return nil, fmt.Errorf("list tombstones: %w", err)
	}
	var all []tombstone
	for _, info := range listed {
		if !isRandomName(info.Name) {
			continue
		}
		packs, err := r.readIDs(ctx, info.Name)
		if errors.Is(err, destination.ErrNotFound) {
			continue // done with; the ledger has it
		}
		if err != nil {
			return nil, fmt.Errorf("read what a prune has condemned (tombstones/%s): %w", info.Name, err)
		}
		all = append(all, tombstone{info.Name, packs})
	}
	return all, nil
}

func (r *Repository) readIDs(ctx context.Context, name string) ([]chunkstore.PackID, error) {
	payload, err := r.store.GetObject(ctx, chunkstore.TypeTombstone, name)
	if err != nil {
		return nil, err
	}
	return decodeIDs[chunkstore.PackID](payload)
}

// graves reads what may not be relied on: the tombstones first and the ledger after, see above.
func (r *Repository) graves(ctx context.Context) (unusable, []tombstone, error) {
	stones, err := r.tombstones(ctx)
	if err != nil {
		return unusable{}, nil, err
	}
	if err := r.refreshLedger(ctx); err != nil {
		return unusable{}, nil, err
	}
	u := r.ledger.unusable()
	u.condemned = make(packSet)
	for _, t := range stones {
		u.condemned.add(t.packs...)
	}
	return u, stones, nil
}

// Pruned tells whether a pack that was listed before has been deleted by a prune since, which is no damage.
func (r *Repository) Pruned(ctx context.Context, id chunkstore.PackID) (bool, error) {
	if r.ledger.unusable().gone.has(id) {
		return true, nil
	}
	err := r.refreshLedger(ctx)
	return r.ledger.unusable().gone.has(id), err
}

// graveName tells whether a name in the folder of tombstones is one of ours.
func graveName(name string) bool { return isRandomName(strings.TrimSuffix(name, sessionsSuffix)) }
