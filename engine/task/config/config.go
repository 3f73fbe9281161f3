package config

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cairn-backup/cairn/engine/retention"
)

// ReservedPrefix begins the names that cairn gives by itself, such as those of the runs that a task for all sources
// stands for. No name in the file may begin with it.
const ReservedPrefix = "cairn-"

// All is the word that stands for every source, or everyone to be told, there is now and later.
const All = "all"

// What a configuration says when the file says nothing.
const (
	DefaultStateDir    = "/var/lib/cairn"
	DefaultGrace       = Duration(30 * time.Minute)
	DefaultRetries     = 5
	DefaultHookTimeout = Duration(10 * time.Minute)
	DefaultTellTimeout = Duration(time.Minute)
)

// The events that somebody can be told about.
const (
	OnFailure  = "failure"
	OnRecovery = "recovery"
	OnOverdue  = "overdue"
	OnDamage   = "damage"
)

// Config is a whole configuration. The maps are by name. It is not changed after [Load], and so is safe for many
// goroutines.
type Config struct {
	Server       Server                `toml:"server"`
	Repositories map[string]Repository `toml:"repository,omitempty"`
	Sources      map[string]Source     `toml:"source,omitempty"`
	Tasks        map[string]Task       `toml:"task,omitempty"`
	Notify       map[string]Notify     `toml:"notify,omitempty"`

	file   string
	places map[string]position // by the parts of a key, joined by zero bytes
	broken map[string]bool     // keys whose value could not be read: nothing more is said about them
}

// Server is what belongs to the process.
type Server struct {
	StateDir    string   `toml:"state-dir" example:"\"/var/lib/cairn\""`
	Mount       string   `toml:"mount,omitempty" example:"\"/mnt/cairn\""`      // where the tree is; empty: nowhere
	AllowOther  bool     `toml:"allow-other,omitempty" example:"true"`          // other users may look into the mount
	Listen      string   `toml:"listen,omitempty" example:"\"127.0.0.1:9732\""` // metrics and health; empty: nowhere
	LogFormat   string   `toml:"log-format" example:"\"text\""`                 // text or json
	LogLevel    string   `toml:"log-level" example:"\"info\""`                  // debug, info, warn or error
	Concurrency int      `toml:"concurrency,omitempty" example:"2"`             // runs at once; 0: half the cores, at least 1
	Node        string   `toml:"node,omitempty" example:"\"alpha\""`            // empty: the host's name
	Grace       Duration `toml:"grace,omitzero" example:"\"30m\""`              // silence after which another node takes over
}

// Repository is where restore points go: a Path on this host or a URL. Without a key file and a password file it is
// not encrypted.
type Repository struct {
	Name         string `toml:"-"`
	Path         string `toml:"path,omitempty" example:"\"/srv/cairn\""`
	URL          string `toml:"url,omitempty" example:"\"s3://bucket/cairn\""`
	KeyFile      string `toml:"key-file,omitempty" example:"\"/etc/cairn/key\""`
	PasswordFile string `toml:"password-file,omitempty" example:"\"/etc/cairn/password\""`
}

// Source is what is backed up under a name.
type Source struct {
	Name             string   `toml:"-"`
	Type             string   `toml:"type" example:"\"files\""`                        // files, or another one of [Checks].SourceTypes
	Path             string   `toml:"path,omitempty" example:"\"/home\""`              // one directory or file ...
	Paths            []string `toml:"paths,omitempty" example:"[\"/etc\", \"/home\"]"` // ... or several
	URL              string   `toml:"url,omitempty" example:"\"postgres://host/\""`    // of what is not files
	Excludes         []string `toml:"exclude,omitempty" example:"[\"*.tmp\"]"`         // as in .gitignore
	ExcludeIfPresent []string `toml:"exclude-if-present,omitempty" example:"[\".nobackup\"]"`
	ExcludeCaches    bool     `toml:"exclude-caches,omitempty" example:"true"`
	OneFileSystem    bool     `toml:"one-file-system,omitempty" example:"true"`
	Freeze           string   `toml:"freeze,omitempty" example:"\"auto\""` // auto, btrfs, reflink, hooks or none
}

// AllPaths are the paths of a source of files.
func (s Source) AllPaths() []string {
	if s.Path != "" {
		return append([]string{s.Path}, s.Paths...)
	}
	return s.Paths
}

// Task says which sources are backed up when, where to, and how long that is kept.
type Task struct {
	Name        string    `toml:"-"`
	Enabled     bool      `toml:"enabled" example:"true"`
	Sources     Names     `toml:"sources" example:"[\"home\"]"`
	Except      Names     `toml:"except,omitempty" example:"[\"scratch\"]"`
	Repository  string    `toml:"repository,omitempty" example:"\"main\""` // may be left out of the file where there is just one
	Full        string    `toml:"full,omitempty" example:"\"30 2 1 * *\""`
	Incremental string    `toml:"incremental,omitempty" example:"\"30 2 * * *\""`
	Timezone    string    `toml:"timezone,omitempty" example:"\"Europe/Paris\""` // empty: the host's local time
	Prune       string    `toml:"prune,omitempty" example:"\"0 5 * * 0\""`
	Retries     int       `toml:"retries" example:"5"`
	ReadLimit   Rate      `toml:"read-limit,omitzero" example:"\"50 MiB/s\""`
	WriteLimit  Rate      `toml:"write-limit,omitzero" example:"\"50 MiB/s\""`
	Tags        []string  `toml:"tags,omitempty" example:"[\"daily\"]"`
	Notify      Names     `toml:"notify" example:"[\"admin\"]"`
	Retention   Retention `toml:"retention,omitzero" example:"{ keep-daily = 7 }"`
	Pre         Hook      `toml:"pre,omitzero" example:"{ command = [\"/usr/local/bin/before\"] }"`
	Post        Hook      `toml:"post,omitzero" example:"{ command = [\"/usr/local/bin/after\"] }"`
}

// Template reports whether the task covers sources that it does not name, also those added later.
func (t Task) Template() bool { return slices.ContainsFunc(t.Sources, isPattern) }

// Retention says what stays when a run has succeeded. The zero value keeps everything.
type Retention struct {
	Last    int      `toml:"keep-last,omitempty" example:"3"`
	Hourly  int      `toml:"keep-hourly,omitempty" example:"24"`
	Daily   int      `toml:"keep-daily,omitempty" example:"7"`
	Weekly  int      `toml:"keep-weekly,omitempty" example:"5"`
	Monthly int      `toml:"keep-monthly,omitempty" example:"12"`
	Yearly  int      `toml:"keep-yearly,omitempty" example:"3"`
	MinAge  Duration `toml:"min-age,omitzero" example:"\"30d\""`
	Tags    []string `toml:"keep-tags,omitempty" example:"[\"release\"]"`
}

// Policy is the retention as the package that decides takes it.
func (r Retention) Policy() retention.Policy {
	return retention.Policy{
		Last: r.Last, Hourly: r.Hourly, Daily: r.Daily, Weekly: r.Weekly, Monthly: r.Monthly, Yearly: r.Yearly,
		MinAge: time.Duration(r.MinAge), Tags: r.Tags,
	}
}

// Hook is a program that runs before or after a run, without a shell in between. Without a command there is none.
type Hook struct {
	Command []string `toml:"command,omitempty" example:"[\"/bin/sh\", \"-c\", \"systemctl stop shop\"]"`
	Timeout Duration `toml:"timeout,omitzero" example:"\"10m\""`
}

// Notify is one way to tell somebody: exactly one of Webhook, Email and Command.
type Notify struct {
	Name    string            `toml:"-"`
	On      Names             `toml:"on" example:"[\"failure\", \"recovery\", \"overdue\", \"damage\"]"`
	Webhook string            `toml:"webhook,omitempty" example:"\"https://example.org/hook\""`
	Headers map[string]string `toml:"headers,omitempty" example:"{ Authorization = \"Bearer ...\" }"` // of the webhook's request
	Command []string          `toml:"command,omitempty" example:"[\"/usr/local/bin/tell\"]"`
	Timeout Duration          `toml:"timeout,omitzero" example:"\"1m\""`
	Email   Email             `toml:"email,omitzero" example:"{ to = [\"admin@example.org\"], from = \"cairn@example.org\", smtp = \"mail.example.org:587\" }"`
}

// Email is how a letter is sent.
type Email struct {
	To           Names  `toml:"to,omitempty" example:"[\"admin@example.org\"]"`
	From         string `toml:"from,omitempty" example:"\"cairn@example.org\""`
	SMTP         string `toml:"smtp,omitempty" example:"\"mail.example.org:587\""` // host:port
	User         string `toml:"user,omitempty" example:"\"cairn\""`
	PasswordFile string `toml:"password-file,omitempty" example:"\"/etc/cairn/smtp-password\""`
}

func (s *Server) setDefaults() {
	*s = Server{StateDir: DefaultStateDir, LogFormat: "text", LogLevel: "info", Grace: DefaultGrace}
}
func (s *Source) setDefaults() { s.Type = typeFiles }
func (t *Task) setDefaults()   { t.Enabled, t.Retries, t.Notify = true, DefaultRetries, Names{All} }
func (h *Hook) setDefaults()   { h.Timeout = DefaultHookTimeout }
func (n *Notify) setDefaults() {
	n.On, n.Timeout = Names{OnFailure, OnRecovery, OnOverdue, OnDamage}, DefaultTellTimeout
}

// TaskNames are the names of the tasks, sorted.
func (c *Config) TaskNames() []string { return slices.Sorted(maps.Keys(c.Tasks)) }

// SourcesOf are the names of the sources that a task covers now, sorted.
func (c *Config) SourcesOf(t Task) []string { return choose(c.Sources, t.Sources, t.Except) }

// NotifyOf are the names of those whom a task's events are told to, sorted.
func (c *Config) NotifyOf(t Task) []string { return choose(c.Notify, t.Notify, nil) }

// choose gives the names that one of the patterns takes in and none leaves out.
func choose[V any](from map[string]V, in, out Names) []string {
	var chosen []string
	for name := range from {
		if in.Match(name) && !out.Match(name) {
			chosen = append(chosen, name)
		}
	}
	slices.Sort(chosen)
	return chosen
}

// Names is a list of names and patterns; the file may hold a single one without brackets. A pattern is [All] or has
// the characters of [path.Match].
type Names []string

// Match reports whether a name is in the list, or matches a pattern of it.
func (n Names) Match(name string) bool {
	return slices.ContainsFunc(n, func(pattern string) bool {
		if pattern == All || pattern == name {
			return true
		}
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

func isPattern(name string) bool { return name == All || strings.ContainsAny(name, `*?[\`) }
