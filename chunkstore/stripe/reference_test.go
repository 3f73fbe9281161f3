package stripe

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// A second, slow implementation of the format as it is described, to show that the description is enough.

// multiply multiplies in GF(2^8) with the polynomial 0x11d.
func multiply(a, b byte) byte {
	var product byte
	for ; b > 0; b >>= 1 {
		if b&1 > 0 {
			product ^= a
		}
		carry := a&0x80 > 0
		if a <<= 1; carry {
			a ^= 0x1d
		}
	}
	return product
}

func inverse(a byte) byte {
	for b := range 256 {
		if multiply(a, byte(b)) == 1 {
			return byte(b)
		}
	}
	return 0
}

// parityMatrix is the last m rows of V times the inverse of V's first k rows.
func parityMatrix(k, m int) [][]byte {
	vandermonde := make([][]byte, k+m)
	for r := range vandermonde {
		power := byte(1)
		for range k {
			vandermonde[r] = append(vandermonde[r], power)
			power = multiply(power, byte(r))
		}
	}
	// Column operations that turn the upper square into the identity multiply by its inverse from the right.
	for c := range k {
		for swap := c; vandermonde[c][c] == 0; swap++ {
			for _, row := range vandermonde {
				row[c], row[swap] = row[swap], row[c]
			}
		}
		scale := inverse(vandermonde[c][c])
		for _, row := range vandermonde {
			row[c] = multiply(row[c], scale)
		}
		for other := range k {
			factor := vandermonde[c][other]
			for _, row := range vandermonde {
				if other != c {
					row[other] ^= multiply(factor, row[c])
				}
			}
		}
	}
	return vandermonde[k:]
}

// reference builds an object cell by cell.
func reference(payload []byte, k, m int, seed uint64) []byte {
	rows := max(1, (len(payload)+k*4080-1)/(k*4080))
	padding := k*rows*4080 - len(payload)
	content := append(bytes.Clone(payload), make([]byte, padding)...)
	for _, coefficients := range parityMatrix(k, m) {
		parity := make([]byte, rows*4080)
		for c, coefficient := range coefficients {
			for i := range parity {
				parity[i] ^= multiply(coefficient, content[c*rows*4080+i])
			}
		}
		content = append(content, parity...)
	}
	var object []byte
	for number := 0; number*4080 < len(content); number++ {
		rest := append([]byte{byte(k), byte(m), byte(rows), byte(rows >> 8), byte(rows >> 16), byte(padding), byte(padding >> 8), byte(padding >> 16)},
			content[number*4080:(number+1)*4080]...)
		sum := xxhash.Sum64(append(binary.LittleEndian.AppendUint64(nil, seed+uint64(number)), rest...))
		object = append(binary.LittleEndian.AppendUint64(object, sum), rest...)
	}
	return object
}

func TestObjectsAreAsTheFormatDescribesThem(t *testing.T) {
	for _, shape := range []Shape{{1, 0}, {1, 2}, {2, 1}, {3, 2}, {10, 2}, {20, 7}, {60, 5}} {
		for _, n := range []int{shape.Data * ContentSize, shape.Data*ContentSize*2 - 33} {
			payload := randomBytes(n)
			if !bytes.Equal(Encode(payload, shape, testSeed), reference(payload, shape.Data, shape.Parity, testSeed)) {
				t.Errorf("%v with %d bytes", shape, n)
			}
		}
	}
}
