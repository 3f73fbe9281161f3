package index

import (
	"time"

	"github.com/cairn-backup/cairn/index/tree"
)

// The kinds of backups. Both give a restore point that stands alone.
const (
	Full        = "full"        // every byte was read again
	Incremental = "incremental" // what had not changed was not read
)

// Point is a restore point: one completed, immutable backup of one source at one time.
type Point struct {
	Name        string    // of its source: the start, as 2026-11-23T21-05-00Z, with "-2" and so on appended when taken
	Sequence    uint64    // in the repository, from 1, rising; the order of points, whatever clocks said
	Source      string    // what was backed up
	Host        string    // where
	User        string    // by whom
	Task        string    // by which task; empty for a one-time backup
	Kind        string    // Full or Incremental
	Started     time.Time // UTC
	Finished    time.Time // UTC
	Zone        string    // name of the host's time zone
	Offset      int       // of the host's time from UTC, seconds
	Paths       []string  // absolute paths that were backed up, any bytes
	Root        tree.Ref
	Stats       Stats
	Problems    []Problem         // the first MaxProblems of them; Stats.Errors counts all
	Consistency string            // how consistent the source says its content is; empty: file by file
	Config      map[string]string // the settings that made it
	Tags        []string          // as recorded; Marked knows those that were set since
	Pinned      bool              // no retention policy may drop it; likewise
	Format      int               // of the record
}

// MaxProblems bounds Point.Problems.
const MaxProblems = 1000

// Problem is something that could not be read, or not consistently.
type Problem struct {
	Path    string // in the tree, any bytes
	Message string
}

// Stats count what a backup met and did. Counts of entries count each name; sizes are in bytes.
type Stats struct {
	Files, Dirs, Others int64
	Bytes               int64 // of all files
	Read                int64 // bytes read from the source
	New, Changed        int64 // files that were not in the previous point; that were, and differed
	Unchanged           int64 // files taken over without reading
	Removed             int64 // files of the previous point that are gone
	Chunks              int64 // chunks met in what was read
	Added               int64 // bytes of chunks that were not known
	AddedStored         int64 // bytes written for them, parity included
	Reused              int64 // bytes of chunks read that were known already
	Errors              int64 // problems
}
