package chunkstore

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-backup/cairn/chunkstore/frame"
	"github.com/cairn-backup/cairn/chunkstore/keys"
)

// A pack's payload is a head, the sealed frames one behind the other, the sealed table, and a trailer. The head is
//
//	[0:24)  header (type 3, flags say whether frames are sealed, length and nonce zero)
//	[24:40) pack id
//	[40]    kind
//	[41:48) zero
//
// and the trailer
//
//	[0:4)   offset of the sealed table in the payload, little endian
//	[4:8)   its length
//	[8:24)  pack id
//	[24:32) "CAIRNEND"
const (
	packHeadSize    = headerSize + 24
	packTrailerSize = 32
	trailerMagic    = "CAIRNEND"
)

// Bounds of a pack. Offsets in a pack are 32 bits wide; a table is sealed as one frame.
const (
	maxPackPayload = 1 << 30
	maxPackChunks  = 128 << 10 // 36 bytes each in the table, far below what a frame holds
	maxSealedFrame = frame.MaxPlain + 64<<10
)

func appendPackHead(dst []byte, id PackID, kind Kind, plain bool) []byte {
	h := header{objectType: TypePack, version: objectVersion}
	if !plain {
		h.flags = flagSealed
	}
	dst = append(h.append(dst), id[:]...)
	return append(dst, byte(kind), 0, 0, 0, 0, 0, 0, 0)
}

func parsePackHead(head []byte, id PackID, plain bool) (Kind, error) {
	h, err := parseHeader(head, TypePack)
	if err != nil {
		return 0, err
	}
	if len(head) < packHeadSize || PackID(head[headerSize:headerSize+16]) != id || (h.flags == flagSealed) == plain {
		return 0, fmt.Errorf("%w: its head is of another pack", ErrDamaged)
	}
	return Kind(head[headerSize+16]), nil
}

func appendPackTrailer(dst []byte, id PackID, tableOffset, tableLength int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(tableOffset))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(tableLength))
	dst = append(dst, id[:]...)
	return append(dst, trailerMagic...)
}

// parsePackTrailer finds the table of a pack whose payload has length bytes.
func parsePackTrailer(trailer []byte, id PackID, length int64) (FrameRef, error) {
	if len(trailer) != packTrailerSize || string(trailer[24:]) != trailerMagic || PackID(trailer[8:24]) != id {
		return FrameRef{}, fmt.Errorf("%w: its trailer makes no sense", ErrDamaged)
	}
	ref := FrameRef{binary.LittleEndian.Uint32(trailer), binary.LittleEndian.Uint32(trailer[4:])}
	if ref.Offset < packHeadSize || int64(ref.Offset)+int64(ref.Sealed)+packTrailerSize != length {
		return FrameRef{}, fmt.Errorf("%w: its trailer makes no sense", ErrDamaged)
	}
	return ref, nil
}

// packKey is the key of one pack's frames.
func (s *Store) packKey(id PackID) (*frame.Key, error) {
	if s.config.Plain {
		return frame.PlainKey(), nil
	}
	return frame.NewKey(keys.Sub(s.keys[TypePack], id[:]))
}

// tableVersion opens the table, so that a later one can say more.
const tableVersion = 1

// framed is one frame of a pack as its table lists it.
type framed struct {
	sealed uint32 // length
	chunks int
}

// appendTable encodes a pack's table:
//
//	version u8, kind u8, number of frames
//	for each frame: sealed length, number of chunks
//	for each chunk: length
//	for each chunk: id, 32 bytes
//
// Numbers are unsigned varints. Frames follow one another from the end of the head, chunks from the start of their
// frame, so offsets are sums.
func appendTable(dst []byte, kind Kind, frames []framed, chunks []Placed) []byte {
	dst = append(dst, tableVersion, byte(kind))
	dst = binary.AppendUvarint(dst, uint64(len(frames)))
	for _, f := range frames {
		dst = binary.AppendUvarint(dst, uint64(f.sealed))
		dst = binary.AppendUvarint(dst, uint64(f.chunks))
	}
	for _, c := range chunks {
		dst = binary.AppendUvarint(dst, uint64(c.Location.Length))
	}
	for _, c := range chunks {
		dst = append(dst, c.ID[:]...)
	}
	return dst
}

// parseTable decodes a pack's table. end is where the table lies in the payload: where the frames end.
func parseTable(table []byte, id PackID, end uint32) (kind Kind, frames []framed, chunks []Placed, err error) {
	broken := fmt.Errorf("%w: its table makes no sense", ErrDamaged)
	if len(table) < 3 || table[0] == 0 {
		return 0, nil, nil, broken
	}
	if table[0] > tableVersion {
		return 0, nil, nil, &VersionError{Found: int(table[0]), Known: tableVersion}
	}
	kind, table = Kind(table[1]), table[2:]
	number := func(bound uint64) uint64 {
		v, n := binary.Uvarint(table)
		if n <= 0 || v > bound {
			err = broken
			return 0
		}
		table = table[n:]
		return v
	}
	frames = make([]framed, number(uint64(len(table))/2))
	total, offset := 0, uint64(packHeadSize)
	for i := range frames {
		frames[i].sealed = uint32(number(maxSealedFrame))
		frames[i].chunks = int(number(uint64(len(table)) / (1 + uint64(len(ID{})))))
		total += frames[i].chunks
		offset += uint64(frames[i].sealed)
	}
	if err != nil || offset != uint64(end) || total > len(table)/(1+len(ID{})) {
		return 0, nil, nil, broken
	}
	chunks = make([]Placed, total)
	next := 0
	at := Location{Pack: id, Offset: packHeadSize}
	for _, f := range frames {
		at.Sealed, at.Start = f.sealed, 0
		for range f.chunks {
			at.Length = uint32(number(frame.MaxPlain))
			chunks[next].Location = at
			if at.Start += at.Length; at.Start > frame.MaxPlain {
				err = broken
			}
			if err != nil {
				return 0, nil, nil, err
			}
			next++
		}
		at.Offset += f.sealed
	}
	if len(table) != total*len(ID{}) {
		return 0, nil, nil, broken
	}
	for i := range chunks {
		chunks[i].ID = ID(table[i*len(ID{}):])
	}
	return kind, frames, chunks, nil
}
