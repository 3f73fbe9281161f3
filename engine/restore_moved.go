package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index/tree"
)

// moved writes a piece that cannot be read where it lies, chunk by chunk from other places that its chunks may have: a prune puts
// what is needed elsewhere before it deletes a pack, and two backups at once may have stored the same. What lies nowhere
// else is lost as cause says.
func (w *worker) moved(ctx context.Context, out *output, e *tree.Entry, p *piece, lost *losses, cause error) (int64, error) {
	var damage *chunkstore.DamageError
	if !errors.As(cause, &damage) || p.Sealed == 0 {
		lost.add(p.offset, int64(p.Length), cause)
		return 0, nil
	}
	content, err := tree.OpenContent(ctx, w.repo, e)
	if err != nil {
		lost.add(p.offset, int64(p.Length), cause)
		return 0, ctx.Err()
	}
	written := int64(0)
	for x, err := range content.Pieces(ctx, p.offset) {
		if x.Offset >= p.offset+int64(p.Length) {
			break
		}
		if ctx.Err() != nil {
			return written, ctx.Err()
		}
		var data []byte
		if err == nil {
			data, err = w.repo.ReadChunk(ctx, x.ID, nil)
		}
		if err != nil || int64(len(data)) != x.Length {
			lost.add(x.Offset, x.Length, cause)
			continue
		}
		if err := out.writeAt(data, x.Offset); err != nil {
			return written, fmt.Errorf("write: %w", err)
		}
		written += x.Length
	}
	if w.options.Progress != nil {
		w.options.Progress.Bytes.Add(written)
		w.options.Progress.Read.Add(written)
	}
	return written, nil
}
