package locator

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore"
)

// childFolder in the environment makes TestMain a process that folds objects into the cache there until it is killed:
// those numbered from childFirst on.
const (
	childFolder = "CAIRN_TEST_CACHE"
	childFirst  = "CAIRN_TEST_FIRST"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if err := foldForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// object returns the chunks of object number n.
func object(n uint64) (string, []chunkstore.Pack) {
	return fmt.Sprintf("object-%d", n), some(rand.New(rand.NewPCG(n, 1)), 1000)
}

func foldForever(dir string) error {
	first, err := strconv.ParseUint(os.Getenv(childFirst), 10, 64)
	if err != nil {
		return err
	}
	c, err := Open(dir, repository, nil)
	if err != nil {
		return err
	}
	for n := first; ; n++ {
		name, packs := object(n)
		if err := c.Fold(context.Background(), []string{name}, packs); err != nil {
			return err
		}
		fmt.Println(name)
	}
}

func TestManyProcessesShareACacheAndKilledOnesDoNoHarm(t *testing.T) {
	dir := t.TempDir()
	folded := make(map[string]bool)
	for round := range uint64(2) {
		var children []*exec.Cmd
		for i := range uint64(2) {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), childFolder+"="+dir, fmt.Sprintf("%s=%d", childFirst, 1000*(2*round+i)))
			child.Stderr = os.Stderr
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
			// Each folds some and is then killed in the midst of folding another, while the others go on.
			lines := bufio.NewScanner(out)
			for range 2 + i {
				if !lines.Scan() {
					t.Fatalf("a process ended by itself: %v", child.Wait())
				}
				folded[strings.TrimSpace(lines.Text())] = true
			}
		}
		for _, child := range children {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = child.Wait() // it was killed
		}
	}
	c := open(t, dir)
	covered := c.Covered()
	for name := range folded {
		if _, ok := covered[name]; !ok {
			t.Errorf("%s was folded and is gone", name)
		}
	}
	for name := range covered {
		var n uint64
		if _, err := fmt.Sscanf(name, "object-%d", &n); err != nil {
			t.Fatal(err)
		}
		_, packs := object(n)
		expectAll(t, c, packs)
	}
	fold(t, c, "last", nil)
	if names, runs := files(t, dir), c.Stats().Runs; len(names) != runs {
		t.Errorf("%d runs, files %v", runs, names)
	}
}
