package chunker

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/zeebo/blake3"
)

// Params are the sizes of chunks in bytes. Avg is a power of two from 1 KiB to 16 MiB, Min at least 64 and less than Avg, Max more than
// Avg and at most 16 MiB.
type Params struct{ Min, Avg, Max int }

// Default suits files of every kind.
var Default = Params{Min: 16 << 10, Avg: 64 << 10, Max: 256 << 10}

// gearWindow is how many bytes a 64-bit gear hash depends on, and so the least that has to be skipped for chunks to be independent of
// what stands before them.
const gearWindow = 64

// maxSize bounds a chunk, in bytes: it has to fit into a frame.
const maxSize = 16 << 20

// Check reports sizes that are out of bounds.
func (p Params) Check() error {
	if p.Min < gearWindow || p.Min >= p.Avg || p.Avg >= p.Max || p.Max > maxSize || p.Avg < 1<<10 || bits.OnesCount(uint(p.Avg)) != 1 {
		return fmt.Errorf("chunk sizes %d, %d, %d are out of bounds: minimum < average < maximum, the average a power of two", p.Min, p.Avg, p.Max)
	}
	return nil
}

// normalisation is how many bits harder than 1/Avg the condition is before the average size, and how many easier behind it: level 2
// of FastCDC. It is part of the format.
const normalisation = 2

// context derives the gear table's key stream; it is part of the format.
const context = "cairn 2026 chunker gear table"

// Chunker finds where chunks end. It never changes and is safe for many goroutines.
type Chunker struct {
	params       Params
	hard, easy   uint64 // a chunk ends where the hash has none of these bits
	hard2, easy2 uint64 // the same for a hash that is shifted by one more
	gear, gear2  [256]uint64
}

// New makes the chunker of a key. The error is that of [Params.Check].
func New(key [32]byte, p Params) (*Chunker, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	avg := bits.TrailingZeros(uint(p.Avg))
	c := &Chunker{params: p, hard: mask(avg + normalisation), easy: mask(avg - normalisation)}
	c.hard2, c.easy2 = c.hard<<1, c.easy<<1
	stream := blake3.NewDeriveKey(context)
	_, _ = stream.Write(key[:]) // never fails
	digest := stream.Digest()
	var entry [8]byte
	for i := range c.gear {
		_, _ = digest.Read(entry[:]) // never fails
		c.gear[i] = binary.LittleEndian.Uint64(entry[:])
		c.gear2[i] = c.gear[i] << 1
	}
	return c, nil
}

// mask takes n bits from bit 62 down: the ones that depend on the most bytes, less one that is lost when two bytes are rolled at once.
func mask(n int) uint64 { return (1<<n - 1) << (63 - n) }

// Params are the sizes it was made with.
func (c *Chunker) Params() Params { return c.params }

// Cut gives the length of the first chunk of data: at least Min and at most Max, or len(data) when that is Min or less. Data shorter
// than Max must reach to the end of the file, because the end of the data counts as the end of a chunk then. It is 0 only for no data.
//
// The hash starts as 0 at Min (bytes before it are not looked at), h = h<<1 + gear[b] for each byte b; the chunk ends before the byte
// that makes h&mask zero. Bytes are taken in pairs counted from Min: the mask is the hard one while both lie before Avg - 3/4 Min, the easy
// one from there on, and a single byte left at the end is not looked at.
func (c *Chunker) Cut(data []byte) int {
	end := min(len(data), c.params.Max)
	if end <= c.params.Min {
		return end
	}
	turn := min(c.turn(), end)
	at, hash, found := c.roll(data[:turn], c.params.Min, 0, c.hard, c.hard2)
	if !found {
		at, _, found = c.roll(data[:end], at, hash, c.easy, c.easy2)
	}
	if !found {
		return end
	}
	return at
}

// turn is where the easy condition begins, in bytes. It lies before Avg because the skipped minimum and the hard condition pull the mean
// up: with the default sizes and random data, chunks are 65 KiB on average this way and 76 KiB with the turn at Avg.
func (c *Chunker) turn() int { return c.params.Avg - c.params.Min*3/4 }

// roll looks for the end of a chunk from byte at on, and returns where it is, or where the search stopped.
func (c *Chunker) roll(data []byte, at int, hash, mask, mask2 uint64) (int, uint64, bool) {
	for ; at+1 < len(data); at += 2 {
		// The shift for both bytes is done at once; half-way, the hash and the mask stand one bit further left.
		hash = hash<<2 + c.gear2[data[at]]
		if hash&mask2 == 0 {
			return at, hash, true
		}
		hash += c.gear[data[at+1]]
		if hash&mask == 0 {
			return at + 1, hash, true
		}
	}
	return at, hash, false
}
