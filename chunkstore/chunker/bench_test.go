package chunker

import "testing"

func BenchmarkCut(b *testing.B) {
	c, err := New([32]byte{1}, Default)
	if err != nil {
		b.Fatal(err)
	}
	data := randomBytes(64 << 20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	chunks := 0
	for b.Loop() {
		chunks = 0
		for rest := data; len(rest) > 0; chunks++ {
			rest = rest[c.Cut(rest):]
		}
	}
	b.ReportMetric(float64(len(data))/float64(chunks), "bytes/chunk")
}
