package index

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

// recordFormat is the newest format of records of restore points that this code reads, and the one that it writes.
const recordFormat = 1

// text is a string of any bytes in JSON: a string where it is UTF-8, and else {"base64": "..."}.
type text string

type binaryText struct {
	Base64 string `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(binaryText{base64.StdEncoding.EncodeToString([]byte(t))})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	var raw binaryText
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	s, err := base64.StdEncoding.DecodeString(raw.Base64)
	*t = text(s)
	return err
}

// record is a restore point as it rests: JSON. Times are RFC 3339 in UTC with nanoseconds. Fields are only ever added
// within a format; what is not known is ignored.
type record struct {
	Format      int             `json:"format"`
	Sequence    uint64          `json:"sequence"`
	Name        string          `json:"name"`
	Source      text            `json:"source"`
	Host        text            `json:"host,omitempty"`
	User        text            `json:"user,omitempty"`
	Task        text            `json:"task,omitempty"`
	Kind        string          `json:"kind,omitempty"`
	Started     time.Time       `json:"started"`
	Finished    time.Time       `json:"finished"`
	Zone        string          `json:"zone,omitempty"`
	Offset      int             `json:"offset"` // seconds east of UTC
	Paths       []text          `json:"paths,omitempty"`
	Root        recordRoot      `json:"root"`
	Stats       recordStats     `json:"stats"`
	Problems    []recordProblem `json:"problems,omitempty"`
	Consistency string          `json:"consistency,omitempty"`
	Config      map[string]text `json:"config,omitempty"`
	Tags        []text          `json:"tags,omitempty"`
	Pinned      bool            `json:"pinned,omitempty"`
}

type recordRoot struct {
	ID      string `json:"id"` // hexadecimal
	Entries int64  `json:"entries"`
	Files   int64  `json:"files"`
	Dirs    int64  `json:"dirs"`
	Bytes   int64  `json:"bytes"`
}

type recordProblem struct {
	Path    text `json:"path"`
	Message text `json:"message"`
}

type recordStats struct {
	Files       int64 `json:"files"`
	Dirs        int64 `json:"dirs"`
	Others      int64 `json:"others"`
	Bytes       int64 `json:"bytes"`
	Read        int64 `json:"read"`
	New         int64 `json:"new"`
	Changed     int64 `json:"changed"`
	Unchanged   int64 `json:"unchanged"`
	Removed     int64 `json:"removed"`
	Chunks      int64 `json:"chunks"`
	Added       int64 `json:"added"`
	AddedStored int64 `json:"added_stored"`
	Reused      int64 `json:"reused"`
	Errors      int64 `json:"errors"`
}

var errRecord = errors.New("not a valid record of a restore point")

// encodePoint makes the payload of a restore point's record.
func encodePoint(p *Point) ([]byte, error) {
	rec := record{
		Format: p.Format, Sequence: p.Sequence, Name: p.Name,
		Source: text(p.Source), Host: text(p.Host), User: text(p.User), Task: text(p.Task), Kind: p.Kind,
		Started: p.Started, Finished: p.Finished, Zone: p.Zone, Offset: p.Offset,
		Paths: texts(p.Paths), Tags: texts(p.Tags),
		Root: recordRoot{
			ID: p.Root.ID.String(), Entries: p.Root.Entries, Files: p.Root.Files, Dirs: p.Root.Dirs, Bytes: p.Root.Bytes,
		},
		Stats: recordStats(p.Stats), Consistency: p.Consistency, Pinned: p.Pinned,
	}
	for _, problem := range p.Problems {
		rec.Problems = append(rec.Problems, recordProblem{text(problem.Path), text(problem.Message)})
	}
	for k, v := range p.Config {
		if rec.Config == nil {
			rec.Config = make(map[string]text)
		}
		rec.Config[k] = text(v)
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return b, nil
}

// decodePoint reads the payload of a restore point's record.
func decodePoint(payload []byte) (*Point, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(payload, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	if head.Format > recordFormat {
		return nil, &chunkstore.VersionError{Found: head.Format, Known: recordFormat}
	}
	var rec record
	if err := json.Unmarshal(payload, &rec); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	root, err := hex.DecodeString(rec.Root.ID)
	if err != nil || len(root) != len(chunkstore.ID{}) {
		return nil, fmt.Errorf("%w: id of its tree", errRecord)
	}
	if rec.Format < 1 || rec.Name == "" || rec.Source == "" || rec.Sequence == 0 {
		return nil, errRecord
	}
	p := &Point{
		Format: rec.Format, Sequence: rec.Sequence, Name: rec.Name,
		Source: string(rec.Source), Host: string(rec.Host), User: string(rec.User), Task: string(rec.Task), Kind: rec.Kind,
		Started: rec.Started.UTC(), Finished: rec.Finished.UTC(), Zone: rec.Zone, Offset: rec.Offset,
		Paths: plain(rec.Paths), Tags: plain(rec.Tags),
		Root: tree.Ref{
			ID:     chunkstore.ID(root),
			Totals: tree.Totals{Entries: rec.Root.Entries, Files: rec.Root.Files, Dirs: rec.Root.Dirs, Bytes: rec.Root.Bytes},
		},
		Stats: Stats(rec.Stats), Consistency: rec.Consistency, Pinned: rec.Pinned,
	}
	for _, problem := range rec.Problems {
		p.Problems = append(p.Problems, Problem{string(problem.Path), string(problem.Message)})
	}
	for k, v := range rec.Config {
		if p.Config == nil {
			p.Config = make(map[string]string)
		}
		p.Config[k] = string(v)
	}
	return p, nil
}

func texts(s []string) []text {
	var t []text
	for _, v := range s {
		t = append(t, text(v))
	}
	return t
}

func plain(t []text) []string {
	var s []string
	for _, v := range t {
		s = append(s, string(v))
	}
	return s
}

// marker is a session object as it rests: JSON.
type marker struct {
	Format  int       `json:"format"`
	Source  text      `json:"source"`
	Host    text      `json:"host,omitempty"`
	User    text      `json:"user,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Started time.Time `json:"started"`
	Renewed time.Time `json:"renewed"`          // by the host's clock; the destination's is in the listing
	Begun   time.Time `json:"begun,omitzero"`   // by the destination's clock; not in the first marker, whose own time it is
	Stored  int64     `json:"stored,omitempty"` // bytes of packs so far
	Prune   bool      `json:"prune,omitempty"`  // a prune: it makes no restore point
}

func encodeMarker(m marker) ([]byte, error) {
	m.Format = recordFormat
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode session: %w", err)
	}
	return b, nil
}

func decodeMarker(payload []byte) (marker, error) {
	var m marker
	if err := json.Unmarshal(payload, &m); err != nil {
		return m, fmt.Errorf("not a valid session: %w", err)
	}
	if m.Format > recordFormat {
		return m, &chunkstore.VersionError{Found: m.Format, Known: recordFormat}
	}
	return m, nil
}
