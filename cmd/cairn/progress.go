package main

import (
	"fmt"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/cairn-backup/cairn/engine"
)

// refresh is how often the line of progress is drawn anew.
const refresh = 200 * time.Millisecond

// showProgress draws a line with files, bytes, rate and time left while an operation runs, if there is a
// person at the terminal. Messages printed meanwhile appear above it. The caller calls stop when the operation has ended.
func (p *program) showProgress(what, noun string, counters *engine.Progress) (stop func()) {
	if !terminal(p.err) {
		return func() {}
	}
	bars := mpb.New(mpb.WithOutput(p.err), mpb.WithRefreshRate(refresh), mpb.WithWidth(24))
	pace := &pace{noun: noun, now: p.now, started: p.now()}
	bar := bars.AddBar(0,
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return phase(what, counters) })),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return pace.line(counters) })),
	)
	before := p.err
	p.err = bars
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(refresh)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				bar.Abort(true)
				return
			case <-tick.C:
				total := counters.TotalBytes.Load()
				bar.SetTotal(max(total, 1), false)
				bar.SetCurrent(min(doneBytes(counters), max(total-1, 0))) // a full bar would end itself
			}
		}
	}()
	return func() {
		close(ended)
		<-stopped
		bars.Wait()
		p.err = before
	}
}

func phase(what string, counters *engine.Progress) string {
	if now := counters.Phase.Load(); now != nil && *now != "" {
		return what + ", " + *now + " "
	}
	return what + " "
}

// pace turns counters into a rate and a time left.
type pace struct {
	noun    string // what is counted
	now     func() time.Time
	started time.Time
}

func (r *pace) line(c *engine.Progress) string {
	done, total := doneBytes(c), c.TotalBytes.Load()
	elapsed := r.now().Sub(r.started)
	text := " " + plural(c.Files.Load(), r.noun)
	if n := c.TotalFiles.Load(); n > 0 {
		text = fmt.Sprintf(" %s of %s", count(c.Files.Load()), plural(n, r.noun))
	}
	text += ", " + size(done)
	if total > 0 {
		text += " of " + size(total)
	}
	if elapsed > time.Second {
		text += fmt.Sprintf(", %s/s", size(int64(float64(done)/elapsed.Seconds())))
		if left := timeLeft(done, total, elapsed); left > 0 {
			text += fmt.Sprintf(", %s left", left)
		}
	}
	if n := c.Errors.Load(); n > 0 {
		text += ", " + plural(n, "problem")
	}
	return text
}

// doneBytes is how far it is. Checks count the bytes that they read alone.
func doneBytes(c *engine.Progress) int64 { return max(c.Bytes.Load(), c.Read.Load()) }

// timeLeft supposes that the rest takes as long a byte as what is done did; 0 when nothing can be said.
func timeLeft(done, total int64, elapsed time.Duration) time.Duration {
	if done <= 0 || total <= done {
		return 0
	}
	return time.Duration(float64(elapsed) * float64(total-done) / float64(done)).Round(time.Second)
}
