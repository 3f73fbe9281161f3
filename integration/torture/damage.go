//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const damageChapter = "damage"

// damages takes a repository with objects of every kind, and spoils copies of it.
func damages(t *tally, a *arena, shape string, least int, until time.Time) error {
	if err := a.everyKind(shape); err != nil {
		return fmt.Errorf("make a repository to spoil: %w", err)
	}
	whole := a.repo + ".whole"
	if err := exec.Command("cp", "-a", a.repo, whole).Run(); err != nil {
		return err
	}
	objects, err := findObjects(a.repo)
	if err != nil {
		return err
	}
	byKind := map[string][]object{}
	for _, o := range objects {
		if o.kind != "foreign" {
			byKind[o.kind] = append(byKind[o.kind], o)
		}
	}
	kinds := slices.Sorted(maps.Keys(byKind))
	a.chance.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	var failed []error
	for n := 0; n < least || time.Now().Before(until) && len(failed) < maxLost; n++ {
		a.key = filepath.Join(a.dir, "key")
		if err := errors.Join(os.RemoveAll(a.repo), os.RemoveAll(filepath.Join(a.dir, "cache")), exec.Command("cp", "-a", whole, a.repo).Run()); err != nil {
			return err
		}
		kind := kinds[n/2%len(kinds)]
		o := byKind[kind][a.chance.IntN(len(byKind[kind]))]
		fault, limit := "", "within the parity"
		if n%2 == 0 {
			fault, err = a.within(o)
		} else {
			limit = "beyond the parity"
			fault, err = a.beyond(o, objects)
		}
		t.tried(fmt.Sprintf("%s %s, %s", damageChapter, limit, shape), kind+": "+fault, err)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s %s, %s, attempt %d: %w", o.name, fault, limit, n, err))
		}
	}
	return errors.Join(failed...)
}

// everyKind makes a repository in which there is something of every kind.
func (a *arena) everyKind(shape string) error {
	if _, err := a.must("init", "--parity", shape); err != nil {
		return err
	}
	if err := a.garden.grow(40, fileSize); err != nil {
		return err
	}
	for range 4 {
		if err := errors.Join(a.garden.change(fileSize), a.backup(a.garden.dir)); err != nil {
			return err
		}
	}
	if _, err := a.must("key", "add", "--new-key-file", filepath.Join(a.dir, "key2")); err != nil {
		return err
	}
	oldest := a.names("docs@")
	for _, args := range [][]string{{"forget", oldest[0]}, {"prune", "--max-unused", "0"}, {"tag", oldest[2], "precious"}, {"pin", oldest[3]}} {
		if o := a.run(args...); o.code != 0 {
			return errors.New(o.String())
		}
	}
	delete(a.points, oldest[0])
	if err := a.sleepingSession(); err != nil {
		return err
	}
	if _, err := a.must("forget", oldest[1]); err != nil {
		return err
	}
	delete(a.points, oldest[1])
	_, err := a.must("prune", "--max-unused", "0") // waits for the session: a tombstone stays
	return err
}

// sleepingSession leaves a session whose host died: a backup is killed as soon as its marker is there.
func (a *arena) sleepingSession() error {
	big := filepath.Join(a.dir, "big")
	if err := (garden{big, a.chance}).grow(20, 4<<20); err != nil {
		return err
	}
	defer os.RemoveAll(big)
	cmd := a.command(context.Background(), "backup", big)
	if err := cmd.Start(); err != nil {
		return err
	}
	for range 5000 {
		if found, err := os.ReadDir(filepath.Join(a.repo, "sessions")); err == nil && len(found) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return a.settle(nil)
}

// verifyReport is what verify says in JSON.
type verifyReport struct {
	Findings []struct {
		Kind, Object, Source, Point, Path string
		Ranges                            []span
	}
}

func (a *arena) verify() (verifyReport, outcome, error) {
	var r verifyReport
	o := a.run("verify", "--read-data", "--json")
	if o.code != 0 && o.code != 3 {
		return r, o, errors.New(o.String())
	}
	return r, o, json.Unmarshal([]byte(o.stdout), &r)
}

// within spoils an object within the parity: nobody may notice but verify, and repair makes it what it was.
func (a *arena) within(o object) (fault string, err error) {
	was, err := os.ReadFile(o.path)
	if err != nil {
		return "", err
	}
	if fault, err = o.spoilWithin(a.chance); err != nil {
		return fault, err
	}
	report, found, err := a.verify()
	if err != nil {
		return fault, err
	}
	if now, err := os.ReadFile(o.path); err == nil && bytes.Equal(now, was) {
		return fault + " (of bytes that were zero)", a.restore(a.anyPoint())
	}
	named := false
	for _, f := range report.Findings {
		named = named || f.Object == o.name
		if f.Kind == "file" || f.Kind == "directory" || f.Kind == "point" || f.Kind == "damaged" || f.Kind == "key" {
			return fault, fmt.Errorf("verify calls lost what parity mends: %s", found)
		}
	}
	if !named {
		return fault, fmt.Errorf("verify does not name %s: %s", o.name, found)
	}
	if err := a.restoreAll(); err != nil {
		return fault, err
	}
	if _, err := a.must("repair"); err != nil {
		return fault, err
	}
	if now, err := os.ReadFile(o.path); err != nil || !bytes.Equal(now, was) {
		return fault, errors.Join(err, fmt.Errorf("repair did not make %s what it was", o.name))
	}
	return fault, a.verified(true)
}

// beyond spoils an object beyond the parity. Nobody may get wrong bytes, verify names just the files that are lost, the rest
// is restored, and after a repair a full backup of what is still there is whole.
func (a *arena) beyond(o object, others []object) (fault string, err error) {
	if fault, err = o.spoilBeyond(a.chance, others); err != nil {
		return fault, err
	}
	if o.kind == "key slot" { // whose it was, nobody knows; one of the two still opens
		if _, err := a.must("points"); err != nil {
			a.key += "2"
		}
	}
	report, found, err := a.verify()
	if err != nil {
		return fault, err
	}
	lost := map[string]map[string][]span{}
	for _, f := range report.Findings {
		if f.Kind != "file" && f.Kind != "directory" {
			continue
		}
		point := f.Source + "@" + f.Point
		if lost[point] == nil {
			lost[point] = map[string][]span{}
		}
		lost[point][strings.TrimPrefix(filepath.Clean("."+f.Path), "./")] = f.Ranges
	}
	if len(lost) > 0 && !strings.HasPrefix(o.kind, "pack") && o.kind != "index object" {
		return fault, fmt.Errorf("the loss of a %s costs files: %s", o.kind, found)
	}
	listed := a.run("points", "--json")
	for _, name := range a.names("") {
		if err := a.restoreDamaged(name, lost[name], listed.stdout, o.kind, found); err != nil {
			return fault, err
		}
	}
	return fault, a.recover(o, report)
}

// restoreDamaged restores what can be: all but what verify told.
func (a *arena) restoreDamaged(name string, lost map[string][]span, listed, kind string, found outcome) error {
	if source, point, _ := strings.Cut(name, "@"); kind == "restore-point record" && !strings.Contains(listed, `"source":"`+source+`","name":"`+point+`"`) {
		return nil // that is the one
	}
	target := filepath.Join(a.dir, "restored")
	defer os.RemoveAll(target)
	r := a.run("restore", name, "--to", target)
	_, rootLost := lost["."]
	switch {
	case r.code == 0 && len(lost) == 0, r.code == 3 && len(lost) > 0:
	case r.code == 1 && rootLost:
		return nil
	default:
		return fmt.Errorf("%d paths are told to be lost, and restore says: %s; verify: %s", len(lost), r, found)
	}
	return a.points[name].compare(target, lost)
}

// recover gets over what was lost: repair, a full backup, and what is then taken is whole.
func (a *arena) recover(o object, report verifyReport) error {
	for _, f := range report.Findings {
		if f.Kind == "prune" { // no prune is running: verify says to delete it
			if err := os.Remove(filepath.Join(a.repo, f.Object)); err != nil {
				return err
			}
		}
	}
	if r := a.run("repair", "--index"); r.code != 0 && r.code != 3 {
		return errors.New(r.String())
	}
	if err := a.backup(a.garden.dir, "--full", "--source", "docs"); err != nil {
		return fmt.Errorf("after the repair: %w", err)
	}
	name := a.latest
	defer delete(a.points, name)
	if err := a.restore(name); err != nil {
		return fmt.Errorf("after the repair and a full backup: %w", err)
	}
	switch o.kind {
	case "index object", "config", "spare config":
		return a.verified(true) // nothing of it was lost for good
	}
	return nil
}
