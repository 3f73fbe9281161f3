package local_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/destination/destinationtest"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
)

func open(t *testing.T) *local.Local {
	t.Helper()
	d, err := local.New(filepath.Join(t.TempDir(), "made", "later"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestContract(t *testing.T) {
	destinationtest.Run(t, func(t *testing.T) destination.Destination { return open(t) })
}

func TestWhatIsInProgressIsALeftoverAndNoObject(t *testing.T) {
	d := open(t)
	if err := d.Create(t.Context(), "packs/ab/ab01", []byte("x")); err != nil {
		t.Fatal(err)
	}
	left := "packs/ab/ab02" + destination.InProgress + "-123"
	if err := os.WriteFile(filepath.Join(d.Directory(), left), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	var objects, leftovers []string
	collect := func(to *[]string) func(destination.Info) error {
		return func(i destination.Info) error {
			*to = append(*to, i.Name)
			return nil
		}
	}
	if err := errors.Join(d.List(t.Context(), "", collect(&objects)), d.Leftovers(t.Context(), collect(&leftovers))); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(objects, []string{"packs/ab/ab01"}) || !slices.Equal(leftovers, []string{left}) {
		t.Errorf("objects %v, leftovers %v", objects, leftovers)
	}
	if err := d.Remove(t.Context(), left); err != nil {
		t.Errorf("remove a leftover: %v", err)
	}
}

func TestAFileInTheWayIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := local.New(path); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestSymlinksAreNotObjects(t *testing.T) {
	d := open(t)
	if err := d.Create(t.Context(), "index/1", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("1", filepath.Join(d.Directory(), "index", "2")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(t.Context(), "index/2"); !errors.Is(err, destination.ErrNotFound) {
		t.Errorf("stat a symlink: %v", err)
	}
}

func TestMoreFilesThanAreKeptOpenCanBeRead(t *testing.T) {
	d := open(t)
	names := make([]string, 200)
	for i := range names {
		names[i] = "packs/ab/" + strings.Repeat("a", i+1)[i:] + strings.Repeat("b", i%7) + string(rune('a'+i%26)) + strings.Repeat("c", i/26)
		if err := os.MkdirAll(filepath.Join(d.Directory(), "packs/ab"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.Directory(), names[i]), []byte(names[i]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	for g := range 4 {
		go func() {
			for i := range 400 {
				name := names[(i*7+g*50)%len(names)]
				p := make([]byte, len(name))
				if n, err := d.ReadAt(context.Background(), name, p, 0); n != len(p) || string(p) != name {
					done <- errors.Join(err, errors.New("read "+name))
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestWhatAnotherProcessMendedIsRead(t *testing.T) {
	reader := open(t)
	other, err := local.New(reader.Directory())
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"damaged", "mended.", "mended2"} {
		if err := other.Replace(t.Context(), "packs/ab/1", []byte(body)); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time from the file that is kept open
			p := make([]byte, len(body))
			if _, err := reader.ReadAt(t.Context(), "packs/ab/1", p, 0); err != nil || string(p) != body {
				t.Errorf("read %q, %v; there is %q", p, err, body)
			}
		}
	}
	if err := other.Remove(t.Context(), "packs/ab/1"); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ReadAt(t.Context(), "packs/ab/1", make([]byte, 1), 0); !errors.Is(err, destination.ErrNotFound) {
		t.Errorf("read what is gone: %v", err)
	}
}
