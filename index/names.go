package index

import "strings"

// Foreign tells of a file in one of the index's own folders, by its full name, whether it has a name that the index
// never gives: somebody else put it there. Of other folders it knows nothing and says false.
func Foreign(name string) bool {
	folder, rest, _ := strings.Cut(name, "/")
	switch folder {
	case "points", "marks":
		_, ok := parseRecordName(rest)
		return !ok
	case "index", "ledger":
		return !isRandomName(rest)
	case "tombstones":
		return !graveName(rest)
	case "sessions":
		if id, ok := strings.CutSuffix(rest, commitSuffix); ok {
			return !isRandomName(id)
		}
		id, _, numbered := strings.Cut(rest, "-")
		return !numbered || !isRandomName(id)
	}
	return false
}
