package local_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/cairn-backup/cairn/chunkstore/destination"
	"github.com/cairn-backup/cairn/chunkstore/destination/local"
)

// childDir names the directory that a child process of the test writes to until it is killed.
const childDir = "CAIRN_TEST_WRITE_UNTIL_KILLED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		writeUntilKilled(dir)
	}
	os.Exit(m.Run())
}

const killedSize = 1<<20 + 17

// killedBody is what the object of number i holds.
func killedBody(i int) []byte {
	body := make([]byte, killedSize)
	rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(body)
	return body
}

func killedName(i int) string { return fmt.Sprintf("packs/%02x/%04x", i%7, i) }

// writeUntilKilled creates one object after the other and says so.
func writeUntilKilled(dir string) {
	d, err := local.New(dir)
	for i := 0; err == nil; i++ {
		if err = d.Create(context.Background(), killedName(i), killedBody(i)); err == nil {
			fmt.Println(i)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestAKilledWriterLeavesWholeObjectsOnly(t *testing.T) {
	for _, after := range []int{1, 4, 9} {
		dir := t.TempDir()
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		said := 0
		for said < after && lines.Scan() {
			said++
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it managed to say before the end
			said++
		}
		_ = child.Wait() // it was killed
		mustBeWholeObjects(t, dir, said)
	}
}

// mustBeWholeObjects checks that at least said objects are there, and each of them whole.
func mustBeWholeObjects(t *testing.T, dir string, said int) {
	t.Helper()
	d, err := local.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	there := 0
	err = d.List(t.Context(), "", func(destination.Info) error { there++; return nil })
	if err != nil || there < said {
		t.Errorf("%d objects are there, %d were created: %v", there, said, err)
	}
	for i := range there {
		p := make([]byte, killedSize+1)
		n, err := d.ReadAt(t.Context(), killedName(i), p, 0)
		if !errors.Is(err, io.EOF) || !bytes.Equal(p[:n], killedBody(i)) {
			t.Errorf("%s: %d bytes that are not what was written: %v", killedName(i), n, err)
		}
	}
}
