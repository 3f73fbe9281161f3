package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// pseudoTerminal opens both ends of one.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

func TestPassphrasePromptEndsWithAnInterruptAndLeavesTheTerminalAsItWas(t *testing.T) {
	p, _, _ := quiet(t)
	person, program := pseudoTerminal(t)
	p.in = program
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	done := make(chan error, 1)
	go func() {
		_, err := p.ask(ctx, "passphrase: ")
		done <- err
	}()
	for echoes(t, program) { // until it reads
		runtime.Gosched()
	}
	interrupt()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the prompt ended with %v", err)
	}
	if !echoes(t, program) {
		t.Error("what is typed after the interrupt is not shown")
	}
	if _, err := person.WriteString("\n"); err != nil { // lets the abandoned read end
		t.Error(err)
	}
}

func TestPassphraseIsReadFromTheTerminal(t *testing.T) {
	p, _, _ := quiet(t)
	person, program := pseudoTerminal(t)
	p.in = program
	if _, err := person.WriteString("correct horse\n"); err != nil {
		t.Fatal(err)
	}
	got, err := p.ask(context.Background(), "passphrase: ")
	if err != nil || got != "correct horse" {
		t.Errorf("read %q, %v", got, err)
	}
}
