package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// sections are those that hold named tables.
var sections = map[string]reflect.Type{
	"repository": reflect.TypeFor[Repository](), "source": reflect.TypeFor[Source](),
	"task": reflect.TypeFor[Task](), "notify": reflect.TypeFor[Notify](),
}

// Parse reads a configuration; file is its name in messages. The problems are those of form: syntax, unknown and
// repeated keys, values of the wrong type. What could be read is returned whatever they are, so that it can be checked.
func Parse(file string, data []byte) (*Config, Problems) {
	c, problems, _ := parse(file, data)
	return c, problems.sorted()
}

// Load is [Parse] and [Config.Check] together. After a mistake in the syntax the rest of the file is unknown, and
// only what stands before it is judged, by its form. The configuration is fit to be run if the problems' Err is nil.
func Load(file string, data []byte, checks Checks) (*Config, Problems) {
	c, problems, whole := parse(file, data)
	if whole {
		problems = append(problems, c.Check(checks)...)
	}
	return c, problems.sorted()
}

func parse(file string, data []byte) (c *Config, problems Problems, whole bool) {
	doc := readDocument(file, data)
	c = &Config{file: file, places: map[string]position{}, broken: map[string]bool{}}
	c.Server.setDefaults()
	d := decoder{doc, c}
	d.table(doc.root, reflect.ValueOf(c).Elem(), nil)
	c.takeOnlyRepository()
	return c, doc.problems, !doc.cut
}

// takeOnlyRepository lets tasks leave out the repository where there is just one.
func (c *Config) takeOnlyRepository() {
	if len(c.Repositories) != 1 {
		return
	}
	for only := range c.Repositories {
		for name, t := range c.Tasks {
			if t.Repository == "" && !c.isBroken("task", name, "repository") {
				t.Repository = only
				c.Tasks[name] = t
			}
		}
	}
}

// decoder fills a Config from the tree of a document.
type decoder struct {
	doc *document
	c   *Config
}

func (d *decoder) note(path []string, at position) { d.c.places[joined(path)] = at }

// fail reports a value that cannot be used, and keeps what depends on it from being reported too.
func (d *decoder) fail(at position, path []string, what, remedy string) {
	d.c.broken[joined(path)] = true
	d.doc.add(at, path, what, remedy)
}

// table fills a struct.
func (d *decoder) table(n *node, into reflect.Value, path []string) {
	if v, ok := into.Addr().Interface().(interface{ setDefaults() }); ok {
		v.setDefaults()
	}
	for _, key := range n.keys {
		child, sub := n.children[key], sub(path, key)
		d.note(sub, child.at)
		field, example, ok := fieldOf(into, key)
		if !ok {
			d.unknown(n, into.Type(), sub)
			continue
		}
		d.value(child, field, sub, example)
	}
}

// fieldOf finds the field of a struct that a key stands for.
func fieldOf(v reflect.Value, key string) (field reflect.Value, example string, ok bool) {
	t := v.Type()
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && tagName(f) == key {
			return v.Field(i), f.Tag.Get("example"), true
		}
	}
	return field, "", false
}

func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
	if name == "-" {
		return ""
	}
	return name
}

// keysOf are the keys that a struct knows.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if name := tagName(t.Field(i)); name != "" {
			keys = append(keys, name)
		}
	}
	return keys
}

// unknown reports a key that means nothing, and guesses what was meant: a key alike, or one of another section.
func (d *decoder) unknown(table *node, t reflect.Type, path []string) {
	key := path[len(path)-1]
	n := table.children[key]
	known := keysOf(t)
	if near, ok := nearest(key, known); ok {
		if table.children[near] == nil { // or it would be called missing as well
			d.c.broken[joined(sub(path[:len(path)-1], near))] = true
		}
		d.fail(n.keyAt, path, "there is no such key", fmt.Sprintf("did you mean %s?", near))
		return
	}
	var home []string
	for _, section := range slices.Sorted(maps.Keys(sections)) {
		if sections[section] != t && slices.Contains(keysOf(sections[section]), key) {
			home = append(home, "["+section+".NAME]")
		}
	}
	if t != reflect.TypeFor[Server]() && slices.Contains(keysOf(reflect.TypeFor[Server]()), key) {
		home = append(home, "[server]")
	}
	if len(home) > 0 {
		d.fail(n.keyAt, path, "there is no such key here", "it belongs under "+strings.Join(home, " or "))
		return
	}
	d.fail(n.keyAt, path, "there is no such key", "remove it; there are "+strings.Join(known, ", "))
}

// value fills one field.
func (d *decoder) value(n *node, into reflect.Value, path []string, example string) {
	if text, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(n, text, path, example)
		return
	}
	switch {
	case into.Kind() == reflect.Struct && n.kind == kindTable:
		d.table(n, into, path)
	case into.Kind() == reflect.Map && n.kind == kindTable:
		d.named(n, into, path)
	case into.Kind() == reflect.String && n.kind == kindString:
		into.SetString(n.text)
	case into.Kind() == reflect.Bool && n.kind == kindBool:
		into.SetBool(n.text == "true")
	case into.Kind() == reflect.Int && n.kind == kindInteger:
		i, err := strconv.ParseInt(n.text, 0, 32)
		if err != nil {
			d.fail(n.at, path, n.text+" is out of all bounds", "write a smaller number")
			return
		}
		into.SetInt(i)
	case into.Type() == reflect.TypeFor[Names]() && n.kind == kindString:
		into.Set(reflect.ValueOf(Names{n.text}))
	case into.Kind() == reflect.Slice && n.kind == kindArray:
		d.list(n, into, path, example)
	default:
		d.wrongType(n, into, path, example)
	}
}

func (d *decoder) text(n *node, into encoding.TextUnmarshaler, path []string, example string) {
	if n.kind != kindString {
		d.wrongType(n, reflect.ValueOf(""), path, example)
		return
	}
	err := into.UnmarshalText([]byte(n.text))
	if bad := (*valueError)(nil); errors.As(err, &bad) {
		d.fail(n.at, path, bad.what, bad.remedy)
	}
}

// list fills a slice of strings.
func (d *decoder) list(n *node, into reflect.Value, path []string, example string) {
	all := make([]string, 0, len(n.items))
	for i, item := range n.items {
		d.note(sub(path, element(i)), item.at)
		if item.kind != kindString {
			d.fail(item.at, path, fmt.Sprintf("element %d of the list is %s, not a string", i+1, item.kind), writeExample(path, example))
			return
		}
		all = append(all, item.text)
	}
	into.Set(reflect.ValueOf(all).Convert(into.Type()))
}

// named fills a map: of sections by their names, or of strings.
func (d *decoder) named(n *node, into reflect.Value, path []string) {
	into.Set(reflect.MakeMap(into.Type()))
	element := into.Type().Elem()
	for _, name := range n.keys {
		child, sub := n.children[name], sub(path, name)
		d.note(sub, child.at)
		v := reflect.New(element).Elem()
		switch {
		case element.Kind() == reflect.Struct && child.kind != kindTable:
			d.fail(child.keyAt, sub, fmt.Sprintf("this is %s, but %s is a section of named tables", child.kind, path[0]),
				"put the settings under a line "+headerOf(path))
			continue
		case element.Kind() == reflect.Struct:
			d.table(child, v, sub)
			v.FieldByName("Name").SetString(name)
		default:
			d.value(child, v, sub, `"..."`)
		}
		into.SetMapIndex(reflect.ValueOf(name), v)
	}
}

func (d *decoder) wrongType(n *node, into reflect.Value, path []string, example string) {
	want := "a table"
	switch into.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Bool:
		want = "true or false"
	case reflect.Int:
		want = "a whole number"
	case reflect.Slice:
		want = "a list of strings"
	}
	remedy := writeExample(path, example)
	if example == "" { // a whole section
		remedy = "put the settings under a line " + headerOf(path)
	}
	d.fail(n.at, path, fmt.Sprintf("this is %s, not %s", n.kind, want), remedy)
}

func writeExample(path []string, example string) string {
	return fmt.Sprintf("write it as in %s = %s", dotted(path[len(path)-1:]), example)
}
