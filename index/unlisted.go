package index

import (
	"context"
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/chunkstore"
)

// findUnlisted lists the packs in the index that no index object lists yet, if there may be any: when a session has
// not ended, because it died or is under way. So a backup that was killed in its last minute before it could list its packs costs
// the next one no more than what was not stored. What others are writing is listed twice then, which does no harm.
//
// Packs that a prune has condemned get listed too; nobody relies on them.
func (s *Session) findUnlisted(ctx context.Context) error {
	listed, err := s.r.store.ListObjects(ctx, chunkstore.TypeSession)
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	others := false
	for _, info := range listed {
		id, _, isMarker := strings.Cut(info.Name, "-")
		others = others || isMarker && isRandomName(id) && id != s.mark.id
	}
	if !others {
		return nil
	}
	s.r.refreshing.Lock()
	defer s.r.refreshing.Unlock()
	_, err = s.r.rebuild(ctx) // damaged packs are verify's affair
	return err
}
