package index

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-backup/cairn/chunkstore"
)

// marksFormat is the newest format of the log of marks that this code reads, and the one that it writes.
const marksFormat = 1

// marksRecord is an object of the log as it rests: JSON. Fields are only ever added within a format.
type marksRecord struct {
	Format    int           `json:"format"`
	Number    uint64        `json:"number"`
	Points    []pointMark   `json:"points,omitempty"`
	Going     []markedPoint `json:"going,omitempty"`
	Forgotten []span        `json:"forgotten,omitempty"` // rising, both ends included
}

// markedPoint names a restore point beyond doubt.
type markedPoint struct {
	Sequence uint64 `json:"sequence"`
	Source   text   `json:"source"`
	Name     string `json:"name"`
	Root     string `json:"root"` // hexadecimal
}

type pointMark struct {
	markedPoint
	Tags   []text `json:"tags,omitempty"`
	Pinned bool   `json:"pinned,omitempty"`
}

var errMarks = errors.New("not a valid record of tags and pins")

// encodeMarks makes the payload of an object of the log.
func encodeMarks(m *marks) ([]byte, error) {
	rec := marksRecord{Format: marksFormat, Number: m.number, Forgotten: m.forgotten}
	for id, v := range m.points {
		rec.Points = append(rec.Points, pointMark{markedPoint: named(id), Tags: texts(v.tags), Pinned: v.pinned})
	}
	slices.SortFunc(rec.Points, func(a, b pointMark) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Root, b.Root), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Name, b.Name))
	})
	for _, id := range m.going {
		rec.Going = append(rec.Going, named(id))
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode tags and pins: %w", err)
	}
	return b, nil
}

// decodeMarks reads the payload of an object of the log.
func decodeMarks(payload []byte) (*marks, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(payload, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errMarks, err)
	}
	if head.Format > marksFormat {
		return nil, &chunkstore.VersionError{Found: head.Format, Known: marksFormat}
	}
	var rec marksRecord
	if err := json.Unmarshal(payload, &rec); err != nil {
		return nil, fmt.Errorf("%w: %w", errMarks, err)
	}
	if rec.Format < 1 || rec.Number == 0 {
		return nil, errMarks
	}
	m := &marks{number: rec.Number, forgotten: rec.Forgotten}
	last := uint64(0)
	for _, s := range m.forgotten {
		if s[0] <= last || s[1] < s[0] {
			return nil, fmt.Errorf("%w: ranges that do not rise", errMarks)
		}
		last = s[1]
	}
	for _, p := range rec.Points {
		id, err := p.identity()
		if err != nil {
			return nil, err
		}
		m.set(id, mark{tags: plain(p.Tags), pinned: p.Pinned})
	}
	for _, p := range rec.Going {
		id, err := p.identity()
		if err != nil {
			return nil, err
		}
		m.going = append(m.going, id)
	}
	return m, nil
}

func named(id identity) markedPoint {
	return markedPoint{Sequence: id.sequence, Source: text(id.source), Name: id.name, Root: id.root.String()}
}

func (p markedPoint) identity() (identity, error) {
	root, err := hex.DecodeString(p.Root)
	if err != nil || len(root) != len(chunkstore.ID{}) || p.Sequence == 0 || p.Source == "" || p.Name == "" {
		return identity{}, fmt.Errorf("%w: a restore point's identity", errMarks)
	}
	return identity{sequence: p.Sequence, source: string(p.Source), name: p.Name, root: chunkstore.ID(bytes.Clone(root))}, nil
}
