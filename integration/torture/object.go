//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/chunkstore/stripe"
)

// object is a file of a repository.
type object struct {
	path string
	name string // in the repository
	kind string
}

// folderKinds says what lies in which folder.
var folderKinds = map[string]string{
	"keys": "key slot", "index": "index object", "points": "restore-point record", "sessions": "session", "tombstones": "tombstone",
	"ledger": "ledger entry", "marks": "marks", ".": "config", "spare": "spare config",
}

// kindAt is where a pack's first cell says whether it holds data (1) or trees (2).
const kindAt = stripe.HeadSize + 40

// findObjects lists the objects of a repository.
func findObjects(repo string) ([]object, error) {
	var all []object
	err := filepath.WalkDir(repo, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, ".in-progress") {
			return err
		}
		name, err := filepath.Rel(repo, path)
		if err != nil {
			return err
		}
		o := object{path, name, folderKinds[filepath.Dir(name)]}
		if strings.HasPrefix(name, "packs/") {
			head := make([]byte, kindAt+1)
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			_, err = f.ReadAt(head, 0)
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			o.kind = map[byte]string{1: "pack of data", 2: "pack of trees"}[head[kindAt]]
		}
		if o.kind == "" {
			o.kind = "foreign"
		}
		all = append(all, o)
		return nil
	})
	return all, err
}

// shape reads how an object is cut, from its first cell.
func shape(content []byte) (data, parity, rows int, err error) {
	cells := len(content) / stripe.CellSize
	if cells == 0 {
		return 0, 0, 0, errors.New("no object")
	}
	data, parity = int(content[8]), int(content[9])
	if data == 0 || cells%(data+parity) != 0 {
		return 0, 0, 0, errors.New("no head")
	}
	return data, parity, cells / (data + parity), nil
}

// spoilWithin damages an object so that parity can mend it, in a way that it tells.
func (o object) spoilWithin(chance *rand.Rand) (how string, err error) {
	content, err := os.ReadFile(o.path)
	if err != nil {
		return "", err
	}
	_, parity, rows, err := shape(content)
	if err != nil {
		return "", fmt.Errorf("%s: %w", o.name, err)
	}
	reach := parity * rows // a burst of so many cells meets no row more often than parity can mend
	switch chance.IntN(4) {
	case 0:
		how = "flipped bits"
		for range parity {
			cell := chance.IntN(len(content)/stripe.CellSize) * stripe.CellSize
			for range 1 + chance.IntN(20) {
				content[cell+chance.IntN(stripe.CellSize)] ^= 1 << chance.IntN(8)
			}
		}
	case 1:
		how = "flipped bits, some in every row"
		for row := range rows {
			for range parity {
				cell := chance.IntN(len(content)/stripe.CellSize/rows)*rows + row
				content[cell*stripe.CellSize+chance.IntN(stripe.CellSize)] ^= 1 << chance.IntN(8)
			}
		}
	case 2:
		how = "a zeroed range"
		length := max(1, chance.IntN(max(1, (reach-1)*stripe.CellSize)))
		at := chance.IntN(len(content) - length)
		clear(content[at : at+length])
	default:
		how = "a truncation"
		length := 1 + chance.IntN(reach*stripe.CellSize)
		content = content[:len(content)-length]
	}
	return how, os.WriteFile(o.path, content, 0o644)
}

// spoilBeyond damages an object so that parity cannot mend all of it. Others of the same kind serve for a swap.
func (o object) spoilBeyond(chance *rand.Rand, others []object) (how string, err error) {
	content, err := os.ReadFile(o.path)
	if err != nil {
		return "", err
	}
	_, parity, rows, err := shape(content)
	if err != nil {
		return "", fmt.Errorf("%s: %w", o.name, err)
	}
	switch chance.IntN(5) {
	case 0:
		return "deleted", os.Remove(o.path)
	case 1:
		how = "flipped bits, too many in one row"
		row := chance.IntN(rows)
		shards := chance.Perm(len(content) / stripe.CellSize / rows)
		for _, shard := range shards[:parity+1] {
			content[(shard*rows+row)*stripe.CellSize+chance.IntN(stripe.CellSize)] ^= 1 << chance.IntN(8)
		}
	case 2:
		how = "zeroed from the middle on"
		clear(content[len(content)/2-chance.IntN(len(content)/2):])
	case 3:
		how = "truncated to less than half"
		content = content[:chance.IntN(len(content)/2)]
	default:
		for _, other := range others {
			if other.kind != o.kind || other.path == o.path || o.kind == "key slot" { // that would be two that are spoilt
				continue
			}
			swap := o.path + ".swap"
			return "swapped with another", errors.Join(os.Rename(o.path, swap), os.Rename(other.path, o.path), os.Rename(swap, other.path))
		}
		how = "noise in its place"
		for i := range content {
			content[i] = byte(chance.Uint32())
		}
	}
	return how, os.WriteFile(o.path, content, 0o644)
}
