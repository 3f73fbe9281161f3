package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/engine/retention"
)

func (k *checker) task(t Task, at []string) {
	k.sources(t, at)
	k.schedule(t, at)
	k.taskRepository(t, at)
	k.retention(t.Retention, sub(at, "retention"))
	k.hook(t.Pre, sub(at, "pre"))
	k.hook(t.Post, sub(at, "post"))
	if t.Retries < 0 || t.Retries > 1000 {
		k.fail(sub(at, "retries"), fmt.Sprintf("a run cannot be retried %d times", t.Retries), "write 0 to 1000")
	}
	for i, tag := range t.Tags {
		k.tag(tag, sub(at, "tags", element(i)))
	}
	for i, name := range t.Notify {
		k.pattern("notify", name, slices.Sorted(maps.Keys(k.c.Notify)), sub(at, "notify", element(i)))
	}
}

func (k *checker) tag(tag string, at []string) {
	if tag == "" || strings.ContainsAny(tag, ", \t\r\n\x00") {
		k.fail(at, fmt.Sprintf("%q cannot be a tag", tag), "use no blanks and commas")
	}
}

// pattern checks one element of a list of names. It reports whether it names or matches something; a pattern that does
// not yet is no mistake.
func (k *checker) pattern(section, name string, have []string, at []string) bool {
	switch {
	case name == All:
		return len(have) > 0
	case isPattern(name):
		if _, err := path.Match(name, ""); err != nil {
			k.fail(at, fmt.Sprintf("the pattern %q is not complete", name), "close its bracket, or put a \\ before a character that is meant as it stands")
			return false
		}
		if !slices.ContainsFunc(have, Names{name}.Match) {
			k.warn(at, fmt.Sprintf("no %s matches %q so far", section, name), "check the pattern, unless it is for later")
			return false
		}
		return true
	case slices.Contains(have, name):
		return true
	}
	remedy := fmt.Sprintf("add a section [%s.%s], or remove it here", section, dotted([]string{name}))
	if near, ok := nearest(name, have); ok {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	k.fail(at, fmt.Sprintf("there is no %s %q", section, name), remedy)
	return false
}

func (k *checker) sources(t Task, at []string) {
	if k.c.isBroken(sub(at, "sources")...) || k.c.isBroken("source") {
		return
	}
	have := slices.Sorted(maps.Keys(k.c.Sources))
	found := false
	for i, name := range t.Sources {
		here := sub(at, "sources", element(i))
		found = k.pattern("source", name, have, here) || found
	}
	for i, name := range t.Except {
		k.pattern("source", name, have, sub(at, "except", element(i)))
	}
	covered := k.c.SourcesOf(t)
	switch {
	case len(t.Sources) == 0:
		here := sub(at, "sources")
		k.fail(here, "the task has no sources", `name some as in sources = ["home"], or write sources = "all"`)
	case found && len(covered) == 0:
		k.fail(sub(at, "except"), "every source of the task is left out", "leave out fewer, or set enabled = false")
	case len(have) == 0 && t.Sources.Match(All):
		k.fail(sub(at, "sources"), "the task is for all sources, and there is none", "add a section [source.NAME]")
	}
	k.overlap(covered, sub(at, "sources"))
}

// overlap warns of sources of one task that hold the same files. It looks for each path's parents among all paths, so
// that a task for a thousand sources costs a thousand short walks.
func (k *checker) overlap(names []string, at []string) {
	type root struct{ source, path string }
	roots := map[string][]root{} // by the clean path
	for _, name := range names {
		if s := k.c.Sources[name]; s.Type == typeFiles {
			for _, p := range s.AllPaths() {
				roots[filepath.Clean(p)] = append(roots[filepath.Clean(p)], root{name, p})
			}
		}
	}
	seen := map[[2]string]bool{}
	for _, clean := range slices.Sorted(maps.Keys(roots)) {
		for dir := clean; ; dir = filepath.Dir(dir) {
			for _, inner := range roots[clean] {
				for _, outer := range roots[dir] {
					pair := [2]string{inner.source, outer.source}
					if inner.source == outer.source || seen[pair] || seen[[2]string{pair[1], pair[0]}] {
						continue
					}
					seen[pair] = true
					k.warn(at, fmt.Sprintf("the sources %s (%s) and %s (%s) overlap, so that the same files are read twice",
						inner.source, inner.path, outer.source, outer.path),
						"leave one of them out with except, or exclude the inner one from the outer one")
				}
			}
			if filepath.Dir(dir) == dir {
				break
			}
		}
	}
}

const cronRemedy = `write minute, hour, day, month and weekday, such as "30 2 * * *" for half past two each night`

func (k *checker) schedule(t Task, at []string) {
	for key, expression := range map[string]string{"full": t.Full, "incremental": t.Incremental, "prune": t.Prune} {
		if expression != "" {
			ask(k, k.cron, expression, sub(at, key), cronRemedy)
		}
	}
	unknown := k.c.isBroken(sub(at, "full")...) || k.c.isBroken(sub(at, "incremental")...)
	switch {
	case t.Full == "" && t.Incremental == "" && !unknown:
		k.fail(at, "the task has no schedule", `add full or incremental, such as incremental = "30 2 * * *"`)
	case t.Full != "" && t.Full == t.Incremental:
		k.warn(sub(at, "incremental"), "this is the schedule of full too, which wins, so that there is never an incremental run", "remove one of the two, or change it")
	}
	if t.Timezone != "" {
		ask(k, k.zone, t.Timezone, sub(at, "timezone"), `use a name of the time zone database, such as "Europe/Paris", or leave it out for the host's local time`)
	}
}

func (k *checker) cron(expression string) error {
	if k.checks.Cron == nil {
		return nil
	}
	if err := k.checks.Cron(expression); err != nil {
		return fmt.Errorf("%q is no schedule: %w", expression, err)
	}
	return nil
}

func (k *checker) zone(name string) error {
	if k.checks.Zone(name) != nil {
		return fmt.Errorf("there is no time zone %q", name)
	}
	return nil
}

func (k *checker) taskRepository(t Task, at []string) {
	at = sub(at, "repository")
	if k.c.isBroken(at...) || k.c.isBroken("repository") {
		return
	}
	have := slices.Sorted(maps.Keys(k.c.Repositories))
	switch {
	case t.Repository != "" && isPattern(t.Repository):
		k.fail(at, "a task has one repository, not a pattern for several", "name one, and make a task for each of the others")
	case t.Repository != "":
		k.pattern("repository", t.Repository, have, at)
	case len(have) == 0:
		k.fail(at, "there is no repository to back up to", "add a section [repository.NAME]")
	default:
		k.fail(at, "there are several repositories, and the task names none", "add repository = "+strconv.Quote(have[0])+", or another one of "+strings.Join(have, ", "))
	}
}

// retention asks the policy itself, one rule after the other, so that each mistake has its own place.
func (k *checker) retention(r Retention, at []string) {
	for _, rule := range []struct {
		key    string
		policy retention.Policy
	}{
		{"keep-last", retention.Policy{Last: r.Last}}, {"keep-hourly", retention.Policy{Hourly: r.Hourly}},
		{"keep-daily", retention.Policy{Daily: r.Daily}}, {"keep-weekly", retention.Policy{Weekly: r.Weekly}},
		{"keep-monthly", retention.Policy{Monthly: r.Monthly}}, {"keep-yearly", retention.Policy{Yearly: r.Yearly}},
		{"min-age", retention.Policy{MinAge: time.Duration(r.MinAge)}},
	} {
		ask(k, checkPolicy, rule.policy, sub(at, rule.key), "leave it out")
	}
	if _, written := k.c.places[joined(sub(at, "min-age"))]; written && r.MinAge == 0 {
		k.fail(sub(at, "min-age"), "0s is less than a day", "write 1d or more, or leave it out")
	}
	if !k.problems.within(at) {
		ask(k, checkPolicy, r.Policy(), sub(at, "keep-tags"), "leave it out")
	}
	for i, tag := range r.Tags {
		k.tag(tag, sub(at, "keep-tags", element(i)))
	}
}

// checkPolicy leaves out the name of the rule, which the key says already, and writes durations as the file does.
func checkPolicy(p retention.Policy) error {
	err := p.Check()
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), p.MinAge.String(), Duration(p.MinAge).String())
	if _, rest, ok := strings.Cut(text, ": "); ok {
		text = rest
	}
	return errors.New(text)
}

func (k *checker) hook(h Hook, at []string) {
	if len(h.Command) == 0 && h.Timeout == 0 {
		return
	}
	if (len(h.Command) == 0 || h.Command[0] == "") && !k.c.isBroken(sub(at, "command")...) {
		k.fail(sub(at, "command"), "the hook has no command", `add command = ["/usr/local/bin/before"], or remove the hook`)
	}
	if h.Timeout <= 0 {
		k.fail(sub(at, "timeout"), "the hook has no time to run", "write more, or leave it out for 10m")
	}
}

// idleSources warns of sources that no task backs up, and none leaves out on purpose.
func (k *checker) idleSources() {
	if len(k.c.Tasks) == 0 || k.c.isBroken("task") {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(k.c.Sources)) {
		covered := false
		for taskName, t := range k.c.Tasks {
			covered = covered || k.c.isBroken("task", taskName, "sources") || t.Sources.Match(name) || t.Except.Match(name)
		}
		if !covered {
			k.warn([]string{"source", name}, "no task backs this source up", "add it to the sources of a task")
		}
	}
}
