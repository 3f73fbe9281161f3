package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
)

// Records of restore points never change, so what is said of a point later (tags, a pin, that it is forgotten) rests
// beside them, in a log: marks/1, marks/2 and so on. Each object of the log holds the whole state, and the one with the
// highest number counts. A change reads it and creates the next number, which succeeds for one writer alone; the others
// read again and think again. So two hosts that tag at once lose nothing, a pin and a forgetting of the same point
// exclude each other, and two forgettings cannot each leave the point that the other takes.

// keptMarks is how many older objects of the log stay, for the case that the newest is damaged.
const keptMarks = 4

// ErrForgotten: the restore point was forgotten meanwhile.
var ErrForgotten = errors.New("the restore point has been forgotten")

// MarksError: the newest state of the marks cannot be read, so that pins may be unknown. What was said before it is
// known. The next change of a tag or a pin writes the state afresh, from what is known.
type MarksError struct {
	Names []string // objects that cannot be read, the newest first
	Err   error    // why not, of all of them
}

// Error names the objects.
func (e *MarksError) Error() string {
	return fmt.Sprintf("pins and tags that were set last cannot be read (%s): %v", strings.Join(e.Names, ", "), e.Err)
}

// Unwrap returns the cause.
func (e *MarksError) Unwrap() error { return e.Err }

// identity tells a restore point from any other, also from one that would get its number again.
type identity struct {
	sequence uint64
	source   string
	name     string
	root     chunkstore.ID
}

func identityOf(p *Point) identity {
	return identity{sequence: p.Sequence, source: p.Source, name: p.Name, root: p.Root.ID}
}

// mark is what holds for one point in place of what its record says.
type mark struct {
	tags   []string
	pinned bool
}

// marks are the state after one object of the log.
type marks struct {
	number    uint64 // of the object; 0 when there is none
	points    map[identity]mark
	going     []identity // forgotten, but their records may still be there
	forgotten spans      // numbers of all points that were ever forgotten
}

// clone copies the state so that it can be changed.
func (m *marks) clone() *marks {
	return &marks{number: m.number, points: maps.Clone(m.points), going: slices.Clone(m.going), forgotten: slices.Clone(m.forgotten)}
}

// set marks a point.
func (m *marks) set(id identity, v mark) {
	if m.points == nil {
		m.points = make(map[identity]mark)
	}
	m.points[id] = v
}

// forget enters that a point is forgotten.
func (m *marks) forget(id identity) {
	delete(m.points, id)
	m.going = append(m.going, id)
	m.forgotten = m.forgotten.with(id.sequence)
}

// apply gives the points as they are with their marks; those that are forgotten are left out.
func (m *marks) apply(points []*Point) []*Point {
	all := make([]*Point, 0, len(points))
	for _, p := range points {
		id := identityOf(p)
		if slices.Contains(m.going, id) {
			continue
		}
		if v, ok := m.points[id]; ok {
			marked := *p
			marked.Tags, marked.Pinned = v.tags, v.pinned
			p = &marked
		}
		all = append(all, p)
	}
	return all
}

// span is a range of sequence numbers, both ends included.
type span [2]uint64

// spans are ranges that rise and do not touch. There is about one for each restore point that is kept.
type spans []span

// search finds the span that holds n or would come after it.
func (s spans) search(n uint64) int {
	i, _ := slices.BinarySearchFunc(s, n, func(v span, n uint64) int { return cmp.Compare(v[1], n) })
	return i
}

func (s spans) contain(n uint64) bool {
	i := s.search(n)
	return i < len(s) && s[i][0] <= n
}

// with gives the spans with one number more.
func (s spans) with(n uint64) spans {
	if s.contain(n) {
		return s
	}
	i := s.search(n)
	before := i > 0 && s[i-1][1]+1 == n
	after := i < len(s) && n+1 == s[i][0]
	s = slices.Clone(s)
	switch {
	case before && after:
		s[i-1][1] = s[i][1]
		return slices.Delete(s, i, i+1)
	case before:
		s[i-1][1] = n
	case after:
		s[i][0] = n
	default:
		return slices.Insert(s, i, span{n, n})
	}
	return s
}

// last is the highest number, 0 when there is none.
func (s spans) last() uint64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1][1]
}

// markLog is the newest state that was read: an object of the log never changes.
type markLog struct {
	mu     sync.Mutex
	newest *marks
}

// markTries is how often the log is listed again at most because what it listed was gone by then.
const markTries = 20

// loadMarks reads the newest state. With a *MarksError the state is an older one; listed are the numbers of the objects
// of the log, rising. With any other error there is no state.
func (r *Repository) loadMarks(ctx context.Context) (m *marks, listed []uint64, err error) {
	for range markTries {
		if listed, err = r.listMarks(ctx); err != nil {
			return nil, nil, err
		}
		m, err = r.newestMarks(ctx, listed)
		if !errors.Is(err, destination.ErrNotFound) {
			return m, listed, err
		}
		// A newer one came, and this one went.
	}
	return nil, nil, err
}

// newestMarks reads the newest state that can be read. An object that is gone is an error of its own.
func (r *Repository) newestMarks(ctx context.Context, listed []uint64) (*marks, error) {
	var broken *MarksError
	for _, n := range slices.Backward(listed) {
		m, err := r.readMarks(ctx, n)
		var damage *chunkstore.DamageError
		switch {
		case err == nil && broken == nil:
			return m, nil
		case err == nil:
			return m, broken
		case errors.As(err, &damage), errors.Is(err, errMarks):
			if broken == nil {
				broken = &MarksError{}
			}
			broken.Names = append(broken.Names, chunkstore.TypeMark.Folder()+recordName(n))
			broken.Err = errors.Join(broken.Err, err)
		default:
			return nil, fmt.Errorf("read tags and pins: %w", err)
		}
	}
	if broken != nil {
		return &marks{}, broken
	}
	return &marks{}, nil
}

// listMarks lists the numbers of the objects of the log, rising.
func (r *Repository) listMarks(ctx context.Context) ([]uint64, error) {
	listed, err := r.store.ListObjects(ctx, chunkstore.TypeMark)
	if err != nil {
		return nil, fmt.Errorf("list tags and pins: %w", err)
	}
	var numbers []uint64
	newest := uint64(0)
	for _, info := range listed { // sorted by name, and so by number
		if n, ok := parseRecordName(info.Name); ok && n > 0 {
			numbers = append(numbers, n)
			newest = n
		}
	}
	r.seen.marksAre(newest)
	return numbers, nil
}

func (r *Repository) readMarks(ctx context.Context, n uint64) (*marks, error) {
	r.marks.mu.Lock()
	known := r.marks.newest
	r.marks.mu.Unlock()
	if known != nil && known.number == n {
		return known, nil
	}
	payload, err := r.store.GetObject(ctx, chunkstore.TypeMark, recordName(n))
	if err != nil {
		return nil, err
	}
	m, err := decodeMarks(payload)
	if err != nil {
		return nil, err
	}
	if m.number != n {
		return nil, fmt.Errorf("%w: they say that they are number %d", errMarks, m.number)
	}
	r.marks.mu.Lock()
	defer r.marks.mu.Unlock()
	if r.marks.newest == nil || r.marks.newest.number < n {
		r.marks.newest = m
	}
	return m, nil
}

// Marked is Points with the tags and pins that were set since, and without the points that are forgotten but whose
// records are still there. A *MarksError is among the errors when pins may be missing.
func (r *Repository) Marked(ctx context.Context) ([]*Point, error) {
	m, _, broken := r.loadMarks(ctx)
	if m == nil {
		m = &marks{}
	}
	points, err := r.Points(ctx)
	if points == nil {
		return nil, err
	}
	return m.apply(points), errors.Join(err, broken)
}

// errNoChange ends a change that has nothing to do.
var errNoChange = errors.New("nothing to change")

// change makes the next state of the log. edit gets a copy of the newest state to work on and the restore points as
// their records say; it may be called again when somebody else was faster, and must then find its own change, which
// the other built upon, well and good (errNoChange). When the newest state is unreadable, edit works on an older one if
// afresh is set, and there is a *MarksError otherwise.
func (r *Repository) change(ctx context.Context, afresh bool, edit func(m *marks, points []*Point) error) error {
	for {
		m, listed, err := r.loadMarks(ctx)
		var broken *MarksError
		if err != nil && !(afresh && errors.As(err, &broken)) {
			return err
		}
		points, err := r.Points(ctx) // after the log: a point that it knows and that is not there is gone
		if points == nil || ctx.Err() != nil {
			return err
		}
		if err != nil {
			r.o.Warn(err)
		}
		next := m.clone()
		next.number = 1
		if len(listed) > 0 {
			next.number = listed[len(listed)-1] + 1
		}
		if err := edit(next, points); errors.Is(err, errNoChange) && broken == nil {
			return nil
		} else if err != nil && !errors.Is(err, errNoChange) {
			return err
		}
		next.going = slices.DeleteFunc(next.going, func(id identity) bool {
			return !slices.ContainsFunc(points, func(p *Point) bool { return identityOf(p) == id })
		})
		payload, err := encodeMarks(next)
		if err != nil {
			return err
		}
		err = r.store.PutObject(ctx, chunkstore.TypeMark, recordName(next.number), payload)
		if err != nil && !errors.Is(err, destination.ErrExists) {
			return fmt.Errorf("write tags and pins: %w", err)
		}
		if cancelled := ctx.Err(); cancelled != nil {
			return cancelled
		}
		if err != nil {
			continue
		}
		// Whoever was slow may have created a number that was there once, and has been removed since: it counts only
		// while it is the newest.
		now, err := r.listMarks(ctx)
		if err != nil {
			return err
		}
		if len(now) > 0 && now[len(now)-1] > next.number {
			continue
		}
		if broken != nil {
			r.o.Warn(fmt.Errorf("tags and pins were written afresh; some that were set last may be missing: %w", broken))
		}
		r.seen.marksChanged(next.number)
		r.tidyMarks(ctx, now, broken)
		return nil
	}
}

// tidyMarks removes what is old in the log, and what cannot be read. Nothing depends on it.
func (r *Repository) tidyMarks(ctx context.Context, listed []uint64, broken *MarksError) {
	for i, n := range listed {
		name := recordName(n)
		unreadable := broken != nil && slices.Contains(broken.Names, chunkstore.TypeMark.Folder()+name)
		if i >= len(listed)-1-keptMarks && !unreadable {
			continue
		}
		err := r.store.RemoveObject(ctx, chunkstore.TypeMark, name)
		if err != nil && !errors.Is(err, destination.ErrNotFound) {
			r.o.Warn(fmt.Errorf("remove old tags and pins: %w", err))
			return
		}
	}
}

// Mark changes tags and pins of restore points, all or none of them. edit is called for each with a copy whose Tags and
// Pinned are those in force; what else it changes is dropped. It may be called again when somebody else changed marks
// at the same time, also with its own change in force already, to which it must add nothing. ErrForgotten when one of the points is gone.
func (r *Repository) Mark(ctx context.Context, points []*Point, edit func(p *Point)) error {
	return r.change(ctx, true, func(m *marks, recorded []*Point) error {
		current := m.apply(recorded)
		changed := false
		for _, p := range points {
			id := identityOf(p)
			at := slices.IndexFunc(current, func(q *Point) bool { return identityOf(q) == id })
			if at < 0 {
				return fmt.Errorf("mark %s@%s: %w", p.Source, p.Name, ErrForgotten)
			}
			edited := *current[at]
			edited.Tags = slices.Clone(edited.Tags)
			edit(&edited)
			for _, tag := range edited.Tags {
				if err := CheckTag(tag); err != nil {
					return err
				}
			}
			if edited.Pinned != current[at].Pinned || !slices.Equal(edited.Tags, current[at].Tags) {
				m.set(id, mark{tags: edited.Tags, pinned: edited.Pinned})
				changed = true
			}
		}
		if !changed {
			return errNoChange
		}
		return nil
	})
}

// CheckTag tells why a text cannot be a tag: tags are short, printable and stand in a list on one line.
func CheckTag(tag string) error {
	switch {
	case tag == "":
		return errors.New("a tag cannot be empty")
	case len(tag) > 255:
		return fmt.Errorf("a tag is at most 255 bytes long, this one has %d", len(tag))
	case !utf8.ValidString(tag), strings.ContainsFunc(tag, func(c rune) bool { return c == ',' || !unicode.IsPrint(c) }):
		return fmt.Errorf("%q cannot be a tag: it must be printable text without a comma", tag)
	}
	return nil
}
