package engine_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-backup/cairn/engine"
)

// goSource reads Go's own source tree, each folder's path in one name.
func goSource(b *testing.B) map[string][]byte {
	b.Helper()
	files := map[string][]byte{}
	out, err := exec.CommandContext(b.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		folder := strings.ReplaceAll(strings.TrimPrefix(filepath.Dir(path), root), "/", ".")
		files["src"+folder+"/"+d.Name()], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return files
}

func benchVerify(b *testing.B, readData bool) {
	v := newVault(b, false)
	v.backup("go", goSource(b))
	v.open()
	var r *engine.VerifyReport
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if r, err = engine.Verify(b.Context(), v.repo, engine.VerifyOptions{ReadData: readData}); err != nil || !r.OK() {
			b.Fatal(r, err)
		}
	}
	b.SetBytes(r.Bytes)
	b.ReportMetric(float64(r.Entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkVerifyQuick(b *testing.B)    { benchVerify(b, false) }
func BenchmarkVerifyReadData(b *testing.B) { benchVerify(b, true) }
