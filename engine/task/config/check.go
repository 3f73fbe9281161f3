package config

import (
	"fmt"
	"maps"
	"net"
	"net/mail"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// typeFiles is the type of a source that is paths on this host.
const typeFiles = "files"

// maxName bounds a name, in bytes: it is part of file names.
const maxName = 100

// Checks are the questions that the file alone cannot answer. One that is nil is not asked, but for Zone. An error
// becomes a problem at the place of the value; its text should say what is wrong, and may add a remedy after "; ".
type Checks struct {
	Cron       func(expression string) error // is it a schedule?
	Zone       func(name string) error       // is it a time zone? nil: time.LoadLocation knows
	File       func(path string) error       // can this key file or password file be read?
	StateDir   func(path string) error       // can it be written?
	Mount      func(path string) error       // can the tree be mounted there?
	Listen     func(address string) error    // is the port free?
	Path       func(path string) error       // is this path of a source there? If not, that is only a warning
	Source     func(s Source) error          // do its excludes make sense?
	Repository func(r Repository) error      // can it be reached and opened?
	// SourceTypes are the types of sources that there are besides "files".
	SourceTypes []string
}

// checker gathers what is wrong with the meaning of a configuration.
type checker struct {
	c        *Config
	checks   Checks
	problems Problems
}

// Check looks for mistakes in what the configuration means: names that nobody has, schedules that never come,
// settings that contradict each other. Values that could not be read are passed over: [Parse] has reported them.
func (c *Config) Check(checks Checks) Problems {
	if checks.Zone == nil {
		checks.Zone = func(name string) error { _, err := time.LoadLocation(name); return err }
	}
	k := &checker{c: c, checks: checks}
	k.server()
	for _, name := range slices.Sorted(maps.Keys(c.Repositories)) {
		k.name("repository", name)
		k.repository(c.Repositories[name], []string{"repository", name})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		k.name("source", name)
		k.source(c.Sources[name], []string{"source", name})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Notify)) {
		k.name("notify", name)
		k.notify(c.Notify[name], []string{"notify", name})
	}
	for _, name := range c.TaskNames() {
		k.name("task", name)
		k.task(c.Tasks[name], []string{"task", name})
	}
	if len(c.Tasks) == 0 && !c.isBroken("task") {
		k.warn([]string{"task"}, "there is no task, so nothing is ever backed up", "add a section [task.NAME]")
	}
	k.idleSources()
	return k.problems.sorted()
}

func (c *Config) isBroken(path ...string) bool {
	for n := 1; n <= len(path); n++ {
		if c.broken[joined(path[:n])] {
			return true
		}
	}
	return false
}

func (k *checker) fail(path []string, what, remedy string) {
	if !k.c.broken[joined(path)] {
		k.problems = append(k.problems, k.c.At(what, remedy, path...))
	}
}

func (k *checker) warn(path []string, what, remedy string) {
	p := k.c.At(what, remedy, path...)
	p.Warning = true
	k.problems = append(k.problems, p)
}

// ask puts a question about a value, unless nobody can answer it.
func ask[T any](k *checker, question func(T) error, value T, path []string, remedy string) {
	if question == nil || k.c.isBroken(path...) {
		return
	}
	if err := question(value); err != nil {
		what, better, ok := strings.Cut(err.Error(), "; ")
		if ok {
			remedy = better
		}
		k.fail(path, what, remedy)
	}
}

// oneOf checks a value that is a word out of a few; empty is always right.
func (k *checker) oneOf(value string, words []string, path []string) {
	if value == "" || slices.Contains(words, value) {
		return
	}
	remedy := "write one of " + strings.Join(words, ", ")
	if near, ok := nearest(value, words); ok {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	k.fail(path, fmt.Sprintf("%q is none of its values", value), remedy)
}

func (k *checker) absolute(value string, path []string) bool {
	if filepath.IsAbs(value) {
		return true
	}
	k.fail(path, fmt.Sprintf("%q is not an absolute path, and the server has no directory of its own to begin at", value),
		"write the whole path, from /")
	return false
}

// name checks the name of a section's table. Names become file names and words on the command line, and SOURCE@WHEN:PATH
// must be able to tell them from the rest.
func (k *checker) name(section, name string) {
	path := []string{section, name}
	ordinary := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	odd := strings.IndexFunc(name, func(r rune) bool { return !ordinary(r) && !strings.ContainsRune("-_.", r) })
	switch {
	case name == "":
		k.fail(path, "the name is empty", "give the "+section+" a name")
	case odd >= 0 || !ordinary([]rune(name)[0]):
		k.fail(path, fmt.Sprintf("%q cannot be a name", name), "use letters, digits, and - _ . after the first of them")
	case len(name) > maxName:
		k.fail(path, fmt.Sprintf("the name is %d bytes long", len(name)), fmt.Sprintf("use at most %d", maxName))
	case name == All:
		k.fail(path, fmt.Sprintf("%q is the word for all of them", name), "choose another name")
	case strings.HasPrefix(name, ReservedPrefix):
		k.fail(path, fmt.Sprintf("names that begin with %q are cairn's own", ReservedPrefix), "choose another name")
	}
}

func (k *checker) server() {
	s, path := k.c.Server, []string{"server"}
	if s.StateDir == "" {
		k.fail(sub(path, "state-dir"), "the directory for the server's state is empty", "name one, or leave the key out for "+DefaultStateDir)
	} else if k.absolute(s.StateDir, sub(path, "state-dir")) {
		ask(k, k.checks.StateDir, s.StateDir, sub(path, "state-dir"), "make the directory writable for the user that the server runs as")
	}
	if s.Mount != "" && k.absolute(s.Mount, sub(path, "mount")) {
		ask(k, k.checks.Mount, s.Mount, sub(path, "mount"), "name an empty directory")
	}
	if s.Listen != "" {
		host, port, err := net.SplitHostPort(s.Listen)
		n, numErr := strconv.ParseUint(port, 10, 16)
		if err != nil || numErr != nil || n == 0 || strings.ContainsAny(host, " /") {
			k.fail(sub(path, "listen"), fmt.Sprintf("%q is no address to listen on", s.Listen), `write HOST:PORT, such as "127.0.0.1:9732"`)
		} else {
			ask(k, k.checks.Listen, s.Listen, sub(path, "listen"), "stop what uses the port, or choose another one")
		}
	}
	k.oneOf(s.LogFormat, []string{"text", "json"}, sub(path, "log-format"))
	k.oneOf(s.LogLevel, []string{"debug", "info", "warn", "error"}, sub(path, "log-level"))
	if s.Concurrency < 0 || s.Concurrency > 1000 {
		k.fail(sub(path, "concurrency"), fmt.Sprintf("%d runs at once make no sense", s.Concurrency), "write 1 to 1000, or leave it out for half the cores")
	}
	if s.Node != "" && strings.ContainsFunc(s.Node, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '/' }) {
		k.fail(sub(path, "node"), fmt.Sprintf("%q cannot be the name of a node", s.Node), "use no blanks and slashes, or leave it out for the host's name")
	}
	if s.Grace < Duration(time.Minute) {
		k.fail(sub(path, "grace"), fmt.Sprintf("after %s of silence nobody can be called dead", s.Grace), `write "1m" or more, or leave it out for 30m`)
	}
}

func (k *checker) repository(r Repository, path []string) {
	switch hasPath, hasURL := r.Path != "", r.URL != ""; {
	case hasPath && hasURL:
		k.fail(sub(path, "url"), "the repository has a path and a url", "remove one of the two")
	case hasPath:
		k.absolute(r.Path, sub(path, "path"))
	case hasURL:
		if u, err := url.Parse(r.URL); err != nil || u.Scheme == "" {
			k.fail(sub(path, "url"), "this is no URL", `write it as in url = "s3://bucket/cairn", or use path for a directory on this host`)
		}
	case !k.c.isBroken(sub(path, "path")...) && !k.c.isBroken(sub(path, "url")...):
		k.fail(path, "the repository has no place", `add path = "/srv/cairn", or a url`)
	}
	if r.KeyFile != "" && r.PasswordFile != "" {
		k.fail(sub(path, "password-file"), "the repository has a key file and a password file", "remove one of the two: either opens it alone")
	}
	k.secretFile(r.KeyFile, sub(path, "key-file"))
	k.secretFile(r.PasswordFile, sub(path, "password-file"))
	if !k.problems.within(path) {
		ask(k, k.checks.Repository, r, path, "make it with cairn init, or correct its place and its key")
	}
}

// within reports whether a problem was found under a key.
func (ps Problems) within(path []string) bool {
	key := dotted(path)
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Key == key || strings.HasPrefix(p.Key, key+".") })
}

func (k *checker) secretFile(file string, path []string) {
	if file != "" && k.absolute(file, path) {
		ask(k, k.checks.File, file, path, "correct the path, or let the user that the server runs as read it")
	}
}

func (k *checker) source(s Source, path []string) {
	k.oneOf(s.Type, append([]string{typeFiles}, k.checks.SourceTypes...), sub(path, "type"))
	k.oneOf(s.Freeze, []string{"auto", "btrfs", "reflink", "hooks", "none"}, sub(path, "freeze"))
	if s.Type == typeFiles || s.Type == "" {
		k.filePaths(s, path)
	} else if slices.Contains(k.checks.SourceTypes, s.Type) && s.URL == "" && len(s.AllPaths()) == 0 && !k.c.isBroken(sub(path, "url")...) {
		k.fail(path, "the source has no place", `add a url, such as url = "postgres://host/"`)
	}
	for i, e := range s.Excludes {
		if strings.ContainsRune(e, 0) || strings.TrimSpace(e) == "" {
			k.fail(sub(path, "exclude", element(i)), "the pattern is empty", "remove it")
		}
	}
	for i, e := range s.ExcludeIfPresent {
		if e == "" || strings.ContainsAny(e, "/\x00") {
			k.fail(sub(path, "exclude-if-present", element(i)), fmt.Sprintf("%q is not the name of a file", e), `write a name without a directory, such as ".nobackup"`)
		}
	}
	if !k.problems.within(path) {
		ask(k, k.checks.Source, s, path, "correct the settings of the source")
	}
}

func (k *checker) filePaths(s Source, path []string) {
	if s.URL != "" {
		k.fail(sub(path, "url"), "a source of files has no url", "use path, or name the type that the url is for")
	}
	if s.Path != "" && len(s.Paths) > 0 {
		k.fail(sub(path, "paths"), "the source has a path and paths", "put all of them into paths")
	}
	all := s.AllPaths()
	if len(all) == 0 && s.URL == "" && !k.c.isBroken(sub(path, "path")...) && !k.c.isBroken(sub(path, "paths")...) && !k.c.isBroken(path...) {
		k.fail(path, "the source has no path", `add path = "/home", or several as in paths = ["/etc", "/home"]`)
	}
	for i, p := range all {
		at := sub(path, "paths", element(i))
		if s.Path != "" {
			at = sub(path, "path")
		}
		if !k.absolute(p, at) {
			continue
		}
		if k.checks.Path != nil {
			if err := k.checks.Path(p); err != nil {
				k.warn(at, err.Error(), "correct the path if it is not only away for now: each run fails without it")
			}
		}
		if m := k.c.Server.Mount; m != "" && filepath.IsAbs(m) && inside(m, p) && !s.OneFileSystem {
			k.warn(at, fmt.Sprintf("the tree mounted on %s lies in it, so that the backups would be backed up", m), `add one-file-system = true, or exclude it`)
		}
	}
	for i := range all {
		for j := range i {
			if inside(all[i], all[j]) || inside(all[j], all[i]) {
				k.warn(sub(path, "paths"), fmt.Sprintf("%s and %s overlap, so that files are stored twice over in the tree", all[j], all[i]), "remove one of the two")
			}
		}
	}
}

// inside reports whether a path is another one or lies in it, by their letters.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(filepath.Clean(dir), filepath.Clean(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (k *checker) notify(n Notify, path []string) {
	ways := 0
	for _, has := range []bool{n.Webhook != "", len(n.Command) > 0, !n.Email.isZero()} {
		if has {
			ways++
		}
	}
	broken := slices.ContainsFunc([]string{"webhook", "command", "email"}, func(key string) bool { return k.c.isBroken(sub(path, key)...) })
	switch {
	case ways == 0 && !broken:
		k.fail(path, "it says nothing about how to tell", "add webhook, command or email")
	case ways > 1:
		k.fail(path, "it has several ways to tell", "make a section of its own for each of webhook, command and email")
	}
	if n.Webhook != "" {
		if u, err := url.Parse(n.Webhook); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			k.fail(sub(path, "webhook"), "this is no address of a web server", `write it as in webhook = "https://example.org/hook"`)
		}
	}
	if len(n.Headers) > 0 && n.Webhook == "" {
		k.fail(sub(path, "headers"), "only a webhook has headers", "remove them")
	}
	if len(n.On) == 0 && !k.c.isBroken(sub(path, "on")...) {
		k.fail(sub(path, "on"), "it is never told anything", `name events, or leave the key out for all of them`)
	}
	for i, event := range n.On {
		k.oneOf(event, []string{OnFailure, OnRecovery, OnOverdue, OnDamage}, sub(path, "on", element(i)))
	}
	if n.Timeout <= 0 {
		k.fail(sub(path, "timeout"), "no time is left to tell anybody", "write more, or leave it out for 1m")
	}
	if len(n.Command) > 0 && n.Command[0] == "" {
		k.fail(sub(path, "command"), "the command is empty", "name a program")
	}
	if !n.Email.isZero() {
		k.email(n.Email, sub(path, "email"))
	}
}

func (e Email) isZero() bool {
	return len(e.To) == 0 && e.From == "" && e.SMTP == "" && e.User == "" && e.PasswordFile == ""
}

func (k *checker) email(e Email, path []string) {
	if len(e.To) == 0 {
		k.fail(sub(path, "to"), "the letter has no one to go to", `add to = ["admin@example.org"]`)
	}
	for i, to := range e.To {
		if _, err := mail.ParseAddress(to); err != nil {
			k.fail(sub(path, "to", element(i)), fmt.Sprintf("%q is no e-mail address", to), "write it as in admin@example.org")
		}
	}
	if _, err := mail.ParseAddress(e.From); err != nil {
		k.fail(sub(path, "from"), fmt.Sprintf("%q is no e-mail address", e.From), `add from = "cairn@example.org"`)
	}
	if host, port, err := net.SplitHostPort(e.SMTP); err != nil || host == "" || port == "" {
		k.fail(sub(path, "smtp"), fmt.Sprintf("%q is no mail server", e.SMTP), `write HOST:PORT, such as smtp = "mail.example.org:587"`)
	}
	k.secretFile(e.PasswordFile, sub(path, "password-file"))
}
