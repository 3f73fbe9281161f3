package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/zeebo/blake3"

	"github.com/cairn-backup/cairn/chunkstore"
)

// What this host knows of places: an empty file DIR/PLACE/REPOSITORY for each repository that was seen at a place, below
// the cache folder. A key file or SSH key opens whatever was sealed to its public half, and a repository without encryption opens
// without any: whoever holds the storage could put a repository of their own in the place of the right one, and the
// next backup would go into it. So one that was never seen at a place where others were is refused.
const placesFolder = "places"

// knownAs is what a repository is known by: it depends on the master key, and tells nothing about it.
func knownAs(store *chunkstore.Store) string {
	id := store.ChunkID([]byte("cairn: the repository that this host knows"))
	return hex.EncodeToString(id[:16])
}

// checkPlace refuses a repository that is not the one seen at this place before, and remembers the first one.
func (p *program) checkPlace(c *cli.Context, where string, store *chunkstore.Store) error {
	dir, err := p.placeFolder(c, where)
	if err != nil {
		return err
	}
	known, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look up which repository lies at %s: %w", where, err)
	}
	name := knownAs(store)
	for _, k := range known {
		if k.Name() == name {
			return nil
		}
	}
	if len(known) > 0 && !c.Bool("accept-changed") {
		return failf("if you put it there, give --accept-changed once; if you did not, somebody else did: trust nothing that is there now",
			"another repository than the one that this host knows lies at %s", where)
	}
	p.rememberPlace(c, where, store)
	return nil
}

// rememberPlace makes the repository one of those that may lie at this place. A host that cannot remember works on.
func (p *program) rememberPlace(c *cli.Context, where string, store *chunkstore.Store) {
	dir, err := p.placeFolder(c, where)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, knownAs(store)), nil, 0o600)
	}
	if err != nil {
		p.warn(safeLines(fmt.Sprintf("cannot remember which repository lies at %s, so that another one in its place would not be noticed: %v", where, err)))
	}
}

func (p *program) placeFolder(c *cli.Context, where string) (string, error) {
	cache, err := p.cacheDir(c)
	if err != nil {
		return "", err
	}
	if path, isFile := strings.CutPrefix(where, "file://"); isFile || !strings.Contains(where, "://") {
		if where, err = filepath.Abs(path); err != nil {
			return "", err
		}
	}
	place := blake3.Sum256([]byte(where))
	return filepath.Join(cache, placesFolder, hex.EncodeToString(place[:16])), nil
}
