//go:build linux

package faultdisk_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/integration/faultdisk"
)

// scenario is what happens before the disk records, what happens while it does, and what is then done after each crash.
type scenario struct {
	name    string
	before  []step
	run     []step
	beside  []step // at the same time as run
	after   []step // the next run; all must succeed
	damaged bool   // parity is needed until the next run has mended it
}

// usual is what anybody does next.
var usual = []step{backup("docs"), prune, ageSessions, prune}

// some is a repository with a past: three points of one source that share most, and one of another.
var some = []step{
	initialise, backup("docs"), write("new1", "one"), backup("docs"), write("d1/file1", "two"), write("new1", "three"), backup("docs"),
	backup("other"), write("d2/file2", "four"),
}

var scenarios = []scenario{
	{name: "init", run: []step{initialise}, after: append([]step{repair(false)}, usual...), damaged: true},
	{name: "first backup", before: []step{initialise}, run: []step{backup("docs")}, after: usual},
	{name: "later backup", before: some, run: []step{backup("docs")}, after: usual},
	{name: "key added", before: some, run: []step{addKey}, after: usual},
	{name: "key removed", before: append(some, addKey), run: []step{removeKey}, after: usual},
	{name: "marks", before: some, run: []step{mark}, after: append([]step{mark}, usual...)},
	{name: "repair", before: append(some, burst), run: []step{repair(false)}, after: append([]step{repair(false)}, usual...), damaged: true},
	{name: "repair of the index", before: append(some, dropIndex), run: []step{repair(true)}, after: append([]step{repair(true)}, usual...), damaged: true},
	{name: "forget", before: some, run: []step{forget(2)}, after: usual},
	{name: "prune", before: append(some, forget(2)), run: []step{prune}, after: usual},
	{name: "two prunes and a backup, one after another", before: append(some, forget(1)), run: []step{prune, backup("docs"), prune}, after: usual},
	{name: "backup beside prune", before: append(some, forget(2)), run: []step{backup("docs"), backup("third")}, beside: []step{prune, prune}, after: usual},
	{name: "two backups at once", before: append(some[:2:2], write("new1", "one")), run: []step{backup("docs")}, beside: []step{backup("other")}, after: usual},
	{name: "two prunes at once", before: append(some, forget(2)), run: []step{prune}, beside: []step{prune}, after: usual},
}

// states is how many crashes of a scenario are tried: enough for every change to the steps above to be met soon. With
// CAIRN_TORTURE set it is all there are, with so many torn versions of each.
const (
	states      = 24
	tornVersons = 6
)

// TestEveryCrashLeavesEveryCompletedRestorePoint cuts the power after any call.
func TestEveryCrashLeavesEveryCompletedRestorePoint(t *testing.T) {
	seed := uint64(1)
	if text := os.Getenv("CAIRN_TORTURE"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := &crashes{scenario: s, host: newHost(t), seed: seed}
			c.record(t)
			c.replay(t)
		})
	}
}

// crashes is a scenario that has been recorded.
type crashes struct {
	scenario
	*host
	seed          uint64
	log           *faultdisk.Log
	before, after map[uint64]string // restore points: sequence to root
	survivor      string            // the cache of a host that outlives the disk's crash
}

func (c *crashes) place(name string) place {
	return place{c.host, filepath.Join(c.scratch, name), filepath.Join(c.scratch, name+".cache")}
}

// record runs the scenario on a disk that records.
func (c *crashes) record(t *testing.T) {
	plain := c.place("before")
	run(t, plain, c.scenario.before...)
	start, err := faultdisk.Read(plain.dir)
	if errors.Is(err, os.ErrNotExist) {
		start, err = faultdisk.Image{}, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.before, err = points(plain); err != nil {
		t.Fatal(err)
	}
	disk := faultdisk.Record(start)
	on := place{c.host, t.TempDir(), c.place("on").cache}
	unmount, err := disk.Mount(on.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unmount()
	var wg sync.WaitGroup
	if len(c.beside) > 0 {
		other := place{c.host, on.dir, c.place("beside").cache}
		wg.Go(func() { run(t, other, c.beside...) })
	}
	run(t, on, c.run...)
	wg.Wait()
	if c.after, err = points(on); err != nil {
		t.Fatal(err)
	}
	c.log, c.survivor = disk.Log(), on.cache
}

func run(t *testing.T, p place, steps ...step) {
	for i, s := range steps {
		if err := s(p); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

// points reads what restore points there are: none in a folder that is no repository.
func points(p place) (map[uint64]string, error) {
	all := map[uint64]string{}
	err := p.withIndex(func(ctx context.Context, r *index.Repository) error {
		listed, err := r.Points(ctx)
		for _, point := range listed {
			all[point.Sequence] = point.Source + " " + point.Root.ID.String()
		}
		return err
	})
	if errors.Is(err, chunkstore.ErrNoRepository) {
		err = nil
	}
	return all, err
}

// crash is one way for the power to fail.
type crash struct {
	call    int
	loss    faultdisk.Loss
	version int
}

// replay tries the crashes.
func (c *crashes) replay(t *testing.T) {
	calls := len(c.log.Calls)
	var all []crash
	versions, bound := 1, states
	if os.Getenv("CAIRN_TORTURE") != "" {
		versions, bound = tornVersons, 1<<30
	}
	for call := range calls + 1 {
		for _, loss := range faultdisk.Losses {
			all = append(all, crash{call, loss, 0})
		}
		for v := 1; v < versions; v++ {
			all = append(all, crash{call, faultdisk.Torn, v})
		}
	}
	chance := rand.New(rand.NewPCG(c.seed, 0))
	last := all[len(all)-(len(faultdisk.Losses)+versions-1):] // whatever else is tried: all is done, and nothing of it may be lost
	all = all[:len(all)-len(last)]
	chance.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	seen := map[[32]byte]bool{}
	tried := 0
	for _, crash := range append(last, all...) {
		if tried == bound || t.Failed() {
			break
		}
		image := c.log.Crash(crash.call, crash.loss, rand.New(rand.NewPCG(c.seed, uint64(crash.call)<<8|uint64(crash.version))))
		if sum := image.Sum(); seen[sum] && crash.call < calls {
			continue
		} else {
			seen[sum] = true
		}
		tried++
		if err := c.check(image, crash.call == calls, tried%2 == 0); err != nil {
			c.explain(t, crash, image, err)
		}
	}
	t.Logf("%d calls, %d crashes tried", calls, tried)
}

// explain tells what went wrong, and keeps what the disk held.
func (c *crashes) explain(t *testing.T, at crash, image faultdisk.Image, err error) {
	t.Errorf("power lost after call %d of %d (%s, version %d, seed %d): %v", at.call, len(c.log.Calls), at.loss, at.version, c.seed, err)
	for i := max(0, at.call-12); i < min(len(c.log.Calls), at.call+3); i++ {
		t.Logf("%4d %s", i+1, c.log.Calls[i])
	}
	for name, content := range image.Files {
		t.Logf("     %s %d", name, len(content))
	}
}

// check is what must hold of whatever the disk holds.
func (c *crashes) check(image faultdisk.Image, done, hostSurvived bool) error {
	p := c.place("crashed")
	err := errors.Join(image.Write(p.dir), os.RemoveAll(p.cache))
	if err == nil && hostSurvived {
		err = os.CopyFS(p.cache, os.DirFS(c.survivor))
	}
	if err != nil {
		return err
	}
	if err := p.withStore(p.key, func(*chunkstore.Store) error { return nil }); errors.Is(err, chunkstore.ErrNoRepository) && !done && len(c.before) == 0 {
		if err := initialise(p); err != nil {
			return fmt.Errorf("init again: %w", err)
		}
	}
	if err := c.checkPoints(p, done); err != nil {
		return err
	}
	if err := c.checkKeys(p, done); err != nil {
		return err
	}
	if err := c.verify(p, c.damaged); err != nil {
		return err
	}
	for i, s := range c.scenario.after {
		if err := s(p); err != nil {
			return fmt.Errorf("step %d of the next run: %w", i, err)
		}
	}
	if err := c.checkPoints(p, done); err != nil {
		return fmt.Errorf("after the next run: %w", err)
	}
	if err := c.verify(p, false); err != nil {
		return fmt.Errorf("after the next run: %w", err)
	}
	return nil
}

// checkPoints compares the restore points with those there must be: those of before that were not to be dropped, and when
// all is done those of after.
func (c *crashes) checkPoints(p place, done bool) error {
	found, err := points(p)
	if err != nil {
		return err
	}
	for sequence, root := range maps.All(c.before) {
		_, stays := c.after[sequence]
		if stays && found[sequence] != root {
			return fmt.Errorf("restore point %d (%s) is gone", sequence, root)
		}
		if !stays && done && found[sequence] == root {
			return fmt.Errorf("restore point %d (%s) is back", sequence, root)
		}
	}
	for sequence, root := range c.after {
		if done && found[sequence] != root {
			return fmt.Errorf("restore point %d (%s) was complete and is gone", sequence, root)
		}
	}
	return nil
}

// checkKeys looks whether the second key does what it should, once that is sure.
func (c *crashes) checkKeys(p place, done bool) error {
	if !done || c.name != "key added" && c.name != "key removed" {
		return nil
	}
	err := p.withStore(age.Identity(p.second), func(*chunkstore.Store) error { return nil })
	if c.name == "key removed" && errors.Is(err, keys.ErrWrongKey) {
		return nil
	}
	if c.name == "key removed" {
		return fmt.Errorf("with the key that was removed: %w", err)
	}
	return err
}

// verify reads everything. What parity mends is damage too, unless healable is set.
func (c *crashes) verify(p place, healable bool) error {
	return p.withIndex(func(ctx context.Context, r *index.Repository) error {
		report, err := engine.Verify(ctx, r, engine.VerifyOptions{ReadData: true})
		if err != nil {
			return err
		}
		for _, f := range report.Findings {
			if !f.Harmless() && (!healable || f.Lost()) {
				err = errors.Join(err, fmt.Errorf("verify: %s %s %s@%s:%s %s", f.Kind, f.Object, f.Source, f.Point, f.Path, f.Message))
			}
		}
		if err == nil && !healable && !report.OK() {
			err = errors.New("verify: not all is well")
		}
		return err
	})
}
