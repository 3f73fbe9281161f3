package config

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"
)

// sameMeaning compares configurations wherever their settings stand in the file.
var sameMeaning = []cmp.Option{cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()}

func load(t *testing.T, text string) *Config {
	t.Helper()
	c, problems := Load("cairn.toml", []byte(text), Checks{})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

const shop = `
[server]
mount = "/mnt/cairn"
[repository.main]
path = "/srv/cairn"
key-file = "/etc/cairn/key"
[source.home]
path = "/home"
[source.db-a]
path = "/var/a"
[source.db-b]
path = "/var/b"
[task.nightly]
sources = ["home", "db-*"]
except = "db-b"
full = "30 2 1 * *"
incremental = "30 2 * * *"
retention = { keep-daily = 7, min-age = "30d" }
read-limit = "50 MiB/s"
[task.everything]
sources = "all"
full = "0 4 * * 0"
enabled = false
notify = []
[notify.admin]
command = ["/usr/local/bin/tell"]
`

func TestTheStarterFileChecksCleanAsItIs(t *testing.T) {
	_, problems := Load("cairn.toml", []byte(Starter()), machine)
	if len(problems) > 0 {
		t.Error(problems)
	}
}

func TestTheStarterFileShowsEveryKey(t *testing.T) {
	for _, part := range []any{Server{}, Repository{}, Source{}, Task{}, Retention{}, Hook{}, Notify{}, Email{}} {
		for _, key := range keysOf(reflect.TypeOf(part)) {
			if !regexp.MustCompile(`(?m)(^|[^a-z-])` + key + `( = |[,.\]])`).MatchString(Starter()) {
				t.Errorf("the starter file does not show %s of %T", key, part)
			}
		}
	}
}

func TestExamplesOfStarterAndMessagesAreValid(t *testing.T) {
	whole := regexp.MustCompile(`(?m)^# ((\[|\w[\w-]* = ).*)$`).ReplaceAllString(Starter(), "$1")
	whole = strings.Replace(whole, "password-file = \"/etc/cairn/password\" ", "#", 1) // it excludes the key file
	whole = strings.Replace(whole, "paths = [", "# paths = [", 1)                      // it excludes path
	_, problems := Load("cairn.toml", []byte(whole), machine)
	for _, p := range problems {
		if !strings.Contains(p.What, `"scratch"`) {
			t.Error(p)
		}
	}
	for _, part := range []any{&Server{}, &Repository{}, &Source{}, &Task{}, &Retention{}, &Hook{}, &Notify{}, &Email{}} {
		v := reflect.TypeOf(part).Elem()
		for i := range v.NumField() {
			if name := tagName(v.Field(i)); name != "" {
				doc := readDocument("example", []byte(name+" = "+v.Field(i).Tag.Get("example")))
				d := decoder{doc, &Config{places: map[string]position{}, broken: map[string]bool{}}}
				d.table(doc.root, reflect.New(v).Elem(), nil)
				if len(doc.problems) > 0 {
					t.Error(doc.problems)
				}
			}
		}
	}
}

func TestDefaultsHoldWhereTheFileSaysNothing(t *testing.T) {
	c := load(t, shop)
	want := Server{StateDir: "/var/lib/cairn", Mount: "/mnt/cairn", LogFormat: "text", LogLevel: "info", Grace: Duration(30 * time.Minute)}
	if diff := cmp.Diff(want, c.Server); diff != "" {
		t.Error(diff)
	}
	nightly := c.Tasks["nightly"]
	if !nightly.Enabled || nightly.Retries != 5 || nightly.Repository != "main" || c.Tasks["everything"].Enabled {
		t.Errorf("defaults of a task: %+v", nightly)
	}
	if got := load(t, "").Server.StateDir; got != "/var/lib/cairn" {
		t.Errorf("without a section the state directory is %q", got)
	}
}

func TestATaskCoversTheSourcesItNamesAndNotThoseItExcepts(t *testing.T) {
	c := load(t, shop)
	if diff := cmp.Diff([]string{"db-a", "home"}, c.SourcesOf(c.Tasks["nightly"])); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"db-a", "db-b", "home"}, c.SourcesOf(c.Tasks["everything"])); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"admin"}, c.NotifyOf(c.Tasks["nightly"])); diff != "" {
		t.Error(diff)
	}
	if who := c.NotifyOf(c.Tasks["everything"]); len(who) > 0 {
		t.Errorf("notify = [] tells %v", who)
	}
	if !c.Tasks["everything"].Template() || !c.Tasks["nightly"].Template() || (Task{Sources: Names{"home"}}).Template() {
		t.Error("templates are those with all or a pattern")
	}
}

func TestWhatShowsLaterStillHasItsPlace(t *testing.T) {
	c := load(t, shop)
	for _, test := range []struct {
		key  []string
		want string
	}{
		{[]string{"server", "mount"}, "cairn.toml:3:9: server.mount: gone; look"},
		{[]string{"server", "listen"}, "cairn.toml:2:2: server.listen: gone; look"},
		{[]string{"task", "nightly", "retention", "keep-daily"}, "cairn.toml:18:28: task.nightly.retention.keep-daily: gone; look"},
		{[]string{"nothing"}, "cairn.toml: nothing: gone; look"},
	} {
		if got := c.At("gone", "look", test.key...).Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestOneMistakeDoesNotHideAnother(t *testing.T) {
	_, problems := Load("cairn.toml", []byte("[server]\nx = 1\ny = 2\n[task.a]\nz = 3\nretries = -1\n"), Checks{})
	lines := map[int]bool{}
	for _, p := range problems {
		lines[p.Line] = true
	}
	for _, line := range []int{2, 3, 4, 5, 6} {
		if !lines[line] {
			t.Errorf("nothing is said about line %d:\n%v", line, problems)
		}
	}
}

func TestOverlapIsFoundWhateverTheOrderAndOnlyThen(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"/a", "/a/b", true}, {"/a/b/c", "/a", true}, {"/a", "/a/", true}, {"/", "/a", true}, {"/a/../b", "/b/c", true},
		{"/a", "/ab", false}, {"/a/b", "/a/c", false}, {"/a..", "/a", false},
	} {
		text := fmt.Sprintf(`
repository.r.path = "/r"
source.one = { path = %q }
source.two = { paths = ["/elsewhere", %q] }
task.t = { sources = "all", full = "0 3 * * *" }
task.u = { sources = "all", except = "one", full = "0 3 * * *" }
`, test.a, test.b)
		_, problems := Load("cairn.toml", []byte(text), Checks{})
		if found := strings.Contains(problems.Error(), "overlap"); found != test.want || len(problems) > 1 {
			t.Errorf("%s and %s: %v", test.a, test.b, problems)
		}
	}
}

func TestAThousandSourcesInAHundredTasksAreChecked(t *testing.T) {
	var b strings.Builder
	b.WriteString("[repository.r]\npath = \"/r\"\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "[source.s%d]\npath = \"/data/%d\"\n", i, i)
	}
	for i := range 100 {
		fmt.Fprintf(&b, "[task.t%d]\nsources = \"all\"\nfull = \"0 3 * * *\"\n", i)
	}
	if _, problems := Load("cairn.toml", []byte(b.String()), machine); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestWarningsAloneAreNoError(t *testing.T) {
	_, problems := Load("cairn.toml", nil, Checks{})
	if problems.Err() != nil || len(problems.Warnings()) != 1 {
		t.Errorf("an empty file: %v", problems)
	}
	_, problems = Load("cairn.toml", []byte("x = 1"), Checks{})
	if problems.Err() == nil || strings.Contains(problems.Err().Error(), "warning") {
		t.Errorf("an unknown key: %v", problems.Err())
	}
}

func TestAFileThatIsFarTooLargeIsNotRead(t *testing.T) {
	_, problems := Load("cairn.toml", make([]byte, maxFile+1), Checks{})
	if problems.Err() == nil {
		t.Error("no error")
	}
}

func TestDeepNestingIsAnError(t *testing.T) {
	for _, open := range []string{"[", "{a=", "{a=["} {
		if _, problems := Load("cairn.toml", []byte("x = "+strings.Repeat(open, 1_000_000)), Checks{}); problems.Err() == nil {
			t.Errorf("no error after a million of %s", open)
		}
	}
}

func TestAnyConfigurationSurvivesWritingAndReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawConfig(t)
		text, err := toml.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, problems := Parse("cairn.toml", text)
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, text)
		}
		if diff := cmp.Diff(want, got, sameMeaning...); diff != "" {
			t.Fatalf("(-written +read)\n%s\n%s", diff, text)
		}
		if changes := Compare(want, got); !changes.Empty() {
			t.Fatalf("the same configuration differs:\n%s", changes)
		}
	})
}

func drawConfig(t *rapid.T) *Config {
	text := rapid.String()
	name := rapid.StringMatching(`[a-zA-Z0-9äß][a-zäß0-9._-]{0,8}`)
	list := rapid.SliceOfN(text, 1, 3)
	names := rapid.Custom(func(t *rapid.T) Names { return Names(list.Draw(t, "names")) })
	duration := rapid.Custom(func(t *rapid.T) Duration {
		return Duration(rapid.Int64Range(1, int64(maxDuration/time.Second)).Draw(t, "seconds")) * Duration(time.Second)
	})
	rate := rapid.Custom(func(t *rapid.T) Rate { return Rate(rapid.Int64Range(minRate, 1<<50).Draw(t, "rate")) })
	number := rapid.IntRange(-1000, 1000)
	hook := rapid.Custom(func(t *rapid.T) Hook { return Hook{list.Draw(t, "command"), duration.Draw(t, "timeout")} })
	c := &Config{
		Server: Server{text.Draw(t, "state"), text.Draw(t, "mount"), rapid.Bool().Draw(t, "other"), text.Draw(t, "listen"),
			text.Draw(t, "format"), text.Draw(t, "level"), number.Draw(t, "runs"), text.Draw(t, "node"), duration.Draw(t, "grace")},
		Repositories: map[string]Repository{}, Sources: map[string]Source{}, Tasks: map[string]Task{}, Notify: map[string]Notify{},
	}
	for _, n := range rapid.SliceOfN(name, 0, 3).Draw(t, "repositories") {
		c.Repositories[n] = Repository{n, text.Draw(t, "path"), text.Draw(t, "url"), text.Draw(t, "key"), text.Draw(t, "password")}
	}
	for _, n := range rapid.SliceOfN(name, 0, 3).Draw(t, "sources") {
		c.Sources[n] = Source{n, text.Draw(t, "type"), text.Draw(t, "path"), list.Draw(t, "paths"), text.Draw(t, "url"), list.Draw(t, "excludes"),
			list.Draw(t, "present"), rapid.Bool().Draw(t, "caches"), rapid.Bool().Draw(t, "one"), text.Draw(t, "freeze")}
	}
	for _, n := range rapid.SliceOfN(name, 0, 3).Draw(t, "tasks") {
		c.Tasks[n] = Task{Name: n, Enabled: rapid.Bool().Draw(t, "enabled"), Sources: names.Draw(t, "sources"), Except: names.Draw(t, "except"),
			Repository: rapid.StringN(1, 9, -1).Draw(t, "repository"), Full: text.Draw(t, "full"), Incremental: text.Draw(t, "incremental"),
			Timezone: text.Draw(t, "zone"), Prune: text.Draw(t, "prune"), Retries: number.Draw(t, "retries"), ReadLimit: rate.Draw(t, "read"),
			WriteLimit: rate.Draw(t, "write"), Tags: list.Draw(t, "tags"), Notify: names.Draw(t, "notify"),
			Retention: Retention{number.Draw(t, "last"), number.Draw(t, "hourly"), number.Draw(t, "daily"), number.Draw(t, "weekly"),
				number.Draw(t, "monthly"), number.Draw(t, "yearly"), duration.Draw(t, "age"), list.Draw(t, "keep")},
			Pre: hook.Draw(t, "pre"), Post: hook.Draw(t, "post")}
	}
	for _, n := range rapid.SliceOfN(name, 0, 3).Draw(t, "notifications") {
		c.Notify[n] = Notify{n, names.Draw(t, "on"), text.Draw(t, "webhook"), rapid.MapOfN(text, text, 1, 3).Draw(t, "headers"),
			list.Draw(t, "command"), duration.Draw(t, "timeout"),
			Email{names.Draw(t, "to"), text.Draw(t, "from"), text.Draw(t, "smtp"), text.Draw(t, "user"), text.Draw(t, "password")}}
	}
	return c
}

func FuzzLoadNeverPanics(f *testing.F) {
	f.Add([]byte(Starter()))
	f.Add([]byte(shop))
	f.Add([]byte("\ufeff[task]\r\na.b = {c = [[{}], 0x1f, 1979-05-27T07:32:00Z]}\n[[x.y]]\n[task.a.b]"))
	f.Add([]byte("a = \"\"\"\n\\u00e9\"\"\"\n'' = '''x'''\n[\"\"]\n\"\".\"\\u0001\" = nan"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, problems := Load("cairn.toml", data, machine)
		lines := 1 + strings.Count(string(data), "\n")
		for _, p := range problems {
			if p.Line > lines || (p.Line > 0 && p.Column < 1) {
				t.Fatalf("of %d lines: %s", lines, p.Error())
			}
		}
		if problems.Err() != nil {
			return
		}
		plain := bytes.TrimPrefix(data, []byte("\ufeff")) // some editors begin a file with it
		if err := toml.Unmarshal(plain, new(map[string]any)); err != nil {
			t.Fatalf("another reader finds: %v", err)
		}
		text, err := c.Redacted()
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := Load("redacted.toml", text, machine); problems.Err() != nil {
			t.Fatalf("%v\n%s", problems, text)
		}
	})
}

func ExampleLoad() {
	_, problems := Load("cairn.toml", []byte("[task.nightly]\nsorces = \"all\"\n"), Checks{})
	fmt.Println(problems[0].Place())
	fmt.Println(problems[1].Message())
	// Output:
	// cairn.toml:1:7
	// cairn.toml:1:7: task.nightly: the task has no schedule
}
