package destinationtest

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cairn-backup/cairn/chunkstore/destination"
)

func replace(t *testing.T, d destination.Destination) {
	r, ok := d.(destination.Replacer)
	if !ok {
		return
	}
	bodies := [][]byte{noise(50_000), noise(70_001)}
	if err := r.Replace(t.Context(), "sessions/1", bodies[0]); err != nil {
		t.Fatalf("replace what is not there: %v", err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			p := make([]byte, 100_000)
			n, err := d.ReadAt(t.Context(), "sessions/1", p, 0)
			if err != io.EOF || !bytes.Equal(p[:n], bodies[0]) && !bytes.Equal(p[:n], bodies[1]) {
				t.Errorf("a reader saw %d bytes that are neither the old nor the new: %v", n, err)
				return
			}
		}
	})
	for i := range 20 {
		if err := r.Replace(t.Context(), "sessions/1", bodies[(i+1)%2]); err != nil {
			t.Errorf("replace: %v", err)
		}
	}
	close(stop)
	wg.Wait()
	if got := read(t, d, "sessions/1", len(bodies[0])); !bytes.Equal(got, bodies[0]) {
		t.Errorf("the last body is not what is read")
	}
	if got := list(t, d, ""); len(got) != 1 {
		t.Errorf("replacing left something: %v", got)
	}
}

func stat(t *testing.T, d destination.Destination) {
	create(t, d, "points/1", noise(1234))
	create(t, d, "points/12", noise(5))
	info, err := destination.Stat(t.Context(), d, "points/1")
	if err != nil || info.Size != 1234 || info.Name != "points/1" {
		t.Fatalf("stat: %+v, %v", info, err)
	}
	err = d.List(t.Context(), "points/1", func(i destination.Info) error {
		if i.Name == info.Name && (i.Size != info.Size || !i.Modified.Equal(info.Modified)) {
			t.Errorf("listed as %+v, stat says %+v", i, info)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func clock(t *testing.T, d destination.Destination) {
	c, ok := d.(destination.Clock)
	if !ok {
		return
	}
	create(t, d, "points/1", nil)
	info, err := destination.Stat(t.Context(), d, "points/1")
	if err != nil {
		t.Fatal(err)
	}
	now, err := c.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A second is what a coarse clock may lose.
	if now.Before(info.Modified.Add(-time.Second)) || now.After(info.Modified.Add(time.Hour)) {
		t.Errorf("the clock says %v just after an object of %v", now, info.Modified)
	}
	if got := list(t, d, ""); len(got) != 1 {
		t.Errorf("reading the clock left something: %v", got)
	}
}

func space(t *testing.T, d destination.Destination) {
	s, ok := d.(destination.Spacer)
	if !ok {
		return
	}
	free, total, err := s.Free(t.Context())
	if err != nil || free < 0 || total <= 0 || free > total {
		t.Errorf("%d free of %d: %v", free, total, err)
	}
}

func concurrent(t *testing.T, d destination.Destination) {
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 30 {
				name := fmt.Sprintf("packs/%02x/%02x", j, i)
				body := noise(1000*i + j)
				if err := d.Create(t.Context(), name, body); err != nil {
					t.Errorf("create %s: %v", name, err)
					continue
				}
				p := make([]byte, len(body))
				if n, err := d.ReadAt(t.Context(), name, p, 0); n != len(p) || err != nil && err != io.EOF || !bytes.Equal(p, body) {
					t.Errorf("read %s: %d bytes, %v", name, n, err)
				}
				if j%3 == 0 {
					if err := d.Remove(t.Context(), name); err != nil {
						t.Errorf("remove %s: %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := list(t, d, "packs/"); len(got) != 4*20 {
		t.Errorf("%d objects are left, not 80", len(got))
	}
}
