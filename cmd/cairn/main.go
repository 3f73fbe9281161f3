package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// version is set by the linker (see Makefile).
var version = "development"

// Memory: the engine's queues are bounded, so what is left to choose is how much garbage may pile up
// between two collections. The limit is soft; the runtime collects harder as it comes near.
const (
	gcPercent   = 100
	memoryLimit = 200 << 20
)

// program is the outside world as the commands see it.
type program struct {
	in     *os.File
	out    io.Writer
	err    io.Writer
	getenv func(string) string
	now    func() time.Time
	random io.Reader
}

func main() {
	keepMemoryPrivate()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	out := &output{file: os.Stdout}
	p := &program{in: os.Stdin, out: out, err: os.Stderr, getenv: os.Getenv, now: time.Now, random: rand.Reader}
	os.Exit(p.main(os.Args))
}

// errInterrupted is why the context ended when a signal ended it.
var errInterrupted = errors.New("interrupted")

// main runs one command line and gives its exit code. The first SIGINT, SIGTERM or SIGHUP cancels what is running,
// which then stops and cleans up; a second one ends the process at once.
func (p *program) main(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		<-signals
		cancel(errInterrupted)
		<-signals
		os.Exit(exitInterrupted)
	}()
	err := p.run(ctx, args)
	if out, ok := p.out.(*output); ok {
		err = out.check(err)
	}
	if err != nil && context.Cause(ctx) == errInterrupted {
		if !errors.Is(err, context.Canceled) {
			p.note("cairn: %s", safeLines(err.Error()))
		}
		err = errInterrupted
	}
	return p.report(err)
}

func (p *program) run(ctx context.Context, args []string) error {
	app := p.app()
	args, err := arrange(app, args)
	if err != nil {
		return err
	}
	return app.RunContext(ctx, args)
}
