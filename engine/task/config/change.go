package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Changes are what a reload does: what one configuration has that another one has not.
type Changes struct {
	Added, Removed []string // tasks, sorted
	Changed        []TaskChange
	Server         []string // keys of [server], sorted
}

// TaskChange is a task that is in both configurations, but not the same.
type TaskChange struct {
	Name string
	// Keys are what differs, sorted: of the task, as "full" or "retention.keep-daily", and of what it uses, as
	// "source.home.exclude". Values are not told: they may be secret.
	Keys []string
}

// Empty reports whether nothing differs.
func (c Changes) Empty() bool {
	return len(c.Added)+len(c.Removed)+len(c.Changed)+len(c.Server) == 0
}

// String is one line for each change.
func (c Changes) String() string {
	var b strings.Builder
	for _, name := range c.Added {
		fmt.Fprintf(&b, "task %s: added\n", name)
	}
	for _, name := range c.Removed {
		fmt.Fprintf(&b, "task %s: removed\n", name)
	}
	for _, t := range c.Changed {
		fmt.Fprintf(&b, "task %s: changed: %s\n", t.Name, strings.Join(t.Keys, ", "))
	}
	if len(c.Server) > 0 {
		fmt.Fprintf(&b, "server: changed: %s\n", strings.Join(c.Server, ", "))
	}
	return b.String()
}

// Compare says what is different in the newer configuration. A task has changed also when a source, the repository or
// a notification that it uses has. How the file is written makes no difference: only what it means.
func Compare(older, newer *Config) Changes {
	var c Changes
	for _, name := range newer.TaskNames() {
		if _, ok := older.Tasks[name]; !ok {
			c.Added = append(c.Added, name)
			continue
		}
		if keys := differing(settingsOf(older, name), settingsOf(newer, name)); len(keys) > 0 {
			c.Changed = append(c.Changed, TaskChange{name, keys})
		}
	}
	for _, name := range older.TaskNames() {
		if _, ok := newer.Tasks[name]; !ok {
			c.Removed = append(c.Removed, name)
		}
	}
	before, after := map[string]string{}, map[string]string{}
	flatten(reflect.ValueOf(older.Server), nil, before)
	flatten(reflect.ValueOf(newer.Server), nil, after)
	c.Server = differing(before, after)
	return c
}

// settingsOf is everything that a task depends on, by its key.
func settingsOf(c *Config, name string) map[string]string {
	t, all := c.Tasks[name], map[string]string{}
	flatten(reflect.ValueOf(t), nil, all)
	for _, source := range c.SourcesOf(t) {
		flatten(reflect.ValueOf(c.Sources[source]), []string{"source", source}, all)
	}
	for _, who := range c.NotifyOf(t) {
		flatten(reflect.ValueOf(c.Notify[who]), []string{"notify", who}, all)
	}
	if r, ok := c.Repositories[t.Repository]; ok {
		flatten(reflect.ValueOf(r), []string{"repository", t.Repository}, all)
	}
	return all
}

// flatten lists the settings of a struct that are not zero.
func flatten(v reflect.Value, path []string, into map[string]string) {
	for i := range v.NumField() {
		name := tagName(v.Type().Field(i))
		switch field := v.Field(i); {
		case name == "" || field.IsZero():
		case field.Kind() == reflect.Struct:
			flatten(field, sub(path, name), into)
		case field.Kind() == reflect.Map || field.Kind() == reflect.Slice:
			if field.Len() > 0 {
				into[dotted(sub(path, name))] = fmt.Sprintf("%q", field.Interface())
			}
		default:
			into[dotted(sub(path, name))] = fmt.Sprint(field.Interface())
		}
	}
}

// differing are the keys whose values are not the same.
func differing(a, b map[string]string) []string {
	keys := map[string]bool{}
	for key, value := range a {
		if other, ok := b[key]; !ok || other != value {
			keys[key] = true
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			keys[key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}
