package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAReloadKnowsWhatHasChanged(t *testing.T) {
	for _, test := range []struct {
		name, old, new string // a replacement in shop
		want           string
	}{
		{"nothing", "", "", ""},
		{"layout", "[task.nightly]\n", "# a comment\n\n[task.nightly]\nretries=5\n", ""},
		{"schedule", "30 2 1 * *", "30 3 1 * *", "task nightly: changed: full\n"},
		{"retention", "keep-daily = 7, ", "keep-weekly = 7, ", "task nightly: changed: retention.keep-daily, retention.keep-weekly\n"},
		{"name", "[task.nightly]", "[task.daily]", "task daily: added\ntask nightly: removed\n"},
		{"source of both", `path = "/home"`, `path = "/home/all"`, "task everything: changed: source.home.path\ntask nightly: changed: source.home.path\n"},
		{"new source", "[source.home]", "[source.db-c]\npath = \"/var/c\"\n[source.home]",
			"task everything: changed: source.db-c.path, source.db-c.type\ntask nightly: changed: source.db-c.path, source.db-c.type\n"},
		{"repository", `key-file = "/etc/cairn/key"`, "", "task everything: changed: repository.main.key-file\ntask nightly: changed: repository.main.key-file\n"},
		{"notification", "/tell", "/shout", "task nightly: changed: notify.admin.command\n"},
		{"enabled", "enabled = false", "", "task everything: changed: enabled\n"},
		{"server", `mount = "/mnt/cairn"`, "listen = \":9\"\nconcurrency = 3", "server: changed: concurrency, listen, mount\n"},
	} {
		older, newer := load(t, shop), load(t, strings.Replace(shop, test.old, test.new, 1))
		changes := Compare(older, newer)
		if diff := cmp.Diff(test.want, changes.String()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
		if changes.Empty() != (test.want == "") {
			t.Errorf("%s: empty is %v", test.name, changes.Empty())
		}
	}
}

func TestChangesNeverTellValues(t *testing.T) {
	older := load(t, secrets)
	newer := load(t, strings.ReplaceAll(secrets, "hush", "hushed"))
	if changes := Compare(older, newer).String(); changes == "" || strings.Contains(changes, "hush") {
		t.Error(changes)
	}
}
