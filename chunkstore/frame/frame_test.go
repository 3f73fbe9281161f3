package frame

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"
)

var testCodec = New(0)

func testKey(t testing.TB) *Key {
	t.Helper()
	key, err := NewKey([32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(p)
	return p
}

func eachKey(t *testing.T, test func(t *testing.T, key *Key)) {
	t.Run("sealed", func(t *testing.T) { test(t, testKey(t)) })
	t.Run("plain", func(t *testing.T) { test(t, PlainKey()) })
}

func TestOpeningReturnsWhatWasSealed(t *testing.T) {
	eachKey(t, func(t *testing.T, key *Key) {
		rapid.Check(t, func(t *rapid.T) {
			plain := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "plain")
			plain = bytes.Repeat(plain, rapid.IntRange(0, 400).Draw(t, "repeat"))
			place := Place{rapid.Uint32().Draw(t, "offset")}
			before := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "before")
			sealed := testCodec.Seal(bytes.Clone(before), plain, key, place)
			if !bytes.HasPrefix(sealed, before) || len(sealed) > len(before)+len(plain)+key.Overhead() {
				t.Fatalf("%d bytes became %d", len(plain), len(sealed)-len(before))
			}
			sealed = sealed[len(before):]
			if twoSteps := testCodec.Finish(nil, testCodec.Compress(nil, plain), key, place); !bytes.Equal(twoSteps, sealed) {
				t.Fatal("compressing first and sealing later gives another frame")
			}
			kept := bytes.Clone(sealed)
			opened, err := testCodec.Open(bytes.Clone(before), sealed, key, place)
			if err != nil || !bytes.Equal(opened, append(before, plain...)) {
				t.Fatalf("opened %d bytes: %v", len(opened), err)
			}
			if !bytes.Equal(kept, sealed) {
				t.Fatal("opening wrote to the sealed frame")
			}
		})
	})
}

func TestAnyChangedBitIsDamage(t *testing.T) {
	eachKey(t, func(t *testing.T, key *Key) {
		for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("compressible "), 20), randomBytes(200)} {
			sealed := testCodec.Seal(nil, plain, key, Place{77})
			for bit := range len(sealed) * 8 {
				sealed[bit/8] ^= 1 << (bit % 8)
				if _, err := testCodec.Open(nil, sealed, key, Place{77}); !errors.Is(err, ErrDamaged) {
					t.Fatalf("bit %d of %d bytes: %v", bit, len(sealed), err)
				}
				sealed[bit/8] ^= 1 << (bit % 8)
			}
			for n := range sealed {
				if _, err := testCodec.Open(nil, sealed[:n], key, Place{77}); !errors.Is(err, ErrDamaged) {
					t.Fatalf("cut to %d of %d bytes: %v", n, len(sealed), err)
				}
			}
		}
	})
}

func TestAFrameOpensOnlyInItsPlace(t *testing.T) {
	eachKey(t, func(t *testing.T, key *Key) {
		sealed := testCodec.Seal(nil, []byte("here"), key, Place{4096})
		if _, err := testCodec.Open(nil, sealed, key, Place{4097}); !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	})
}

func TestAFrameOpensOnlyWithItsKey(t *testing.T) {
	other, err := NewKey([32]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	sealed := testCodec.Seal(nil, []byte("secret"), testKey(t), Place{})
	for _, key := range []*Key{other, PlainKey()} {
		if _, err := testCodec.Open(nil, sealed, key, Place{}); !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	}
}

func TestIncompressibleContentIsStored(t *testing.T) {
	for _, n := range []int{10, 1000, 1 << 20} {
		plain := randomBytes(n)
		sealed := testCodec.Seal(nil, plain, testKey(t), Place{})
		if sealed[0] != methodStored || len(sealed) != n+testKey(t).Overhead() {
			t.Errorf("%d random bytes became %d by method %d", n, len(sealed), sealed[0])
		}
	}
}

func TestFramesThatAreHalfTextAreCompressed(t *testing.T) {
	text := bytes.Repeat([]byte("func (r *Reader) Read(p []byte) (n int, err error) { return r.inner.Read(p) }\n"), 4000)
	plain := append(randomBytes(len(text)), text...)
	sealed := testCodec.Seal(nil, plain, testKey(t), Place{})
	if sealed[0] != methodZstd || len(sealed) > len(plain)*6/10 {
		t.Errorf("%d bytes, half of them text, became %d", len(plain), len(sealed))
	}
}

// Pools forget now and then, and under the race detector at random.
func TestBuffersAreUsedAgain(t *testing.T) {
	plain, key := bytes.Repeat([]byte("abcdefgh123"), 50_000), testKey(t)
	dst := make([]byte, 0, len(plain)+key.Overhead())
	sealed := testCodec.Seal(nil, plain, key, Place{})
	if n := testing.AllocsPerRun(20, func() { testCodec.Seal(dst, plain, key, Place{}) }); n > 4 {
		t.Errorf("seal allocates %v times", n)
	}
	out := make([]byte, 0, len(plain)+16)
	open := func() {
		if _, err := testCodec.Open(out, sealed, key, Place{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(20, open); n > 4 {
		t.Errorf("open allocates %v times", n)
	}
}

// TestOldFramesOpen opens frames from the time the format was fixed. What sealing gives may change with the compressor, what opening
// gives may not.
func TestOldFramesOpen(t *testing.T) {
	want := bytes.Repeat([]byte("a frame of the golden file\n"), 40)
	for name, key := range map[string]*Key{"sealed": testKey(t), "plain": PlainKey()} {
		for method, plain := range map[string][]byte{"zstd": want, "stored": want[:10]} {
			text, err := os.ReadFile("testdata/" + name + "-" + method + ".hex")
			if err != nil {
				t.Fatal(err)
			}
			frame, err := hex.DecodeString(string(bytes.TrimSpace(text)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := testCodec.Open(nil, frame, key, Place{0x01020304})
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s %s: %q, %v", name, method, got, err)
			}
		}
	}
}

func FuzzOpeningForeignBytes(f *testing.F) {
	f.Add(testCodec.Seal(nil, []byte("plain"), PlainKey(), Place{}), false)
	f.Add(testCodec.Seal(nil, bytes.Repeat([]byte("again "), 100), PlainKey(), Place{}), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, sealed []byte, mend bool) {
		key := PlainKey()
		if mend && len(sealed) >= HeadSize { // with a right checksum, to get behind it
			sealed = key.seal(bytes.Clone(sealed), 0, Place{})
		}
		opened, err := testCodec.Open(nil, sealed, key, Place{})
		if err != nil && !errors.Is(err, ErrDamaged) || len(opened) > MaxPlain {
			t.Fatalf("%d bytes, %v", len(opened), err)
		}
	})
}
