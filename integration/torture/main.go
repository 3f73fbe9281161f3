//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	if err := torture(); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

func torture() error {
	duration := flag.Duration("duration", 10*time.Minute, "how long to go on; every chapter runs once in any case")
	seed := flag.Uint64("seed", 1, "what the rounds' chance comes from")
	from := flag.Uint64("round", 0, "begin with this round")
	only := flag.String("only", "", "run only the chapters whose names hold this")
	program := flag.String("cairn", "bin/cairn", "the program to torture")
	work := flag.String("work", "", "where to work: about 1 GB (default: a new temporary directory)")
	out := flag.String("out", "docs", "where to write RELIABILITY.md; - for nowhere")
	flag.Parse()
	bin, err := filepath.Abs(*program)
	if err != nil {
		return err
	}
	if *work == "" {
		if *work, err = os.MkdirTemp("", "cairn-torture."); err != nil {
			return err
		}
	}
	began := time.Now()
	log := func(format string, args ...any) {
		fmt.Printf("%6.1f  "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}
	s := &show{bin: bin, work: *work, seed: *seed, only: *only, tally: newTally(log), slice: min(*duration/12, 20*time.Second), hang: time.Second, goes: 5, lanes: 2}
	if *duration >= 2*time.Minute {
		s.hang = time.Minute
	}
	var lost error
	for round := *from; round == *from || time.Since(began) < *duration; round++ {
		log("round %d of seed %d", round, *seed)
		if err := s.round(round); err != nil {
			lost = errors.Join(lost, fmt.Errorf("seed %d, round %d: %w", *seed, round, err))
			if s.tally.losses() == 0 {
				s.tally.tried("before any fault", "what makes a repository to torture", err)
			}
		}
		s.hang = time.Second // once for long is enough
	}
	report := &report{Rows: s.tally.sorted(), Seed: *seed, Took: time.Since(began).Round(time.Second), Day: began.UTC().Format(time.DateOnly)}
	text := report.markdown()
	fmt.Println(text)
	if *out != "-" && *only == "" {
		if err := os.WriteFile(filepath.Join(*out, "RELIABILITY.md"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if lost != nil {
		return fmt.Errorf("%w\nthe folders of what went wrong are below %s", lost, *work)
	}
	return os.RemoveAll(*work)
}

// show runs the chapters.
type show struct {
	bin, work string
	seed      uint64
	only      string
	tally     *tally
	slice     time.Duration // how long a chapter that can go on for ever takes in a round
	hang      time.Duration // how long the disk hangs
	lanes     int           // chapters at once
	goes      int           // how often a disk fails by chance in a round
}

// round runs every chapter once. The folder of one that fails is kept.
func (s *show) round(round uint64) error {
	shapes := []string{"4+2", "10+2", "1+1"}
	chapters := []struct {
		name string
		run  func(a *arena, until time.Time) error
	}{
		{"limits", func(a *arena, _ time.Time) error {
			return limits(s.tally, func(name string) (*arena, error) {
				return newArena(s.bin, filepath.Join(a.dir, name), a.chance.Uint64())
			}, s.hang, s.goes)
		}},
		{"kills", func(a *arena, until time.Time) error { return kills(s.tally, a, 3, until) }},
		{"halfway", func(a *arena, _ time.Time) error { return halfway(s.tally, a) }},
		{"pause", func(a *arena, _ time.Time) error { return pause(s.tally, a) }},
		{"writers", func(a *arena, _ time.Time) error { return writers(s.tally, a) }},
		{"damage", func(a *arena, until time.Time) error {
			return damages(s.tally, a, shapes[round%uint64(len(shapes))], 4, until)
		}},
	}
	errs := make([]error, len(chapters))
	var g errgroup.Group
	g.SetLimit(s.lanes)
	for i, chapter := range chapters {
		if !strings.Contains(chapter.name, s.only) {
			continue
		}
		g.Go(func() error {
			dir := filepath.Join(s.work, fmt.Sprintf("%s-%d-%d", chapter.name, s.seed, round))
			a, err := newArena(s.bin, dir, s.seed<<20^round<<4^uint64(i))
			if err == nil {
				err = chapter.run(a, time.Now().Add(s.slice))
			}
			if err == nil {
				err = os.RemoveAll(dir)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", chapter.name, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}
