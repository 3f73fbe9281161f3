//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

const (
	treeSmall = "small"
	treeLarge = "large"
)

func main() {
	debug.SetGCPercent(20) // a child's peak memory counts what this process held when it was forked
	if err := benchmark(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func benchmark() (err error) {
	rounds := flag.Int("rounds", 3, "how often everything is measured; the median counts")
	program := flag.String("cairn", "bin/cairn", "the program to measure")
	work := flag.String("work", "", "where to work: about 8 GB (default: a new temporary directory)")
	trees := flag.String("trees", treeSmall+","+treeLarge, "which trees to measure")
	small := flag.String("small", "", "use a copy of this directory as the tree of small files (default: Linux 6.1)")
	scale := flag.Float64("scale", 1, "size of the large files, as a part of 1.2 GB")
	out := flag.String("out", "docs", "where to write BENCHMARKS.md and benchmarks.json; - for nowhere")
	random := flag.String("random-reads", "", "read 2,000 blocks of this file at random, and end (used by the bench itself)")
	flag.Parse()
	if *random != "" {
		return readRandomly(*random)
	}
	if *work == "" {
		if *work, err = os.MkdirTemp("", "cairn-bench."); err != nil {
			return err
		}
		defer os.RemoveAll(*work)
	}
	bin, err := filepath.Abs(*program)
	if err != nil {
		return err
	}
	began := time.Now()
	b := &bench{work: *work, cairn: bin, rounds: *rounds, samples: map[key][]cost{}, sizes: map[key][]cost{},
		log: func(format string, args ...any) {
			fmt.Printf("%6.1f  "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
		}}
	result := &result{Date: began.UTC().Format(time.RFC3339), Rounds: *rounds, Machine: machine(), Versions: versions(bin), Trees: map[string]treeInfo{}}
	for _, name := range strings.Split(*trees, ",") {
		if err := b.tree(name, *small, *scale, result); err != nil {
			return err
		}
	}
	result.fill(b)
	text := result.markdown()
	fmt.Println("\n" + text)
	if *out == "-" {
		return nil
	}
	return result.save(*out, text)
}

// tree makes one of the two trees, measures it round by round, and removes it.
func (b *bench) tree(name, small string, scale float64, r *result) error {
	dir := filepath.Join(b.work, name)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	b.log("%s: making the tree", name)
	var err error
	switch {
	case name == treeLarge:
		err = largeTree(dir, scale)
	case small != "":
		_, err = run(nil, "cp", "-a", small, dir)
	default:
		err = smallTree(dir)
	}
	if err != nil {
		return err
	}
	files, bytes, err := measureTree(dir)
	if err != nil {
		return err
	}
	r.Trees[name] = treeInfo{files, bytes}
	b.log("%s: %d files, %d MB", name, files, bytes/1e6)
	for i := range b.rounds {
		b.log("%s: round %d of %d", name, i+1, b.rounds)
		if err := b.round(name, dir, i); err != nil {
			return fmt.Errorf("%s, round %d: %w", name, i+1, err)
		}
	}
	return os.RemoveAll(dir)
}

func machine() string {
	text := fmt.Sprintf("%d processors, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(info), "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				text += ", " + strings.TrimSpace(value)
				break
			}
		}
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kilobytes int64
		if _, err := fmt.Sscanf(string(info), "MemTotal: %d kB", &kilobytes); err == nil {
			text += fmt.Sprintf(", %d GiB of memory", kilobytes>>20)
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		text += ", Linux " + strings.TrimSpace(string(release))
	}
	return text
}

func versions(bin string) map[string]string {
	all := map[string]string{"go": runtime.Version()}
	for name, command := range map[string][]string{"cairn": {bin, "version"}, "restic": {"restic", "version"}, "cp": {"cp", "--version"}} {
		out, err := exec.Command(command[0], command[1:]...).Output()
		if err != nil {
			out = []byte("unknown: " + err.Error())
		}
		first, _, _ := strings.Cut(string(out), "\n")
		all[name] = first
	}
	return all
}
