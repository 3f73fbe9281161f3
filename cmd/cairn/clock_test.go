package main

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAClockThatWentBackIsToldAndTheNewestPointStaysTheLastOne(t *testing.T) {
	dir := t.TempDir()
	docs := filepath.Join(dir, "docs")
	if err := os.Mkdir(docs, 0o755); err != nil {
		t.Fatal(err)
	}
	p, out, errs := quiet(t)
	p.random = rand.Reader
	cairn := func(args ...string) string {
		t.Helper()
		out.Reset()
		errs.Reset()
		args = append([]string{"cairn", "--repo", filepath.Join(dir, "repo"), "--cache-dir", filepath.Join(dir, "cache")}, args...)
		if err := p.run(context.Background(), args); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, errs)
		}
		return out.String()
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(docs, "a"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cairn("init", "--no-encryption")
	write("first")
	cairn("backup", docs)
	if strings.Contains(errs.String(), "clock") {
		t.Errorf("a first backup was told: %s", errs)
	}
	month := p.now().AddDate(0, -1, 0)
	p.now = func() time.Time { return month }
	write("second state")
	cairn("backup", docs)
	if !strings.Contains(errs.String(), "warning: the clock says "+month.UTC().Format("2006-01-02")) {
		t.Errorf("a clock that is a month behind was not told: %q", errs)
	}
	if got := cairn("cat", "docs:/a"); got != "second state" {
		t.Errorf("the latest restore point holds %q", got)
	}
}
