//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	randomReads   = 2000
	randomLength  = 4096
	copiedFiles   = 5700
	mountPatience = 2 * time.Minute
)

// mounted is a mount that is being measured.
type mounted struct {
	tool   *tool
	dir    string
	cmd    *exec.Cmd
	began  time.Time
	stderr bytes.Buffer
}

// mount starts a tool's mount, and waits until ls shows something; that is its cost.
func mount(t *tool) (*mounted, cost, error) {
	m := &mounted{tool: t, dir: filepath.Join(t.dir, "mount")}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return nil, cost{}, err
	}
	syscall.Sync()
	m.cmd = exec.Command(t.bin, t.mount(m.dir)...)
	m.cmd.Env = append(os.Environ(), t.env...)
	m.cmd.Stdout, m.cmd.Stderr = &m.stderr, &m.stderr
	m.began = time.Now()
	if err := m.cmd.Start(); err != nil {
		return nil, cost{}, err
	}
	for time.Since(m.began) < mountPatience {
		if out, err := exec.Command("ls", m.dir).Output(); err == nil && len(out) > 0 {
			return m, cost{Wall: time.Since(m.began).Seconds()}, nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, cost{}, errors.Join(fmt.Errorf("%s: the mount does not answer: %s", t.name, &m.stderr), m.cmd.Process.Kill())
}

// unmount ends it and gives what the serving process used in all.
func (m *mounted) unmount() (cost, error) {
	if err := m.cmd.Process.Signal(os.Interrupt); err != nil {
		return cost{}, err
	}
	err := m.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // a mount that was interrupted may say so
		return cost{}, err
	}
	if out, err := exec.Command("mountpoint", "-q", m.dir).CombinedOutput(); err == nil {
		return cost{}, fmt.Errorf("%s left its mount behind: %s", m.tool.name, out)
	}
	return costOf(m.cmd, time.Since(m.began)), nil
}

func (b *bench) mounts(name, tree string, number int, tools []*tool) error {
	small, err := subtree(tree, copiedFiles)
	if err != nil {
		return err
	}
	for i := range tools {
		t := tools[(i+number)%len(tools)]
		if err := b.warm(name, t); err != nil {
			return err
		}
		m, c, err := mount(t)
		if err != nil {
			return err
		}
		b.add(name, stepMount, t.name, c)
		err = b.inMount(name, t, t.inMount(m.dir, tree), small)
		c, unmountErr := m.unmount()
		if err = errors.Join(err, unmountErr); err != nil {
			return fmt.Errorf("%s: in the mount: %w", t.name, err)
		}
		b.add(name, stepServe, t.name, c)
	}
	if name == treeSmall {
		if err := warm(filepath.Join(tree, small)); err != nil {
			return err
		}
		return b.copies(name, "disk", filepath.Join(tree, small))
	}
	return nil
}

// inMount measures what people do in a mount; root is where the tree stands in it.
func (b *bench) inMount(name string, t *tool, root, small string) error {
	if name == treeSmall {
		for _, step := range []string{stepList, stepListAgain} {
			c, err := shell(`find "$1/" -printf '%s\n' > /dev/null`, root)
			if err != nil {
				return err
			}
			b.add(name, step, t.name, c)
		}
		return b.copies(name, t.name, filepath.Join(root, small))
	}
	file := filepath.Join(root, largeFiles[0].name)
	for _, step := range []string{stepCat, stepCatAgain} {
		c, err := shell(`cat "$1" > /dev/null`, file)
		if err != nil {
			return err
		}
		b.add(name, step, t.name, c)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c, err := run(nil, self, "-random-reads", file)
	if err != nil {
		return err
	}
	b.add(name, stepRandom, t.name, c)
	return nil
}

func (b *bench) copies(name, who, from string) error {
	target := filepath.Join(b.work, "round", "copy-"+who) // stays until the end of the round, see restores
	c, err := run(nil, "cp", "-r", from, target)
	if err != nil {
		return err
	}
	b.add(name, stepCopy, who, c)
	return nil
}

// readRandomly is what the child does that measures random reads: it must not be the process that serves.
func readRandomly(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	blocks := info.Size() / randomLength
	if blocks < 1 {
		return errors.New("the file is too small: " + strconv.FormatInt(info.Size(), 10) + " bytes")
	}
	random := rand.New(rand.NewPCG(4, 2026))
	buffer := make([]byte, randomLength)
	for range randomReads {
		if err := readBlock(f, buffer, random.Int64N(blocks)*randomLength); err != nil {
			return err
		}
	}
	return nil
}

// readBlock tries a few times: restic's mount answers with an I/O error now and then where the next try succeeds.
func readBlock(f *os.File, buffer []byte, off int64) error {
	_, err := f.ReadAt(buffer, off)
	for try := 1; err != nil && try < 10; try++ {
		_, err = f.ReadAt(buffer, off)
	}
	return err
}
