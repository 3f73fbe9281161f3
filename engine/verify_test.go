package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
	"github.com/cairn-backup/cairn/chunkstore/keys"
	"github.com/cairn-backup/cairn/engine"
	"github.com/cairn-backup/cairn/index"
	"github.com/cairn-backup/cairn/index/tree"
)

// vault is a real repository in a temporary directory, to be damaged.
type vault struct {
	t        testing.TB
	dir      string
	unlocker keys.Unlocker
	repo     *index.Repository
	random   *randomness
	clock    time.Time
}

// randomness is the same in each run, and safe for use by many goroutines.
type randomness struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (r *randomness) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.Read(p)
}

// identities unlocks with an identity in memory.
type identities []age.Identity

func (i identities) Identities() ([]age.Identity, error) { return i, nil }

func newVault(t testing.TB, plain bool) *vault {
	t.Helper()
	v := &vault{t: t, dir: filepath.Join(t.TempDir(), "repository"), random: &randomness{r: rand.NewChaCha8([32]byte{7})},
		clock: time.Date(2026, 11, 23, 21, 5, 0, 0, time.UTC)}
	d, err := local.New(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	o := chunkstore.InitOptions{Plain: plain, Now: v.clock}
	if !plain {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		v.unlocker, o.Recipients = identities{id}, []age.Recipient{id.Recipient()}
	}
	if _, err := chunkstore.Init(t.Context(), d, o); err != nil {
		t.Fatal(err)
	}
	v.open()
	t.Cleanup(func() { v.repo.Close() })
	return v
}

// open opens the repository afresh, as another host would: with no cache.
func (v *vault) open() {
	v.t.Helper()
	if v.repo != nil {
		v.repo.Close()
	}
	d, err := local.New(v.dir)
	if err != nil {
		v.t.Fatal(err)
	}
	store, err := chunkstore.Open(v.t.Context(), d, v.unlocker)
	if err != nil {
		v.t.Fatal(err)
	}
	v.repo, err = index.Open(v.t.Context(), store, index.Options{CacheDir: v.t.TempDir(), Random: v.random, Host: "host",
		Now: func() time.Time { return v.clock }, Warn: func(err error) { v.t.Logf("index warns: %v", err) }})
	if err != nil {
		v.t.Fatal(err)
	}
}

// backup makes a restore point of files, named by paths of at most one folder.
func (v *vault) backup(source string, files map[string][]byte) *index.Point {
	v.t.Helper()
	ctx := v.t.Context()
	v.clock = v.clock.Add(time.Hour)
	s, err := v.repo.Begin(ctx, index.SessionOptions{Source: source})
	if err != nil {
		v.t.Fatal(err)
	}
	batch := s.NewBatch()
	folders := map[string]*tree.Writer{"": tree.NewWriter(s)}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		folder, name, ok := strings.Cut(path, "/")
		if !ok {
			folder, name = "", path
		}
		if folders[folder] == nil {
			folders[folder] = tree.NewWriter(s)
		}
		v.check(folders[folder].Add(ctx, v.storeFile(batch, name, files[path])))
	}
	v.check(batch.Flush(ctx))
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		if folder == "" {
			continue
		}
		e := &tree.Entry{Name: folder, Type: tree.Directory, Mode: 0o755}
		e.SetChild(v.finish(folders[folder]))
		v.check(folders[""].Add(ctx, e))
	}
	root := &tree.Entry{Type: tree.Directory, Mode: 0o755}
	root.SetChild(v.finish(folders[""]))
	ref, err := tree.SaveRoot(ctx, s, root)
	v.check(err)
	p, err := s.Commit(ctx, &index.Point{Source: source, Host: "host", Kind: index.Full, Started: v.clock, Finished: v.clock, Root: ref})
	v.check(err)
	return p
}

func (v *vault) storeFile(batch *index.Batch, name string, data []byte) *tree.Entry {
	e := &tree.Entry{Name: name, Type: tree.File, Mode: 0o644, Size: int64(len(data))}
	for len(data) > 0 {
		n := v.repo.Store().Chunker().Cut(data)
		id, _, err := batch.Store(v.t.Context(), data[:n])
		v.check(err)
		e.Content = append(e.Content, tree.Extent{ID: id, Length: int64(n)})
		data = data[n:]
	}
	return e
}

func (v *vault) finish(w *tree.Writer) tree.Ref {
	ref, err := w.Finish(v.t.Context())
	v.check(err)
	return ref
}

func (v *vault) check(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// objects reads all files of the repository.
func (v *vault) objects() map[string][]byte {
	v.t.Helper()
	all := map[string][]byte{}
	v.check(filepath.WalkDir(v.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(v.dir, path)
		if err == nil {
			all[filepath.ToSlash(name)], err = os.ReadFile(path)
		}
		return err
	}))
	return all
}

// packs gives the names of the packs of a kind, the biggest first.
func (v *vault) packs(kind chunkstore.Kind) []string {
	v.t.Helper()
	indexed, err := v.repo.IndexedPacks(v.t.Context())
	v.check(err)
	slices.SortFunc(indexed, func(a, b index.IndexedPack) int { return int(b.Size - a.Size) })
	var names []string
	for _, p := range indexed {
		if p.Kind == kind {
			names = append(names, p.ID.ObjectName())
		}
	}
	if len(names) == 0 {
		v.t.Fatalf("no pack of %s", kind)
	}
	return names
}

// named gives the name of the one object with the prefix.
func (v *vault) named(prefix string) string {
	v.t.Helper()
	for name := range v.objects() {
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	v.t.Fatalf("no object %s", prefix)
	return ""
}

// overwrite puts noise over a range of an object, behind the back of whoever has it open.
func (v *vault) overwrite(name string, off, n int) {
	v.t.Helper()
	f, err := os.OpenFile(filepath.Join(v.dir, name), os.O_WRONLY, 0)
	v.check(err)
	noise := make([]byte, n)
	v.random.Read(noise)
	_, err = f.WriteAt(noise, int64(off))
	v.check(err)
	v.check(f.Close())
}

func (v *vault) remove(name string) { v.check(os.Remove(filepath.Join(v.dir, name))) }

func (v *vault) verify(readData bool) *engine.VerifyReport {
	v.t.Helper()
	v.open()
	told := int64(0)
	r, err := engine.Verify(v.t.Context(), v.repo, engine.VerifyOptions{ReadData: readData, Problem: func(engine.Finding) { told++ }})
	v.check(err)
	if told != r.AllFindings || int64(len(r.Findings)) != told {
		v.t.Errorf("%d findings told, %d counted, %d listed", told, r.AllFindings, len(r.Findings))
	}
	return r
}

func (v *vault) repair(o engine.RepairOptions) *engine.RepairReport {
	v.t.Helper()
	v.open()
	r, err := engine.Repair(v.t.Context(), v.repo, o)
	v.check(err)
	return r
}

func (v *vault) mustBeSound() {
	v.t.Helper()
	for _, readData := range []bool{false, true} {
		if r := v.verify(readData); !r.OK() || r.AllFindings != 0 {
			v.t.Errorf("read data %v: %+v", readData, r.Findings)
		}
	}
}

// unreadable reads all of a restore point and lists the files and directories that do not come back whole.
func (v *vault) unreadable(p *index.Point) (paths []string) {
	v.t.Helper()
	err := tree.WalkDamaged(v.t.Context(), v.repo, p.Root.ID, func(path string, e *tree.Entry) error {
		for x, err := range tree.Extents(v.t.Context(), v.repo, e) {
			if err == nil {
				_, err = v.repo.ReadChunk(v.t.Context(), x.ID, nil)
			}
			if err != nil {
				paths = append(paths, p.Source+"@"+p.Name+":/"+path)
				break
			}
		}
		return nil
	}, func(path string, err error) error {
		paths = append(paths, p.Source+"@"+p.Name+":/"+path)
		return nil
	})
	v.check(err)
	return paths
}

// lost lists what the findings of a kind name.
func lost(findings []engine.Finding, kind engine.FindingKind) (paths []string) {
	for _, f := range findings {
		if f.Kind == kind {
			paths = append(paths, f.Source+"@"+f.Point+":"+f.Path)
		}
	}
	return paths
}

// noise gives files of random bytes, in two folders, which take n bytes together.
func (v *vault) noise(files, n int) map[string][]byte {
	all := map[string][]byte{}
	for i := range files {
		data := make([]byte, n/files)
		v.random.Read(data)
		all[fmt.Sprintf("folder-%d/file-%04d", i%2, i)] = data
	}
	return all
}

func eachVault(t *testing.T, test func(t *testing.T, v *vault)) {
	t.Run("encrypted", func(t *testing.T) { test(t, newVault(t, false)) })
	t.Run("plain", func(t *testing.T) { test(t, newVault(t, true)) })
}

func TestSoundRepositoryIsFoundSound(t *testing.T) {
	eachVault(t, func(t *testing.T, v *vault) {
		v.mustBeSound() // an empty one too
		v.backup("docs", v.noise(100, 3<<20))
		v.backup("empty", nil)
		v.mustBeSound()
		r := v.verify(true)
		if r.Points != 2 || r.Packs < 2 || r.Entries != 102 || r.Chunks < 100 || r.Cells < 3<<20/4096 || r.Frames < 3 {
			t.Errorf("%+v", r)
		}
		if r := v.repair(engine.RepairOptions{Index: true}); !r.OK() || len(r.Repaired) != 0 || len(r.Dropped) != 0 {
			t.Errorf("repair: %+v", r)
		}
	})
}

func TestRottenCellsOfEveryObjectAreFoundAndMended(t *testing.T) {
	eachVault(t, func(t *testing.T, v *vault) {
		v.backup("docs", v.noise(50, 3<<20))
		sound := v.objects()
		for name, object := range sound {
			// One cell in a part of the object, which is less than a shard: parity has what is needed.
			v.overwrite(name, len(object)/3/4096*4096+100, 8)
			v.overwrite(name, len(object)-300, 8)
		}
		r := v.verify(true)
		if r.Healable != int64(len(sound)) || r.OK() || r.Lost+r.LostFiles+r.LostDirs+r.LostPoints != 0 {
			t.Errorf("%d objects, found %+v", len(sound), r)
		}
		for _, f := range r.Findings {
			if f.Kind != engine.Healable || f.Remedy != "cairn repair" {
				t.Errorf("%+v", f)
			}
		}
		damaged := v.objects()
		dry := v.repair(engine.RepairOptions{DryRun: true})
		if len(dry.Repaired) != len(sound) || !maps.EqualFunc(damaged, v.objects(), bytes.Equal) {
			t.Errorf("dry run: %+v", dry)
		}
		var told []string
		done := v.repair(engine.RepairOptions{Repaired: func(name string) { told = append(told, name) }})
		if !done.OK() || len(done.Repaired) != len(sound) || len(told) != len(sound) {
			t.Errorf("repair: %+v", done)
		}
		for name, object := range v.objects() {
			if !bytes.Equal(object, sound[name]) {
				t.Errorf("%s differs from what it was", name)
			}
		}
		v.mustBeSound()
	})
}

func TestDamageBeyondParityNamesTheVeryFilesOfEveryRestorePoint(t *testing.T) {
	eachVault(t, func(t *testing.T, v *vault) {
		files := v.noise(60, 4<<20)
		points := []*index.Point{v.backup("docs", files)}
		files["folder-1/new"] = []byte("only in the second")
		delete(files, "folder-0/file-0000")
		points = append(points, v.backup("docs", files), v.backup("other", map[string][]byte{"sound": []byte("sound")}))
		pack := v.packs(chunkstore.KindData)[0]
		size := len(v.objects()[pack])
		v.overwrite(pack, size/12, size*4/12) // four data shards of ten, of which parity gives back two
		trees := v.packs(chunkstore.KindTree)[0]
		v.overwrite(trees, 4096, 8)

		r := v.verify(true)
		var want []string
		for _, p := range points {
			want = append(want, v.unreadable(p)...)
		}
		got := lost(r.Findings, engine.FileLost)
		slices.Sort(got)
		slices.Sort(want)
		if len(want) < 4 || len(want) > 110 || !slices.Equal(got, want) {
			t.Errorf("%d files named, %d unreadable:\n%q\n%q", len(got), len(want), got, want)
		}
		if r.Lost != 1 || r.Healable != 1 || r.LostFiles != int64(len(want)) || r.OK() {
			t.Errorf("%+v", r)
		}
		for _, f := range r.Findings {
			if f.Kind == engine.FileLost && (len(f.Ranges) == 0 || f.Ranges[0].Length <= 0) {
				t.Errorf("no ranges: %+v", f)
			}
		}
		done := v.repair(engine.RepairOptions{})
		if done.OK() || !slices.Equal(done.Repaired, []string{trees}) {
			t.Errorf("repair: %+v", done)
		}
		v.open()
		var still []string
		for _, p := range points {
			still = append(still, v.unreadable(p)...)
		}
		slices.Sort(still)
		if !slices.Equal(still, want) {
			t.Errorf("%d files are unreadable after the repair, %d before", len(still), len(want))
		}
	})
}

func TestReportOfAnyDamageIsWhatReadersMeet(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	v := newVault(t, false)
	files := v.noise(40, 2<<20)
	points := []*index.Point{v.backup("docs", files), v.backup("more", v.noise(20, 1<<20))}
	points = append(points, v.backup("docs", files))
	names := append(v.packs(chunkstore.KindData), v.packs(chunkstore.KindTree)...)
	sound := v.objects()
	for range 4 {
		for _, name := range names {
			size := len(sound[name])
			v.check(os.WriteFile(filepath.Join(v.dir, name), sound[name], 0o600))
			for range r.IntN(4) {
				off := r.IntN(size)
				v.overwrite(name, off, 1+r.IntN(min(size-off, size/4)))
			}
			if r.IntN(5) == 0 {
				v.check(os.Truncate(filepath.Join(v.dir, name), int64(size/2+r.IntN(size/2))))
			}
		}
		report := v.verify(true)
		got := append(lost(report.Findings, engine.FileLost), lost(report.Findings, engine.DirectoryLost)...)
		var want []string
		for _, p := range points {
			want = append(want, v.unreadable(p)...)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("named\n%q, unreadable\n%q", got, want)
		}
	}
}

func TestQuickCheckMissesAPackThatIsGone(t *testing.T) {
	v := newVault(t, false)
	p := v.backup("docs", v.noise(10, 1<<20))
	v.remove(v.packs(chunkstore.KindData)[0])
	r := v.verify(false)
	if got := lost(r.Findings, engine.FileLost); len(got) != 10 || r.Lost != 1 {
		t.Errorf("%q of %s, %+v", got, p.Name, r)
	}
}

func TestLostTreesNameTheDirectories(t *testing.T) {
	v := newVault(t, false)
	p := v.backup("docs", v.noise(10, 1<<20))
	for _, name := range v.packs(chunkstore.KindTree) {
		v.remove(name)
	}
	r := v.verify(false)
	if got := lost(r.Findings, engine.DirectoryLost); !slices.Equal(got, []string{"docs@" + p.Name + ":/"}) || r.LostDirs != 1 {
		t.Errorf("%q, %+v", got, r)
	}
}

func TestQuickCheckFindsATruncatedPack(t *testing.T) {
	for _, c := range []struct {
		keep  func(size int) int
		kind  engine.FindingKind
		files int
	}{
		{func(n int) int { return n - n/12 }, engine.Healable, 0}, // one shard short
		{func(n int) int { return n/2 + 77 }, engine.ObjectLost, 1},
		{func(n int) int { return 0 }, engine.ObjectLost, 10},
	} {
		v := newVault(t, false)
		v.backup("docs", v.noise(10, 3<<20))
		pack := v.packs(chunkstore.KindData)[0]
		sound := v.objects()[pack]
		keep := c.keep(len(sound))
		v.check(os.Truncate(filepath.Join(v.dir, pack), int64(keep)))
		r := v.verify(false)
		if len(r.Findings) == 0 || r.Findings[0].Object != pack || r.Findings[0].Kind != c.kind || int(r.LostFiles) < c.files {
			t.Errorf("%d of %d bytes: %+v", keep, len(sound), r)
		}
		if c.kind != engine.Healable {
			continue
		}
		if done := v.repair(engine.RepairOptions{}); !done.OK() || !bytes.Equal(v.objects()[pack], sound) {
			t.Errorf("repair: %+v", done)
		}
		v.mustBeSound()
	}
}

func TestForeignFileIsReportedAndLeftAlone(t *testing.T) {
	v := newVault(t, false)
	v.backup("docs", v.noise(10, 1<<20))
	for _, name := range []string{"README", "packs/notes.txt", "packs/ab/" + strings.Repeat("zz", 16)} {
		v.check(os.MkdirAll(filepath.Dir(filepath.Join(v.dir, name)), 0o700))
		v.check(os.WriteFile(filepath.Join(v.dir, name), []byte("not ours"), 0o600))
		r := v.verify(true)
		if !r.OK() || len(r.Findings) != 1 || r.Findings[0].Kind != engine.ForeignFile || r.Findings[0].Object != name {
			t.Errorf("%s: %+v", name, r)
		}
		if done := v.repair(engine.RepairOptions{Index: true}); !done.OK() || v.objects()[name] == nil {
			t.Errorf("%s: %+v", name, done)
		}
		v.remove(name)
	}
}

func TestLostIndexIsMadeUpForFromThePacks(t *testing.T) {
	v := newVault(t, false)
	points := []*index.Point{v.backup("docs", v.noise(10, 1<<20)), v.backup("docs", v.noise(5, 1<<20))}
	for name := range v.objects() {
		if strings.HasPrefix(name, "index/") {
			v.remove(name)
		}
	}
	v.mustBeSound()
	for name, object := range v.objects() {
		if strings.HasPrefix(name, "index/") {
			v.overwrite(name, 0, len(object))
		}
	}
	if r := v.verify(false); r.OK() || r.Findings[0].Kind != engine.IndexLost || r.Findings[0].Remedy != "cairn repair --index" {
		t.Errorf("%+v", r)
	}
	if done := v.repair(engine.RepairOptions{}); done.OK() || len(done.Dropped) != 0 {
		t.Errorf("repair without the index: %+v", done)
	}
	if done := v.repair(engine.RepairOptions{Index: true}); !done.OK() || len(done.Dropped) == 0 {
		t.Errorf("repair: %+v", done)
	}
	v.mustBeSound()
	for _, p := range points {
		if bad := v.unreadable(p); len(bad) != 0 {
			t.Errorf("unreadable: %q", bad)
		}
	}
}

func TestNextBackupStoresAgainWhatIsLostAndHealsOldPoints(t *testing.T) {
	damages := map[string]func(v *vault, pack string){
		"missing": func(v *vault, pack string) { v.remove(pack) },
		"rotten":  func(v *vault, pack string) { v.overwrite(pack, 0, len(v.objects()[pack])/2) },
	}
	for how, damage := range damages {
		t.Run(how, func(t *testing.T) {
			v := newVault(t, false)
			files := v.noise(20, 3<<20)
			p := v.backup("docs", files)
			damage(v, v.packs(chunkstore.KindData)[0])
			if len(v.unreadable(p)) == 0 {
				t.Fatal("nothing is lost")
			}
			if done := v.repair(engine.RepairOptions{Index: true}); done.OK() || done.Forgotten == 0 {
				t.Errorf("repair: %+v", done)
			}
			if r := v.verify(true); r.LostFiles == 0 {
				t.Errorf("before the backup: %+v", r)
			}
			v.backup("docs", files)
			if r := v.verify(true); r.LostFiles != 0 || how == "missing" && !r.OK() {
				t.Errorf("after the backup: %+v", r)
			}
			if bad := v.unreadable(p); len(bad) != 0 {
				t.Errorf("unreadable: %q", bad)
			}
		})
	}
}

func TestPackThatNoIndexListsIsNoDamage(t *testing.T) {
	v := newVault(t, false)
	v.backup("docs", v.noise(10, 1<<20))
	w := v.repo.Store().NewWriter(chunkstore.KindData, chunkstore.WriterOptions{Random: v.random, Stored: func(chunkstore.Pack) error { return nil }})
	b := w.NewBatch()
	data := []byte("never listed")
	v.check(b.Add(t.Context(), v.repo.Store().ChunkID(data), data))
	v.check(b.Flush(t.Context()))
	v.check(w.Close(t.Context()))
	r := v.verify(true)
	if !r.OK() || len(r.Findings) != 1 || r.Findings[0].Kind != engine.Unlisted {
		t.Errorf("%+v", r)
	}
	if done := v.repair(engine.RepairOptions{Index: true}); !done.OK() || done.Index.Packs != 1 {
		t.Errorf("repair: %+v", done)
	}
	v.mustBeSound()
}

func TestLostRecordIsNamed(t *testing.T) {
	v := newVault(t, false)
	v.backup("docs", v.noise(10, 1<<20))
	name := v.named("points/")
	v.overwrite(name, 0, len(v.objects()[name]))
	r := v.verify(false)
	if r.LostPoints != 1 || r.Findings[0].Kind != engine.PointLost || r.Findings[0].Object != name {
		t.Errorf("%+v", r)
	}
}

func TestCancelledVerifyEndsWithThatError(t *testing.T) {
	v := newVault(t, false)
	v.backup("docs", v.noise(10, 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := engine.Verify(ctx, v.repo, engine.VerifyOptions{ReadData: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("verify: %v", err)
	}
	if _, err := engine.Repair(ctx, v.repo, engine.RepairOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("repair: %v", err)
	}
}
