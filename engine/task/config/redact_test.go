package config

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// secrets is a configuration in which everything that nobody else may know says so.
const secrets = `
[repository.main]
url = "s3://KNOWN:hush-1@bucket/cairn?region=eu&secret_access_key=hush-2"
password-file = "/etc/cairn/password"
[source.db]
path = "/var/db" # hush-3
[task.nightly]
sources = "db"
full = "0 3 * * *"
[task.nightly.pre]
command = ["/bin/sh", "-c", "PGPASSWORD=hush-4 pg_dump -h db; curl -H 'Authorization: Bearer hush-5' https://u:hush-6@x.org/?token=hush-7&a=b; dump --password hush-8 --token='hush-9 hush-10'"]
[task.nightly.post]
command = ["/usr/bin/tell", "--api-key", "hush-11", "--password-file", "/etc/known", "--secret=hush-12", "https://hush-13@x.org"]
[notify.chat]
webhook = "https://chat.example.org/hooks/hush-14?x=hush-15"
headers = { Authorization = "Bearer hush-16", X-Key = "hush-17" }
[notify.pager]
command = ["/usr/bin/page", "-token", "hush-18"]
[notify.mail.email]
to = "admin@example.org"
from = "cairn@example.org"
smtp = "mail.example.org:587"
user = "cairn"
password-file = "/etc/cairn/smtp"
`

func TestTheCopyInARestorePointHasNoSecrets(t *testing.T) {
	text, err := load(t, secrets).Redacted()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hush") {
		t.Errorf("a secret is left:\n%s", text)
	}
	const golden = "testdata/redacted.toml"
	if *update {
		if err := os.WriteFile(golden, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestACopiedConfigurationLoadsWithItsTasksDisabled(t *testing.T) {
	for _, original := range []string{secrets, shop, Starter()} {
		c := load(t, original)
		text, err := c.Redacted()
		if err != nil {
			t.Fatal(err)
		}
		again := load(t, string(text))
		if len(again.Tasks) != len(c.Tasks) {
			t.Errorf("%d tasks of %d", len(again.Tasks), len(c.Tasks))
		}
		for name, task := range again.Tasks {
			if task.Enabled {
				t.Errorf("task %s is enabled", name)
			}
		}
		twice, err := again.Redacted()
		if err != nil || string(twice) != string(text) {
			t.Errorf("redacting twice changes it: %v\n%s", err, cmp.Diff(string(text), string(twice)))
		}
	}
}

func TestRedactingLeavesTheConfigurationAlone(t *testing.T) {
	c, untouched := load(t, secrets), load(t, secrets)
	if _, err := c.Redacted(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(untouched, c, sameMeaning...); diff != "" {
		t.Error(diff)
	}
}

func TestThePartOfATaskIsAConfigurationOfItsOwn(t *testing.T) {
	part := load(t, shop).ForTask("nightly")
	if len(part.Tasks) != 1 || len(part.Sources) != 3 || len(part.Repositories) != 1 || len(part.Notify) != 1 {
		t.Errorf("the part has %d tasks, %d sources, %d repositories, %d notifications",
			len(part.Tasks), len(part.Sources), len(part.Repositories), len(part.Notify))
	}
	text, err := part.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	load(t, string(text))
	if none := load(t, shop).ForTask("nosuch"); len(none.Tasks)+len(none.Sources) > 0 {
		t.Error("the part of a task that is not there has something in it")
	}
}
