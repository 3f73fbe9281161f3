package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/index"
)

// VerifyOptions tune Verify. The zero value is the quick check.
type VerifyOptions struct {
	// ReadData reads every cell of every object, parity included, and opens every frame. Without it only heads,
	// tables and sizes are looked at, which finds what is missing or cut short but not bits that rotted.
	ReadData bool
	// Workers is the number of objects checked at once; zero means one a processor. Each may take 40 MB.
	Workers int
	// Progress, when not nil, is counted up: Read and TotalBytes in bytes of the repository, Files and
	// TotalFiles in objects, Errors in findings.
	Progress *Progress
	// Problem, when not nil, is told of each finding as it is made, one call at a time.
	Problem func(Finding)
}

// FindingKind says what is wrong.
type FindingKind string

// The kinds of findings, from the least to the worst.
const (
	ForeignFile   FindingKind = "foreign"   // a file in the repository that is none of its objects: nothing is lost
	Unlisted      FindingKind = "unlisted"  // a pack no index object lists, as interrupted backups leave them: nothing is lost
	SessionLost   FindingKind = "session"   // the marker of a backup that runs, or died, cannot be read: nothing is lost
	PruneLost     FindingKind = "prune"     // what a prune has written down is lost: no content is
	Healable      FindingKind = "healable"  // damage that parity mends: nothing is lost yet
	IndexLost     FindingKind = "index"     // an index object is lost or incomplete: the packs have what it said
	KeyLost       FindingKind = "key"       // a key slot is lost
	MarksLost     FindingKind = "marks"     // a state of tags and pins cannot be read; older ones are there
	ObjectLost    FindingKind = "damaged"   // a pack is damaged beyond its parity, or missing
	PointLost     FindingKind = "point"     // a restore point's record cannot be read
	DirectoryLost FindingKind = "directory" // some or all entries of a directory of a restore point cannot be read
	FileLost      FindingKind = "file"      // bytes of a file of a restore point cannot be read
)

// Finding is one thing that Verify or Repair found.
type Finding struct {
	Kind    FindingKind `json:"kind"`
	Object  string      `json:"object,omitempty"` // full name in the repository
	Source  string      `json:"source,omitempty"`
	Point   string      `json:"point,omitempty"`
	Path    string      `json:"path,omitempty"` // in the restore point, beginning with "/", raw bytes
	Ranges  []ByteRange `json:"ranges,omitempty"`
	Message string      `json:"message"`          // what is wrong, in words
	Remedy  string      `json:"remedy,omitempty"` // what to do about it
}

// ByteRange is a range of a file's bytes.
type ByteRange struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// Harmless says that nothing is damaged: there is nothing to mend, and no reason for an exit code.
func (f Finding) Harmless() bool {
	return f.Kind == ForeignFile || f.Kind == Unlisted || f.Kind == SessionLost
}

// Lost says that content of restore points, a restore point or a key slot cannot be read any more.
func (f Finding) Lost() bool {
	return f.Kind == FileLost || f.Kind == DirectoryLost || f.Kind == PointLost || f.Kind == ObjectLost || f.Kind == KeyLost
}

// MaxFindings bounds the list in a report; the counts and the Problem callback know all.
const MaxFindings = 10_000

// VerifyReport is what Verify found.
type VerifyReport struct {
	ReadData bool  `json:"readData"`
	Objects  int64 `json:"objects"` // looked at
	Packs    int64 `json:"packs"`
	Bytes    int64 `json:"bytes"`   // sizes of the objects
	Cells    int64 `json:"cells"`   // read and compared with their checksums
	Frames   int64 `json:"frames"`  // opened
	Points   int64 `json:"points"`  // restore points whose trees were walked
	Entries  int64 `json:"entries"` // of their trees, shared parts counted once
	Chunks   int64 `json:"chunks"`  // that files refer to, shared parts counted once

	Healable    int64     `json:"healable"`    // objects with damage that parity mends
	Lost        int64     `json:"lost"`        // packs damaged beyond their parity or missing
	LostFiles   int64     `json:"lostFiles"`   // files with bytes lost, counted in every restore point
	LostDirs    int64     `json:"lostDirs"`    // directories with entries lost, likewise
	LostPoints  int64     `json:"lostPoints"`  // restore points whose record is lost
	Findings    []Finding `json:"findings"`    // the first MaxFindings, harmless ones included
	AllFindings int64     `json:"allFindings"` // how many there were
	damaged     int64
}

// OK says that nothing is damaged.
func (r *VerifyReport) OK() bool { return r.damaged == 0 }

// Verify looks for damage. Quickly, it checks that every object is there, is of the right size and has a readable head
// and table, and that every chunk of every restore point lies in a pack that is there; with ReadData it reads
// everything. Damage is no error: it is in the report, with the files that it costs. What parity mends is told
// apart from what is lost. Nothing in the repository is changed.
func Verify(ctx context.Context, repo *index.Repository, o VerifyOptions) (*VerifyReport, error) {
	v := &verifier{repo: repo, o: o, report: &VerifyReport{ReadData: o.ReadData}, damage: packDamage{}}
	if v.o.Progress == nil {
		v.o.Progress = &Progress{}
	}
	v.o.Progress.SetPhase("list")
	if err := v.list(ctx); err != nil {
		return nil, fmt.Errorf("list the repository's objects: %w", err)
	}
	v.o.Progress.SetPhase("check")
	if err := v.checkObjects(ctx); err != nil {
		return nil, err
	}
	v.o.Progress.SetPhase("trees")
	if err := v.checkPoints(ctx); err != nil {
		return nil, err
	}
	slices.SortStableFunc(v.report.Findings, func(a, b Finding) int { // objects by name, then what they cost, as it was found
		switch {
		case a.Object != "" && b.Object != "":
			return cmp.Compare(a.Object, b.Object)
		case a.Object != "":
			return -1
		case b.Object != "":
			return 1
		}
		return 0
	})
	return v.report, nil
}

// verifier is one run of Verify.
type verifier struct {
	repo    *index.Repository
	o       VerifyOptions
	objects []object // by name

	mu     sync.Mutex // guards what is below
	report *VerifyReport
	damage packDamage
}

// object is one object of the repository.
type object struct {
	name string // in full
	size int64  // as listed, bytes
	want int64  // as the index knows it; 0 where it does not
}

// list takes in what objects there are, and which packs should be there.
func (v *verifier) list(ctx context.Context) error {
	objects, foreign, err := listObjects(ctx, v.repo.Store())
	if err != nil {
		return err
	}
	for _, name := range foreign {
		v.find(foreignFile(name))
	}
	indexed, err := v.repo.IndexedPacks(ctx)
	if err != nil {
		return err
	}
	listed := make(map[chunkstore.PackID]bool, len(indexed))
	for _, p := range indexed {
		listed[p.ID] = true
		if at, ok := findObject(objects, p.ID.ObjectName()); ok {
			objects[at].want = p.Size
		} else {
			v.objects = append(v.objects, object{name: p.ID.ObjectName(), want: p.Size}) // it will turn out to be missing
		}
	}
	for _, o := range objects {
		if id, ok := chunkstore.ParsePackID(o.name); ok && !listed[id] {
			v.find(Finding{Kind: Unlisted, Object: o.name, Message: "no index object lists this pack; an interrupted backup may have left it",
				Remedy: "cairn repair --index"})
		}
		v.o.Progress.TotalBytes.Add(o.size)
	}
	v.objects = append(objects, v.objects...)
	v.o.Progress.TotalFiles.Store(int64(len(v.objects)))
	return nil
}

func findObject(objects []object, name string) (int, bool) {
	return slices.BinarySearchFunc(objects, name, func(o object, name string) int { return strings.Compare(o.name, name) })
}

// isConfig says that an object is the config or its spare: an open store knows what belongs there.
func isConfig(name string) bool { return name == "config" || name == "spare/config" }

// listObjects lists the repository's objects by name, with the config even when it is missing, and apart from them
// what is no object.
func listObjects(ctx context.Context, s *chunkstore.Store) (objects []object, foreign []string, err error) {
	err = s.Objects(ctx, func(info destination.Info, isForeign bool) error {
		if isForeign || index.Foreign(info.Name) {
			foreign = append(foreign, info.Name)
		} else {
			objects = append(objects, object{name: info.Name, size: info.Size})
		}
		return ctx.Err()
	})
	slices.SortFunc(objects, func(a, b object) int { return strings.Compare(a.name, b.name) })
	slices.Sort(foreign)
	for _, name := range []string{"config", "spare/config"} {
		if at, ok := findObject(objects, name); !ok {
			objects = slices.Insert(objects, at, object{name: name})
		}
	}
	return objects, foreign, err
}

func foreignFile(name string) Finding {
	return Finding{Kind: ForeignFile, Object: name, Message: "not an object of this repository; it is left alone"}
}

// checkObjects looks at every object, several at once.
func (v *verifier) checkObjects(ctx context.Context) error {
	return eachObject(ctx, v.objects, v.o.Workers, func(ctx context.Context, o object) error {
		_, isPack := chunkstore.ParsePackID(o.name)
		suspect := o.want > 0 && o.want != o.size
		check, err := v.repo.Store().CheckObject(ctx, o.name, v.o.ReadData || suspect)
		if err == nil && isPack && !suspect && !v.o.ReadData && !check.OK() && !check.Missing {
			check, err = v.repo.Store().CheckObject(ctx, o.name, true) // what exactly does it cost?
		}
		if err != nil {
			return fmt.Errorf("check %s: %w", o.name, err)
		}
		if isPack && !check.OK() {
			id, _ := chunkstore.ParsePackID(o.name)
			if pruned, _ := v.repo.Pruned(ctx, id); pruned { // a ledger that cannot be read is a finding of its own
				return ctx.Err()
			}
		}
		if suspect && check.OK() {
			check.Err = fmt.Errorf("%w: it has %d bytes, the index says %d", chunkstore.ErrDamaged, o.size, o.want)
		}
		v.take(o, check, isPack)
		v.o.Progress.Files.Add(1)
		v.o.Progress.Read.Add(o.size)
		return nil
	})
}

// eachObject calls fn for the objects, workers of them at once.
func eachObject(ctx context.Context, objects []object, workers int, fn func(context.Context, object) error) error {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	objects = slices.Clone(objects) // the big ones first, so that no worker sits with one at the end
	slices.SortStableFunc(objects, func(a, b object) int { return cmp.Compare(b.size, a.size) })
	g, group := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, o := range objects {
		if group.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := group.Err(); err != nil {
				return err
			}
			return fn(group, o)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// take enters what was found in one object.
func (v *verifier) take(o object, c chunkstore.Check, isPack bool) {
	v.mu.Lock()
	v.report.Objects++
	v.report.Bytes += c.Size
	v.report.Cells += c.Cells
	v.report.Frames += c.Frames
	if isPack {
		v.report.Packs++
	}
	v.mu.Unlock()
	if c.OK() || vanished(o.name, c) {
		return
	}
	f := judge(o.name, c)
	if id, ok := chunkstore.ParsePackID(o.name); ok && f.Kind == ObjectLost {
		v.mu.Lock()
		v.damage[id] = newDamagedPack(c)
		v.mu.Unlock()
	}
	v.find(f)
}

// vanished says that an object was taken away between listing and checking it, as sessions are when they end
// and records when a restore point is forgotten. A pack that the index lists is missed, and so is the config.
func vanished(name string, c chunkstore.Check) bool {
	return c.Missing && !strings.HasPrefix(name, "packs/") && !isConfig(name)
}

// beyondParity says that something in the object cannot be read any more.
func beyondParity(c chunkstore.Check) bool {
	var where *chunkstore.DamageError // an object that is merely cut short has another error
	var later *chunkstore.VersionError
	return !c.Readable() && (c.Missing || c.Lost > 0 || len(c.LostRanges) > 0 || len(c.BadFrames) > 0 ||
		errors.As(c.Err, &where) || errors.As(c.Err, &later))
}

// judge puts what is wrong with an object in words.
func judge(name string, c chunkstore.Check) Finding {
	f := Finding{Kind: Healable, Object: name, Message: describe(c), Remedy: "cairn repair"}
	folder, _, _ := strings.Cut(name, "/")
	switch {
	case c.Foreign:
		return foreignFile(name)
	case isConfig(name):
		f.Message += "; what belongs there is known"
		return f
	case !beyondParity(c):
		f.Message += "; parity has what is needed to mend it"
		return f
	}
	f.Kind, f.Remedy = ObjectLost, ""
	switch folder {
	case "packs":
		f.Remedy = "cairn repair --index, then cairn backup --full stores again what still exists"
	case "index":
		f.Kind, f.Remedy = IndexLost, "cairn repair --index"
	case "points":
		f.Kind = PointLost
	case "keys":
		f.Kind, f.Remedy = KeyLost, "cairn key remove, then cairn key add"
	case "marks":
		f.Kind, f.Remedy = MarksLost, "cairn pin or cairn tag writes tags and pins afresh; cairn points shows those that are known"
	case "tombstones", "ledger":
		f.Kind, f.Remedy = PruneLost, "backups and prunes refuse to go on while it is there: delete this file when no prune is running"
	case "sessions":
		f.Kind = SessionLost
	}
	return f
}

// describe says what is wrong with an object.
func describe(c chunkstore.Check) string {
	var parts []string
	if c.Missing {
		return "it is missing"
	}
	if c.Bad > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d cells are damaged", c.Bad, c.Cells))
	}
	if c.Lost > 0 {
		parts = append(parts, fmt.Sprintf("%d of them are beyond what parity mends", c.Lost))
	}
	if n := len(c.BadFrames); n > 0 {
		parts = append(parts, fmt.Sprintf("%d frames cannot be opened", n))
	}
	if c.Err != nil && (c.Bad == 0 || c.Lost == 0 && len(c.BadFrames) == 0) {
		parts = append(parts, c.Err.Error())
	}
	return strings.Join(parts, ", ")
}

// find enters a finding.
func (v *verifier) find(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.report
	r.AllFindings++
	if !f.Harmless() {
		r.damaged++
		v.o.Progress.Errors.Add(1)
	}
	switch f.Kind {
	case Healable:
		r.Healable++
	case ObjectLost:
		r.Lost++
	case FileLost:
		r.LostFiles++
	case DirectoryLost:
		r.LostDirs++
	case PointLost:
		r.LostPoints++
	}
	if len(r.Findings) < MaxFindings {
		r.Findings = append(r.Findings, f)
	}
	if v.o.Problem != nil {
		v.o.Problem(f)
	}
}
