package chunkstore_test

import (
	"bytes"
	"context"
	"errors"
	"flag"

	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// The golden repositories were written when version 1 of the format was fixed, and are read by every build since: one sealed, one plain,
// both 3+2. They are never written again; -write-golden makes them where there are none, for a new version.
var writeGolden = flag.Bool("write-golden", false, "make the golden repositories that are missing under testdata")

const (
	goldenDir        = "testdata/golden-1"
	goldenIdentity   = goldenDir + "/identity.txt"
	goldenPassphrase = "correct horse battery staple"
)

var goldenTime = time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)

// goldenNoise is n bytes that do not compress, from a generator that no library changes.
func goldenNoise(seed uint32, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		seed = seed*1664525 + 1013904223
		p[i] = byte(seed >> 24)
	}
	return p
}

// goldenChunks are the chunks of the data pack, by frame.
func goldenChunks() [][][]byte {
	verse := []byte("Stone on stone, a cairn marks the way that was taken, for those who come after.\n")
	return [][][]byte{
		{bytes.Repeat(verse, 300), []byte("x"), bytes.Repeat(verse[:40], 400)},
		{goldenNoise(1, 40_000), goldenNoise(2, 17)},
	}
}

// goldenNodes are the chunks of the tree pack, in one frame.
func goldenNodes() [][]byte {
	return [][]byte{[]byte("a tree node"), bytes.Repeat([]byte("another "), 100)}
}

// goldenObjects are the payloads of small objects: empty, short, compressible, and of several cells.
func goldenObjects() map[string][]byte {
	return map[string][]byte{
		"empty": {}, "short": []byte("short"), "folder/long": bytes.Repeat([]byte("0123456789"), 2000), "cells": goldenNoise(3, 9000),
	}
}

func writeGoldenRepository(t *testing.T, dir string, plain bool) {
	t.Helper()
	ctx := t.Context()
	d, err := local.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	options := chunkstore.InitOptions{Shape: stripe.Shape{Data: 3, Parity: 2}, Plain: plain, Random: rand.NewChaCha8([32]byte{1}), Now: goldenTime}
	if !plain {
		identities, err := keys.IdentityFile(goldenIdentity).Identities()
		if err != nil {
			t.Fatal(err)
		}
		passphrase, err := age.NewScryptRecipient(goldenPassphrase)
		if err != nil {
			t.Fatal(err)
		}
		passphrase.SetWorkFactor(10) // the default would take a second in each test
		options.Recipients = []age.Recipient{identities[0].(*age.X25519Identity).Recipient(), passphrase}
		options.Labels = []string{"identity", "passphrase"}
	}
	s, err := chunkstore.Init(ctx, d, options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for kind, frames := range map[chunkstore.Kind][][][]byte{chunkstore.KindData: goldenChunks(), chunkstore.KindTree: {goldenNodes()}} {
		w := s.NewWriter(kind, chunkstore.WriterOptions{})
		batch := w.NewBatch()
		for _, chunks := range frames {
			for _, chunk := range chunks {
				err = errors.Join(err, batch.Add(ctx, s.ChunkID(chunk), chunk))
			}
			err = errors.Join(err, batch.Flush(ctx))
		}
		if err = errors.Join(err, w.Close(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	for name, payload := range goldenObjects() {
		if err := s.PutObject(ctx, chunkstore.TypePoint, name, payload); err != nil {
			t.Fatal(err)
		}
	}
}

// openGolden opens one of the golden repositories with each thing that opens it.
func eachGolden(t *testing.T, test func(t *testing.T, dir string, u keys.Unlocker)) {
	for name, unlockers := range map[string][]keys.Unlocker{
		"plain": {nil}, "sealed": {keys.IdentityFile(goldenIdentity), keys.Passphrase(goldenPassphrase)},
	} {
		dir := filepath.Join(goldenDir, name)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && *writeGolden {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			writeGoldenRepository(t, dir, name == "plain")
		}
		for _, u := range unlockers {
			t.Run(name, func(t *testing.T) { test(t, dir, u) })
		}
	}
}

func openGolden(t *testing.T, dir string, u keys.Unlocker) *chunkstore.Store {
	t.Helper()
	d, err := local.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := chunkstore.Open(t.Context(), d, u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestOldRepositoriesAreReadable(t *testing.T) {
	eachGolden(t, func(t *testing.T, dir string, u keys.Unlocker) { readGolden(t, openGolden(t, dir, u)) })
}

// TestOldRepositoriesSurviveDamage damages two of the five shards of every object.
func TestOldRepositoriesSurviveDamage(t *testing.T) {
	eachGolden(t, func(t *testing.T, dir string, u keys.Unlocker) {
		hurt := t.TempDir()
		if err := os.CopyFS(hurt, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(hurt, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			object, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			clear(object[:len(object)*2/5/stripe.CellSize*stripe.CellSize])
			return os.WriteFile(path, object, 0o666)
		})
		if err != nil {
			t.Fatal(err)
		}
		s := openGolden(t, hurt, u)
		readGolden(t, s)
		repairGolden(t, s, dir, hurt)
	})
}

// repairGolden mends the damaged copy and compares it, byte by byte, with the original.
func repairGolden(t *testing.T, s *chunkstore.Store, dir, hurt string) {
	t.Helper()
	var names []string
	err := s.Objects(t.Context(), func(i destination.Info, foreign bool) error {
		if foreign {
			t.Errorf("%s is foreign", i.Name)
		}
		names = append(names, i.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := s.RepairObject(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(hurt, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s was not mended: %v", name, err)
		}
		check, err := s.CheckObject(context.Background(), name, true)
		if err != nil || !check.OK() {
			t.Errorf("%+v, %v", check, err)
		}
	}
}

func readGolden(t *testing.T, s *chunkstore.Store) {
	t.Helper()
	ctx := t.Context()
	if c := s.Config(); c.Shape != (stripe.Shape{Data: 3, Parity: 2}) || !c.Created.Equal(goldenTime) || c.Version != 1 {
		t.Errorf("%+v", c)
	}
	got := map[chunkstore.Kind][]string{}
	err := s.Packs(ctx, func(i chunkstore.PackInfo) error {
		pack, err := s.Table(ctx, i.ID)
		if err != nil {
			return err
		}
		for _, chunk := range pack.Chunks {
			data, err := s.Read(ctx, chunk.ID, chunk.Location, nil)
			if err != nil {
				return err
			}
			if s.ChunkID(data) != chunk.ID {
				t.Errorf("chunk %s has another id", chunk.ID)
			}
			got[pack.Kind] = append(got[pack.Kind], string(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[chunkstore.Kind][]string{}
	for _, frame := range goldenChunks() {
		for _, chunk := range frame {
			want[chunkstore.KindData] = append(want[chunkstore.KindData], string(chunk))
		}
	}
	for _, node := range goldenNodes() {
		want[chunkstore.KindTree] = append(want[chunkstore.KindTree], string(node))
	}
	if !cmp.Equal(want, got) {
		t.Error("the chunks are others")
	}
	for name, want := range goldenObjects() {
		if got, err := s.GetObject(ctx, chunkstore.TypePoint, name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("object %s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestFormatTellsTheNumbersOfTheCode compares the table of numbers at the end of FORMAT.md with the code.
func TestFormatTellsTheNumbersOfTheCode(t *testing.T) {
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| constant | value |")
	if !found {
		t.Fatal("FORMAT.md has no table of constants")
	}
	got := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.Contains(cells[1], "---") {
			continue
		}
		got[strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[2])
	}
	if diff := cmp.Diff(chunkstore.FormatNumbers(), got); diff != "" {
		t.Error(diff)
	}
}
