package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write golden files anew")

// machine is a host on which some things are wrong.
var machine = Checks{
	Cron: func(e string) error {
		switch {
		case len(strings.Fields(e)) != 5:
			return errors.New("it has not five fields")
		case strings.Contains(e, "25"):
			return errors.New("hour 25 is not 0 to 23; write an hour from 0 to 23")
		}
		return nil
	},
	Zone: func(name string) error {
		if name != "Europe/Paris" {
			return errors.New("unknown")
		}
		return nil
	},
	File:     unlike("/missing", "there is no such file"),
	StateDir: unlike("/unwritable", "permission denied"),
	Mount:    unlike("/busy", "something else is mounted there"),
	Listen:   unlike("127.0.0.1:80", "the port is in use"),
	Path:     unlike("/gone", "there is no such directory"),
	Source: func(s Source) error {
		if strings.Contains(strings.Join(s.Excludes, ""), "[z") {
			return errors.New("a pattern is not complete")
		}
		return nil
	},
	Repository:  func(r Repository) error { return unlike("/unreachable", "there is no repository")(r.Path) },
	SourceTypes: []string{"postgres"},
}

func unlike(bad, message string) func(string) error {
	return func(s string) error {
		if strings.HasPrefix(s, bad) {
			return fmt.Errorf("%s: %s", s, message)
		}
		return nil
	}
}

func TestEachMistakeIsReportedWithItsPlaceAndARemedy(t *testing.T) {
	const golden = "testdata/problems.txtar"
	archive, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	fresh := txtar.Archive{Comment: archive.Comment}
	want := map[string]string{}
	for _, f := range archive.Files {
		if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
			want[name] = string(f.Data)
		}
	}
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".toml")
		if !ok {
			continue
		}
		_, problems := Load(f.Name, f.Data, machine)
		got := ""
		for _, p := range problems {
			got += p.Error() + "\n"
			if p.What == "" || p.Remedy == "" {
				t.Errorf("%s: a problem without a remedy: %s", name, p.Error())
			}
			if p.Line == 0 && p.Key != "task" {
				t.Errorf("%s: a problem without a place: %s", name, p.Error())
			}
		}
		if diff := cmp.Diff(want[name], got); diff != "" && !*update {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		fresh.Files = append(fresh.Files, f, txtar.File{Name: name + ".want", Data: []byte(got)})
	}
	if *update {
		if err := os.WriteFile(golden, txtar.Format(&fresh), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
