package frame

// Samples that tell whether data is worth compressing: 64 pieces of 64 bytes, spread evenly.
const (
	samplePieces = 64
	samplePiece  = 64
)

// randomLimit bounds the chi-square statistic of the samples' byte values: random bytes give 255 on average with a standard deviation of
// 22.6, so hardly one frame of random bytes in a thousand million is tried in vain, and text gives tens of thousands.
const randomLimit = 400

// looksRandom tells, from samples, data that is encrypted or compressed already: its byte values are evenly spread. Looking takes a
// few microseconds, trying to compress 1 MiB a few hundred.
func looksRandom(p []byte) bool {
	if len(p) < 4*samplePieces*samplePiece {
		return false // trying costs little
	}
	var counts [256]int
	step := (len(p) - samplePiece) / (samplePieces - 1)
	for i := range samplePieces {
		for _, b := range p[i*step : i*step+samplePiece] {
			counts[b]++
		}
	}
	const expected = samplePieces * samplePiece / 256
	sum := 0
	for _, n := range counts {
		sum += (n - expected) * (n - expected)
	}
	return sum/expected < randomLimit
}
