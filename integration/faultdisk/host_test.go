//go:build linux

package faultdisk_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/engine/source/files"
	"github.com/cairn-backup/cairn/index"
)

// host is a machine with something to back up and the keys of a repository.
type host struct {
	t       *testing.T
	scratch string // in memory, where there is such a place
	source  string
	key     *age.X25519Identity
	second  *age.X25519Identity
}

// place is where a step works: a repository's folder and a cache of its index.
type place struct {
	*host
	dir, cache string
}

// step is one run of a command.
type step func(p place) error

func newHost(t *testing.T) *host {
	t.Helper()
	scratch := t.TempDir()
	if dir, err := os.MkdirTemp("/dev/shm", "cairn-faultdisk."); err == nil {
		scratch = dir
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	h := &host{t: t, scratch: scratch, source: filepath.Join(scratch, "source")}
	var err error
	if h.key, err = age.GenerateX25519Identity(); err != nil {
		t.Fatal(err)
	}
	if h.second, err = age.GenerateX25519Identity(); err != nil {
		t.Fatal(err)
	}
	noise := mathrand.New(mathrand.NewPCG(1, 2))
	for i := range 8 {
		content := make([]byte, 1+noise.IntN(60<<10))
		for j := range content {
			content[j] = byte(noise.Uint32())
		}
		h.write(fmt.Sprintf("d%d/file%d", i%3, i), content)
	}
	h.write("empty", nil)
	h.write("text", []byte(strings.Repeat("all that glisters is not gold\n", 2000)))
	return h
}

func (h *host) write(name string, content []byte) {
	h.t.Helper()
	path := filepath.Join(h.source, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
		h.t.Fatal(err)
	}
}

// Identities implements keys.Unlocker: the host unlocks with its first key.
func (h *host) Identities() ([]age.Identity, error) { return []age.Identity{h.key}, nil }

type unlocker struct{ age.Identity }

func (u unlocker) Identities() ([]age.Identity, error) { return []age.Identity{u.Identity}, nil }

// initialise makes the repository.
func initialise(p place) error {
	d, err := local.New(p.dir)
	if err != nil {
		return err
	}
	s, err := chunkstore.Init(p.t.Context(), d, chunkstore.InitOptions{
		Shape: stripe.Shape{Data: 4, Parity: 2}, Recipients: []age.Recipient{p.key.Recipient()}, Now: time.Now(),
	})
	if err != nil {
		return err
	}
	return s.Close()
}

// withStore runs work on the opened repository.
func (p place) withStore(u age.Identity, work func(*chunkstore.Store) error) error {
	d, err := local.New(p.dir)
	if err != nil {
		return err
	}
	s, err := chunkstore.Open(p.t.Context(), d, unlocker{u})
	if err != nil {
		d.Close()
		return fmt.Errorf("open the repository: %w", err)
	}
	return errors.Join(work(s), s.Close())
}

func (p place) withIndex(work func(context.Context, *index.Repository) error) error {
	return p.withStore(p.key, func(s *chunkstore.Store) error {
		r, err := index.Open(p.t.Context(), s, index.Options{CacheDir: p.cache, Now: time.Now, Random: rand.Reader, Host: "host", Warn: func(error) {}})
		if err != nil {
			return fmt.Errorf("open the index: %w", err)
		}
		return errors.Join(work(p.t.Context(), r), r.Close())
	})
}

// backup takes a backup of what the source holds then.
func backup(name string) step {
	return func(p place) error {
		return p.withIndex(func(ctx context.Context, r *index.Repository) error {
			src, err := files.New([]string{p.source}, files.Options{})
			if err != nil {
				return err
			}
			result, err := engine.Backup(ctx, r, src, engine.BackupOptions{Source: name, Now: time.Now, IgnoreSpace: true})
			if err == nil && result.Problems > 0 {
				err = fmt.Errorf("%d problems", result.Problems)
			}
			return err
		})
	}
}

// write changes the source.
func write(name, content string) step {
	return func(p place) error {
		p.write(name, []byte(content))
		return nil
	}
}

func prune(p place) error {
	return p.withIndex(func(ctx context.Context, r *index.Repository) error {
		_, err := engine.Prune(ctx, r, engine.PruneOptions{})
		return err
	})
}

// forget drops the oldest n restore points.
func forget(n int) step {
	return func(p place) error {
		return p.withIndex(func(ctx context.Context, r *index.Repository) error {
			points, err := r.Points(ctx)
			if err != nil {
				return err
			}
			plan, err := engine.PlanForget(ctx, r, engine.ForgetOptions{Points: points[:n], Now: time.Now()})
			if err != nil {
				return err
			}
			_, err = engine.Forget(ctx, r, plan)
			return err
		})
	}
}

// mark pins and tags all restore points.
func mark(p place) error {
	return p.withIndex(func(ctx context.Context, r *index.Repository) error {
		points, err := r.Points(ctx)
		if err != nil {
			return err
		}
		return r.Mark(ctx, points, func(p *index.Point) { p.Tags = append(p.Tags, "tagged") })
	})
}

func repair(withIndex bool) step {
	return func(p place) error {
		return p.withIndex(func(ctx context.Context, r *index.Repository) error {
			report, err := engine.Repair(ctx, r, engine.RepairOptions{Index: withIndex})
			if err == nil && !report.OK() {
				err = fmt.Errorf("not mended: %v", report.Findings)
			}
			return err
		})
	}
}

func addKey(p place) error {
	return p.withStore(p.key, func(s *chunkstore.Store) error {
		_, err := s.AddSlot(p.t.Context(), p.second.Recipient(), "second", time.Now())
		return err
	})
}

// removeKey removes the slot that addKey added.
func removeKey(p place) error {
	return p.withStore(p.key, func(s *chunkstore.Store) error {
		slots, err := s.Slots(p.t.Context())
		if err != nil {
			return err
		}
		for _, slot := range slots {
			if slot.Label == "second" {
				return s.RemoveSlot(p.t.Context(), slot.ID)
			}
		}
		return errors.New("there is no second key")
	})
}

// burst spoils a sixth of every object, one cell at least, in one piece: damage within the parity.
func burst(p place) error {
	return everyObject(p.dir, func(path string, content []byte) error {
		length := max(stripe.CellSize, len(content)/6)
		at := len(content) / 3
		for i := at; i < min(at+length, len(content)); i++ {
			content[i] ^= 0x10
		}
		return os.WriteFile(path, content, 0o644)
	})
}

// dropIndex deletes all index objects.
func dropIndex(p place) error { return os.RemoveAll(filepath.Join(p.dir, "index")) }

// ageSessions makes every session look as if its host had died two days ago.
func ageSessions(p place) error {
	old := time.Now().Add(-48 * time.Hour)
	return everyObject(filepath.Join(p.dir, "sessions"), func(path string, _ []byte) error { return os.Chtimes(path, old, old) })
}

func everyObject(dir string, fn func(path string, content []byte) error) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return fn(path, content)
	})
}
