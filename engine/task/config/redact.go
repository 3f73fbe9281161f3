package config

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// redacted stands where a secret stood.
const redacted = "REDACTED"

const redactedHead = `# The configuration that was in force, without its secrets: each stood where it says REDACTED.
# The tasks are disabled, so that a copy does not begin to run by itself: set enabled = true for those that shall.

`

// Redacted writes the configuration as TOML, defaults included, comments not, and all tasks disabled. It holds none of:
// passwords in URLs, what follows the host in a webhook's address, values of a webhook's headers, and in the
// commands of hooks what looks like a password, a token or a secret by the word before it. Files that hold secrets are
// named, not read. A command that has a secret in a form of its own keeps it: such a secret belongs into a file.
//
// The same configuration gives the same bytes; they can be loaded, and redacting again changes nothing.
func (c *Config) Redacted() ([]byte, error) {
	clean := Config{
		Server: c.Server, Repositories: maps.Clone(c.Repositories), Sources: maps.Clone(c.Sources),
		Tasks: maps.Clone(c.Tasks), Notify: maps.Clone(c.Notify),
	}
	for name, r := range clean.Repositories {
		r.URL = redactURL(r.URL)
		clean.Repositories[name] = r
	}
	for name, s := range clean.Sources {
		s.URL = redactURL(s.URL)
		clean.Sources[name] = s
	}
	for name, t := range clean.Tasks {
		t.Enabled = false
		t.Pre.Command, t.Post.Command = redactCommand(t.Pre.Command), redactCommand(t.Post.Command)
		clean.Tasks[name] = t
	}
	for name, n := range clean.Notify {
		n.Webhook, n.Command = redactWebhook(n.Webhook), redactCommand(n.Command)
		n.Headers = maps.Clone(n.Headers)
		for key := range n.Headers {
			n.Headers[key] = redacted
		}
		clean.Notify[name] = n
	}
	text, err := toml.Marshal(clean)
	if err != nil {
		return nil, fmt.Errorf("write the configuration without its secrets: %w", err)
	}
	return append([]byte(redactedHead), text...), nil
}

// ForTask is the part of the configuration that one task depends on: the server, the task, and what it names. It is
// what a restore point of the task has a copy of.
func (c *Config) ForTask(name string) *Config {
	part := &Config{Server: c.Server, file: c.file, places: c.places, broken: c.broken}
	t, ok := c.Tasks[name]
	if !ok {
		return part
	}
	part.Tasks = map[string]Task{name: t}
	part.Repositories, part.Sources, part.Notify = map[string]Repository{}, map[string]Source{}, map[string]Notify{}
	if r, ok := c.Repositories[t.Repository]; ok {
		part.Repositories[t.Repository] = r
	}
	for source, s := range c.Sources {
		if t.Sources.Match(source) || t.Except.Match(source) {
			part.Sources[source] = s
		}
	}
	for _, who := range c.NotifyOf(t) {
		part.Notify[who] = c.Notify[who]
	}
	return part
}

const secretWord = `(?:pass(?:word|wd|phrase)?|pwd|secret|token|credential|(?:api|access|account|private|secret)[-_]?key|[-_]key)s?`

var (
	secretKey      = regexp.MustCompile(`(?i)` + secretWord + `$|^(?:sig|signature|auth|sas)$`)
	secretFlag     = regexp.MustCompile(`(?i)^--?(?:[a-z-]*-)?` + secretWord + `$`)
	secretUserinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s/:@]*):[^\s/@]*@`)
	secretToken    = regexp.MustCompile(`(https?://)[^\s/:@]+@`) // of another scheme it is only a user
	secretSetting  = regexp.MustCompile(`(?i)(` + secretWord + `["']?\s*[=:]\s*)(?:"[^"]*"|'[^']*'|[^\s&"']+)`)
	secretArgument = regexp.MustCompile(`(?i)((?:^|\s)--?(?:[a-z-]*-)?` + secretWord + `\s+)(?:"[^"]*"|'[^']*'|[^\s-][^\s]*)`)
	secretBearer   = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[^\s"']+`)
)

func redactURL(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil {
		return redacted
	}
	changed := false
	if u.User != nil {
		_, hasPassword := u.User.Password()
		switch {
		case hasPassword:
			u.User, changed = url.UserPassword(u.User.Username(), redacted), true
		case u.Scheme == "http" || u.Scheme == "https":
			u.User, changed = url.User(redacted), true
		}
	}
	query := u.Query()
	for key := range query {
		if secretKey.MatchString(key) {
			query.Set(key, redacted)
			u.RawQuery, changed = query.Encode(), true
		}
	}
	if !changed {
		return redactText(text)
	}
	return redactText(u.String())
}

// redactWebhook keeps the host: the rest of such an address is often all that is needed to write there.
func redactWebhook(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return redacted
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + redacted}).String()
}

func redactCommand(command []string) []string {
	clean := slices.Clone(command)
	for i, word := range clean {
		if i > 0 && secretFlag.MatchString(clean[i-1]) {
			clean[i] = redacted
			continue
		}
		clean[i] = redactText(word)
	}
	return clean
}

func redactText(text string) string {
	text = secretUserinfo.ReplaceAllString(text, "${1}${2}:"+redacted+"@")
	text = secretToken.ReplaceAllString(text, "${1}"+redacted+"@")
	text = secretSetting.ReplaceAllString(text, "${1}"+redacted)
	text = secretArgument.ReplaceAllString(text, "${1}"+redacted)
	return secretBearer.ReplaceAllString(text, "${1} "+redacted)
}
