package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/index/locator"
)

// Pruner is a prune under way: it finds out which packs nobody needs, condemns them, and deletes what was condemned once
// no backup can rely on it any more. It needs no lock: any number of prunes, backups and readers may run beside it, and
// it may stop at any point for any time; barring.go and graves.go say why. What to condemn is for the caller to decide.
type Pruner struct {
	r     *Repository
	s     *Session // its marker; nil when nothing may be written
	reach *reach
}

// PackUse is what a survey found of one pack.
type PackUse struct {
	ID       chunkstore.PackID
	Kind     chunkstore.Kind
	Size     int64 // of the object, bytes
	Live     int64 // bytes of chunks that are needed here, before compression
	Dead     int64 // bytes of the others
	Listed   bool  // an index object lists it
	Young    bool  // a backup that runs may have written it
	Resting  bool  // condemned already
	modified time.Time
}

// Survey is how a repository's packs are used.
type Survey struct {
	Points  int // restore points
	Chunks  int // that they need
	Missing int // of them, in no pack that is there
	Packs   []PackUse
}

// BeginPrune starts a prune. With readOnly it can only survey.
func (r *Repository) BeginPrune(ctx context.Context, o SessionOptions, readOnly bool) (*Pruner, error) {
	p := &Pruner{r: r}
	if readOnly {
		return p, r.Refresh(ctx)
	}
	o.Source, o.prune = "prune", true
	s, err := r.Begin(ctx, o)
	if err != nil {
		return nil, err
	}
	p.s = s
	return p, nil
}

// End ends the prune, which may go on some other time.
func (p *Pruner) End(ctx context.Context) error {
	if p.reach != nil {
		p.reach.snap.Close()
		p.reach = nil
	}
	if p.s == nil {
		return nil
	}
	return p.s.Abort(ctx)
}

// Survey looks at what is used of all packs. *UnreadableError when a tree cannot be read, *chunkstore.DamageError and
// others when a restore point's record cannot: then nobody can tell what is in use.
func (p *Pruner) Survey(ctx context.Context) (*Survey, error) {
	v, err := p.look(ctx)
	if err != nil {
		return nil, err
	}
	s := &Survey{Points: v.points, Chunks: v.chunks, Missing: v.missing}
	sessions, err := p.r.sessions(ctx)
	if err != nil {
		return nil, err
	}
	oldest := time.Time{}
	for id, m := range sessions {
		if len(m.markers) > 0 && !m.expired && (p.s == nil || id != p.s.mark.id) && (oldest.IsZero() || m.begun.Before(oldest)) {
			oldest = m.begun
		}
	}
	for _, u := range v.packs {
		u.Young = !oldest.IsZero() && !u.modified.Before(oldest)
		s.Packs = append(s.Packs, *u)
	}
	slices.SortFunc(s.Packs, func(a, b PackUse) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return s, nil
}

// view is the repository as one look at it showed it. Every reading came after the one before: what was buried, what
// backups were about to commit, the restore points, the index, the packs.
type view struct {
	bad     unusable
	stones  []tombstone
	points  int
	chunks  int
	missing int
	packs   map[chunkstore.PackID]*PackUse // that are there
	needed  packSet                        // condemned, or with places that are lost, and yet the only ones to have a chunk
}

// lookTries is how often everything is read again because a tree could not be read: its restore point may have been
// forgotten, and what it alone needed deleted, since it was listed.
const lookTries = 3

// look reads everything and marks what is in use.
func (p *Pruner) look(ctx context.Context) (*view, error) {
	for try := 1; ; try++ {
		v, err := p.lookOnce(ctx)
		if err == nil {
			return v, nil
		}
		if p.reach != nil { // what it has marked, it has perhaps not walked through
			p.reach.snap.Close()
			p.reach = nil
		}
		var unreadable *UnreadableError
		if !errors.As(err, &unreadable) || try == lookTries || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (p *Pruner) lookOnce(ctx context.Context) (*view, error) {
	v := &view{packs: make(map[chunkstore.PackID]*PackUse), needed: make(packSet)}
	var err error
	if v.bad, v.stones, err = p.r.graves(ctx); err != nil {
		return nil, err
	}
	committing, err := p.r.committing(ctx)
	if err != nil {
		return nil, err
	}
	roots, err := p.r.roots(ctx)
	if err != nil {
		return nil, err
	}
	v.points = len(roots)
	if err := p.r.Refresh(ctx); err != nil {
		return nil, err
	}
	if err := p.snapshot(ctx, v.bad); err != nil {
		return nil, err
	}
	if err := p.reach.walk(ctx, roots, false); err != nil {
		return nil, err
	}
	// A tree of which something is missing from the index was never going to be committed: its backup will find that.
	if err := p.reach.walk(ctx, committing, true); err != nil {
		return nil, err
	}
	if err := p.listPacks(ctx, v); err != nil {
		return nil, err
	}
	return v, p.count(ctx, v)
}

// snapshot takes a snapshot of the cache and carries over what was marked in the one before.
func (p *Pruner) snapshot(ctx context.Context, bad unusable) error {
	var snap *locator.Snapshot
	for tries := 0; ; tries++ {
		var err error
		if snap, err = p.r.cache.Snapshot(ctx); err == nil {
			break
		}
		corrupt := locator.IsCorrupt(err)
		if corrupt == nil || tries == 3 {
			return err
		}
		p.r.cache.Discard(corrupt)
		if err := p.r.Refresh(ctx); err != nil {
			return err
		}
	}
	old := p.reach
	p.reach = p.r.newReach(snap, bad)
	if old == nil {
		return nil
	}
	defer old.snap.Close()
	if len(old.missing) > 0 {
		return nil
	}
	carried, err := old.carry(ctx, snap, bad)
	if err == nil {
		p.reach = carried
	}
	return err
}

// listPacks enters the packs that are there.
func (p *Pruner) listPacks(ctx context.Context, v *view) error {
	err := p.r.store.Destination().List(ctx, chunkstore.TypePack.Folder(), func(info destination.Info) error {
		if id, ok := chunkstore.ParsePackID(info.Name); ok && !v.bad.gone.has(id) {
			v.packs[id] = &PackUse{ID: id, Size: info.Size, modified: info.Modified, Resting: v.bad.condemned.has(id)}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list packs: %w", err)
	}
	return nil
}

// count adds up what is in use of each pack. A chunk that lies in several packs that may be relied on is needed in one
// of them. One that lies in none is needed wherever it lies: so that of two prunes that each condemn one of two copies,
// neither takes the other's for granted.
func (p *Pruner) count(ctx context.Context, v *view) error {
	records := p.reach.snap.Packs()
	uses := make([]*PackUse, len(records))
	whole := make([]bool, len(records)) // there, and as long as it should be
	for i, rec := range records {
		if u := v.packs[rec.ID]; u != nil {
			u.Kind, u.Listed = rec.Kind, true
			uses[i], whole[i] = u, rec.Size == u.Size && !u.Resting
		}
	}
	v.missing = len(p.reach.missing)
	return p.reach.snap.Chunks(ctx, func(_ chunkstore.ID, places []locator.Place) error {
		keeper := -1
		reached := p.reach.has(places[0].Number)
		there := false
		if reached {
			v.chunks++
			for i, at := range places {
				id := records[at.Pack].ID
				if uses[at.Pack] == nil {
					continue
				}
				there = true
				if whole[at.Pack] && !v.bad.lostAt(id, at.Offset) &&
					(keeper < 0 || slices.Compare(id[:], records[places[keeper].Pack].ID[:]) < 0) {
					keeper = i
				}
			}
			if !there {
				v.missing++
			}
		}
		for i, at := range places {
			u := uses[at.Pack]
			switch {
			case u == nil:
			case reached && (i == keeper || keeper < 0):
				u.Live += int64(at.Length)
				v.needed.add(u.ID)
			default:
				u.Dead += int64(at.Length)
			}
		}
		return nil
	})
}

// roots reads the records of all restore points, none from memory, and gives the roots of their trees.
func (r *Repository) roots(ctx context.Context) ([]chunkstore.ID, error) {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypePoint)
	if err != nil {
		return nil, fmt.Errorf("list restore points: %w", err)
	}
	roots := make([]chunkstore.ID, len(listed))
	g, fetch := errgroup.WithContext(ctx)
	g.SetLimit(fetchers)
	for i, info := range listed {
		if _, ok := parseRecordName(info.Name); !ok {
			continue
		}
		g.Go(func() error {
			point, err := readPoint(fetch, r.store, info.Name)
			switch {
			case errors.Is(err, destination.ErrNotFound): // forgotten since it was listed
			case err != nil:
				return fmt.Errorf("read restore point record %s, without which nobody can tell what is in use: %w", info.Name, err)
			default:
				roots[i] = point.Root.ID
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(roots, chunkstore.ID.IsZero), nil
}

// committing gives the roots of the trees that backups are about to commit.
func (r *Repository) committing(ctx context.Context) ([]chunkstore.ID, error) {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeSession)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	var roots []chunkstore.ID
	for _, info := range listed {
		id, ok := strings.CutSuffix(info.Name, commitSuffix)
		if !ok || !isRandomName(id) {
			continue
		}
		state, root, err := r.readCommit(ctx, id)
		switch {
		case errors.Is(err, destination.ErrNotFound): // done: its record is there, if it made one
		case err != nil:
			return nil, err
		case state == stateCommitting:
			roots = append(roots, root)
		}
	}
	return roots, nil
}

// lived is what the objects of one session say.
type lived struct {
	markers  []string
	commit   bool
	prune    bool
	expired  bool
	begun    time.Time // by the destination's clock
	modified time.Time // likewise, of whatever of it is the newest
}

// sessions reads which sessions there are: those that run, those that died, and those that are barred.
func (r *Repository) sessions(ctx context.Context) (map[string]*lived, error) {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeSession)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	now, err := r.destinationNow(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]*lived)
	for _, info := range listed {
		id, isCommit := strings.CutSuffix(info.Name, commitSuffix)
		if !isCommit {
			id, _, _ = strings.Cut(info.Name, "-")
		}
		if !isRandomName(id) {
			continue
		}
		m := all[id]
		if m == nil {
			m = &lived{begun: info.Modified}
			all[id] = m
		}
		if info.Modified.After(m.modified) {
			m.modified = info.Modified
		}
		if isCommit {
			m.commit = true
			continue
		}
		m.markers = append(m.markers, info.Name)
		payload, err := r.store.GetObject(ctx, chunkstore.TypeSession, info.Name)
		var content marker
		if err == nil {
			content, err = decodeMarker(payload)
		}
		if err != nil { // ended meanwhile, or damaged: then it counts as a backup
			continue
		}
		m.prune = content.Prune
		if !content.Begun.IsZero() && content.Begun.Before(m.begun) {
			m.begun = content.Begun
		}
	}
	for _, m := range all {
		m.expired = now.Sub(m.modified) > SessionExpiry
	}
	return all, nil
}
