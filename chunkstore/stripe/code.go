package stripe

import (
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"
)

// The code is Reed-Solomon over GF(2^8) with the polynomial 0x11d. With V[r][c] = r^c (in the field, 0^0 = 1) for r < k+m and
// c < k, parity is V times the inverse of V's first k rows, of which the last m rows count. For k = 1 every parity cell is a copy.
//
// It works on whole cells, heads included, because it treats every byte position alone: what comes out in the place of a head is
// meaningless and gets overwritten, and runs of cells need no copy and keep the alignment that the vector code likes.

var codes sync.Map // Shape to reedsolomon.Encoder; there are at most 200*56 of them

// codeOf returns the code of a valid shape, which must have parity. It is safe for many goroutines.
func codeOf(s Shape) reedsolomon.Encoder {
	if code, ok := codes.Load(s); ok {
		return code.(reedsolomon.Encoder)
	}
	// A cached inverse for each pattern of erasures is fine for usual shapes and would grow without bound for wide ones.
	code, err := reedsolomon.New(s.Data, s.Parity, reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(patterns(s) <= 4096))
	if err != nil {
		panic(fmt.Sprintf("stripe: shape %v was not checked: %v", s, err))
	}
	kept, _ := codes.LoadOrStore(s, code)
	return kept.(reedsolomon.Encoder)
}

// patterns counts the sets of up to m erasures among k+m shards, roughly from above once the count is large.
func patterns(s Shape) int {
	total, choose := 0, 1
	for i := 1; i <= s.Parity && total < 1<<20; i++ {
		choose = choose * (s.shards() - i + 1) / i
		total += choose
	}
	return total
}
