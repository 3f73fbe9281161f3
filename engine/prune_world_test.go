//go:build linux

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/source/files"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// world is a real repository in a directory that many hosts use, each with a cache and a clock of its own. Whatever a
// host does at the destination is a step: in turn with those of the others, in an order that a seed chooses, with pauses
// as long as a host may take, and with the destination's clock going on by hours in between. A host may crash at any step.
type world struct {
	t      testing.TB
	dir    string
	random *rand.Rand // of the scheduler

	requests chan request
	ended    chan *host
	turns    bool // steps wait for their turn

	mu     sync.Mutex
	now    time.Time // the destination's clock
	times  map[string]time.Time
	points map[pointKey]map[string]string // what a point holds, by path
	gone   map[pointKey]bool              // forgotten, or about to be
	before func(h *host, step string)     // tests that choose the order themselves
}

type pointKey struct {
	source string
	name   string
}

type request struct {
	h    *host
	what string
	turn chan error
	done chan struct{}
}

var errCrash = errors.New("the host crashed")

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "repository"), random: rand.New(rand.NewPCG(seed, 1)),
		requests: make(chan request), ended: make(chan *host), now: time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC),
		times: make(map[string]time.Time), points: make(map[pointKey]map[string]string), gone: make(map[pointKey]bool)}
	d, err := local.New(w.dir)
	if err == nil {
		_, err = chunkstore.Init(t.Context(), d, chunkstore.InitOptions{Plain: true, Now: w.now, Shape: stripe.Shape{Data: 2, Parity: 1}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// host is one process on one machine.
type host struct {
	*local.Local
	w       *world
	name    string
	wrong   time.Duration // of its clock
	repo    *index.Repository
	random  *randomness
	source  string // directory
	mu      sync.Mutex
	crashed bool
	steps   int
	crashAt int // at this step; 0 never
	bored   float64
}

var (
	_ destination.Stater    = (*host)(nil)
	_ destination.Clock     = (*host)(nil)
	_ destination.Leftovers = (*host)(nil)
)

// host starts a process with an empty cache.
func (w *world) host(name string, wrong time.Duration) *host {
	w.t.Helper()
	d, err := local.New(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var seed [32]byte
	copy(seed[:], name)
	h := &host{Local: d, w: w, name: name, wrong: wrong, random: &randomness{r: rand.NewChaCha8(seed)}, source: filepath.Join(w.t.TempDir(), "source")}
	h.open(w.t.TempDir())
	w.t.Cleanup(func() { h.repo.Close() })
	return h
}

// open opens the repository, out of turn.
func (h *host) open(cache string) {
	h.w.t.Helper()
	turns := h.w.turns
	h.w.turns = false
	defer func() { h.w.turns = turns }()
	store, err := chunkstore.Open(h.w.t.Context(), h, nil)
	if err == nil {
		h.repo, err = index.Open(h.w.t.Context(), store, index.Options{CacheDir: cache, Random: h.random, Host: h.name, Now: h.clock})
	}
	if err != nil {
		h.w.t.Fatal(err)
	}
}

func (h *host) clock() time.Time {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.w.now.Add(h.wrong)
}

func (h *host) dead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.crashed
}

// step waits for the host's turn; the caller must call done.
func (h *host) step(what string) (done func(), err error) {
	h.mu.Lock()
	h.steps++
	if h.crashAt > 0 && h.steps >= h.crashAt {
		h.crashed = true
	}
	crashed := h.crashed
	h.mu.Unlock()
	if crashed {
		return func() {}, errCrash
	}
	h.w.mu.Lock()
	before := h.w.before
	h.w.mu.Unlock()
	if before != nil {
		before(h, what)
	}
	if !h.w.turns {
		return func() {}, nil
	}
	r := request{h, what, make(chan error), make(chan struct{})}
	h.w.requests <- r
	err = <-r.turn
	return func() { close(r.done) }, err
}

func (h *host) Create(ctx context.Context, name string, body []byte) error {
	done, err := h.step("create " + name)
	defer done()
	if err != nil {
		return err
	}
	if err := h.Local.Create(ctx, name, body); err != nil {
		return err
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.times[name] = h.w.now
	return nil
}

func (h *host) Remove(ctx context.Context, name string) error {
	done, err := h.step("remove " + name)
	defer done()
	if err != nil {
		return err
	}
	return h.Local.Remove(ctx, name)
}

func (h *host) List(ctx context.Context, prefix string, fn func(destination.Info) error) error {
	done, err := h.step("list " + prefix)
	var found []destination.Info
	if err == nil {
		err = h.Local.List(ctx, prefix, func(i destination.Info) error {
			found = append(found, h.dated(i))
			return nil
		})
	}
	done() // fn may take steps itself
	for i := 0; err == nil && i < len(found); i++ {
		err = fn(found[i])
	}
	return err
}

func (h *host) dated(i destination.Info) destination.Info {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if at, ok := h.w.times[i.Name]; ok {
		i.Modified = at
	}
	return i
}

func (h *host) Stat(ctx context.Context, name string) (destination.Info, error) {
	done, err := h.step("stat " + name)
	defer done()
	if err != nil {
		return destination.Info{}, err
	}
	i, err := h.Local.Stat(ctx, name)
	return h.dated(i), err
}

func (h *host) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	if strings.HasPrefix(name, "packs/") { // by far the most, and of no interest but that they may fail
		if h.dead() {
			return 0, errCrash
		}
		return h.Local.ReadAt(ctx, name, p, off)
	}
	done, err := h.step("read " + name)
	defer done()
	if err != nil {
		return 0, err
	}
	return h.Local.ReadAt(ctx, name, p, off)
}

func (h *host) Now(context.Context) (time.Time, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	return h.w.now, nil
}

// run lets the hosts work at once, each through its own program, and gives turns until all have ended.
func (w *world) run(programs map[*host]func(h *host)) {
	w.turns = true
	for h, program := range programs {
		go func() {
			program(h)
			w.ended <- h
		}()
	}
	var waiting []request
	for left := len(programs); left > 0; {
		if len(waiting) == 0 {
			select {
			case r := <-w.requests:
				waiting = append(waiting, r)
			case <-w.ended:
				left--
				continue
			}
		}
		for range 20 { // let others come, so that there is a choice
			runtime.Gosched()
			select {
			case r := <-w.requests:
				waiting = append(waiting, r)
			default:
			}
		}
		if w.random.IntN(25) == 0 { // somebody falls asleep, or wakes up
			waiting[w.random.IntN(len(waiting))].h.bored = float64(w.random.IntN(2)) * 1000
		}
		if w.random.IntN(60) == 0 {
			w.advance(time.Duration(w.random.IntN(40)) * time.Hour)
		}
		w.advance(time.Duration(w.random.IntN(20)) * time.Second)
		i := w.choose(waiting)
		r := waiting[i]
		waiting = append(waiting[:i], waiting[i+1:]...)
		r.turn <- nil
		<-r.done
	}
	w.turns = false
}

// choose prefers those who are awake.
func (w *world) choose(waiting []request) int {
	best, least := 0, 0.0
	for i, r := range waiting {
		if score := w.random.Float64() + r.h.bored; i == 0 || score < least {
			best, least = i, score
		}
	}
	return best
}

// write gives the host's source other files, of contents that others have too.
func (h *host) write(random *rand.Rand) map[string]string {
	content := make(map[string]string)
	for range 2 + random.IntN(5) {
		name := fmt.Sprintf("%c/%d", 'a'+rune(random.IntN(3)), random.IntN(4))
		path := filepath.Join(h.source, name)
		text := strings.Repeat(fmt.Sprintf("content number %d. ", random.IntN(14)), 40)
		if old, err := os.ReadFile(path); err == nil && string(old) == text {
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			h.w.t.Error(err)
		}
	}
	err := filepath.WalkDir(h.source, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if random.IntN(12) == 0 {
				return os.Remove(path)
			}
			name, _ := filepath.Rel(h.source, path)
			b, err := os.ReadFile(path)
			content[name] = string(b)
			return err
		}
		return err
	})
	if err != nil {
		h.w.t.Error(err)
	}
	return content
}

// backup backs the host's source up with the engine and notes what the restore point must hold.
func (h *host) backup(content map[string]string) error {
	src, err := files.New([]string{h.source}, files.Options{})
	if err != nil {
		return err
	}
	result, err := engine.Backup(h.w.t.Context(), h.repo, src, engine.BackupOptions{Source: h.name, Now: h.clock, IgnoreSpace: true})
	if err == nil {
		h.w.mu.Lock()
		defer h.w.mu.Unlock()
		h.w.points[pointKey{h.name, result.Point.Name}] = content
	}
	return err
}

// read reads a restore point.
func (h *host) read(p *index.Point) (map[string]string, error) {
	content := make(map[string]string)
	err := tree.Walk(h.w.t.Context(), h.repo, p.Root.ID, func(path string, e *tree.Entry) error {
		if e.Type != tree.File {
			return nil
		}
		var text strings.Builder
		for x, err := range tree.Extents(h.w.t.Context(), h.repo, e) {
			if err != nil {
				return err
			}
			data, err := h.repo.ReadChunk(h.w.t.Context(), x.ID, nil)
			if err != nil {
				return err
			}
			text.Write(data)
		}
		content[path] = text.String()
		return nil
	})
	return content, err
}

// forget drops a restore point.
func (h *host) forget(p *index.Point) error {
	h.w.mu.Lock()
	h.w.gone[pointKey{p.Source, p.Name}] = true
	h.w.mu.Unlock()
	return h.repo.RemovePoint(h.w.t.Context(), p)
}

// mustBeWhole reads every restore point through a host that has seen nothing before.
func (w *world) mustBeWhole() int {
	w.t.Helper()
	fresh := w.host("fresh", 0)
	points, err := fresh.repo.Points(w.t.Context())
	if err != nil {
		w.t.Fatalf("list restore points: %v", err)
	}
	found := make(map[pointKey]bool)
	for _, p := range points {
		key := pointKey{p.Source, p.Name}
		found[key] = true
		want, known := w.points[key]
		got, err := fresh.read(p)
		if err != nil {
			w.t.Errorf("%s@%s: %v", p.Source, p.Name, err)
			continue
		}
		if known && fmt.Sprint(got) != fmt.Sprint(want) {
			w.t.Errorf("%s@%s holds something else than was backed up", p.Source, p.Name)
		}
	}
	for key := range w.points {
		if !found[key] && !w.gone[key] {
			w.t.Errorf("%s@%s is gone, and nobody forgot it", key.source, key.name)
		}
	}
	return len(points)
}
