//go:build linux

package fs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// zeros is what holes read as.
var zeros [256 << 10]byte

// errUnread: the backup could not read this part of the file.
var errUnread = errors.New("this part of the file could not be read when it was backed up")

// read gives the bytes [off, off+size) of a file, less at its end, as slices of opened frames that must not be modified. It
// fails as a whole when any of them cannot be had: the kernel then asks again block by block, so that only the blocks that
// damage touches are refused to the reader.
func (v *view) read(ctx context.Context, e *tree.Entry, off int64, size int) ([][]byte, error) {
	end := min(off+int64(size), e.Size)
	if off >= end {
		return nil, nil
	}
	if e.List.IsZero() && len(e.Content) == 1 && !e.Content[0].Hole() && end <= e.Content[0].Length {
		data, err := v.chunk(ctx, e.Content[0], true)
		if err != nil {
			return nil, err
		}
		return [][]byte{data[off:end]}, nil
	}
	c, err := v.content(ctx, e)
	if err != nil {
		return nil, err
	}
	slices := make([][]byte, 0, 2+size>>15)
	at := off
	for p, err := range c.Pieces(ctx, off) {
		if at >= end {
			break
		}
		if err != nil {
			return nil, err
		}
		from, to := at-p.Offset, min(end, p.End())-p.Offset
		if p.Hole() {
			slices = appendZeros(slices, to-from)
		} else {
			data, err := v.chunk(ctx, p.Extent, false)
			if err != nil {
				return nil, err
			}
			slices = append(slices, data[from:to])
		}
		at = p.Offset + to
	}
	if at < end {
		return nil, fmt.Errorf("bytes %d to %d: %w", at, e.Size, errUnread)
	}
	v.ahead.follow(e, c, off, end)
	return slices, nil
}

func appendZeros(slices [][]byte, n int64) [][]byte {
	for ; n > int64(len(zeros)); n -= int64(len(zeros)) {
		slices = append(slices, zeros[:])
	}
	return append(slices, zeros[:n])
}

// content opens the content list of a file, or gives it again when it was read lately.
func (v *view) content(ctx context.Context, e *tree.Entry) (*tree.Content, error) {
	return v.files.get(e, func() (*tree.Content, error) { return tree.OpenContent(ctx, v.repo, e) })
}

// locate finds the place of a chunk.
func (v *view) locate(id chunkstore.ID) (chunkstore.Location, error) {
	loc, known, err := v.repo.Locate(id)
	if err == nil && !known {
		err = &index.MissingError{ID: id}
	}
	return loc, err
}

// chunk gives the bytes of an extent that is no hole; whole says that it is all of a file.
func (v *view) chunk(ctx context.Context, x tree.Extent, whole bool) ([]byte, error) {
	loc, err := v.locate(x.ID)
	if err != nil {
		return nil, err
	}
	if whole {
		v.ahead.touch(loc)
	}
	frame, cached := v.store.FrameCached(loc.Pack, loc.Offset)
	if !cached {
		frame, err = v.store.Frame(ctx, loc.Pack, loc.Offset, loc.Sealed)
		if other, moved := v.moved(ctx, x.ID, loc, err); moved {
			loc = other
			frame, err = v.store.Frame(ctx, loc.Pack, loc.Offset, loc.Sealed)
		}
		if err != nil {
			return nil, err
		}
	}
	data, err := v.store.Cut(frame, x.ID, loc)
	if err == nil && int64(len(data)) != x.Length {
		err = &chunkstore.DamageError{Object: loc.Pack.ObjectName(), Offset: int64(loc.Offset), Length: int64(loc.Sealed),
			Err: fmt.Errorf("%w: chunk %s has %d bytes, not %d", chunkstore.ErrDamaged, x.ID, len(data), x.Length)}
	}
	return data, err
}

// seek finds the next data or hole at or behind off, as lseek's SEEK_DATA and SEEK_HOLE want it: every file ends in a hole.
// io.EOF when there is none, or off is not in the file.
func (v *view) seek(ctx context.Context, e *tree.Entry, off int64, hole bool) (int64, error) {
	if off < 0 || off >= e.Size {
		return 0, io.EOF
	}
	c, err := v.content(ctx, e)
	if err != nil {
		return 0, err
	}
	at := off
	for p, err := range c.Pieces(ctx, off) {
		if err != nil || p.Hole() != hole {
			at = p.End()
			continue
		}
		return max(off, p.Offset), nil
	}
	switch {
	case hole:
		return e.Size, nil
	case at < e.Size: // content is missing here: reading it tells
		return max(off, at), nil
	}
	return 0, io.EOF
}
