//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// target is one line of what is to be reached. The figure is cairn's divided by the other's; for a speed it is turned
// round, so that it says how many times as fast.
type target struct {
	tree, step string
	what       string // wall, cpu, size, speed, seconds, peak
	than       string // the other tool; "" for an absolute bound
	thanStep   string // the other's step, when it is not the same
	bound      float64
}

var targets = []target{
	{treeSmall, stepFirst, "wall", "restic", "", 0.40},
	{treeSmall, stepFirst, "cpu", "restic", "", 0.45},
	{treeSmall, stepSize, "size", "restic", "", 0.95},
	{treeSmall, stepUnchanged, "wall", "restic", "", 0.15},
	{treeSmall, stepUnchanged, "wall", "find", stepFind, 3},
	{treeSmall, stepChanged, "wall", "restic", "", 0.25},
	{treeSmall, stepRestore, "wall", "restic", "", 0.6},
	{treeSmall, stepRestore, "wall", "cp -a", "", 1.0},
	{treeSmall, stepVerify, "wall", "restic", "", 0.6},
	{treeSmall, stepMount, "seconds", "", "", 0.2},
	{treeSmall, stepList, "wall", "restic", "", 0.5},
	{treeSmall, stepListAgain, "wall", "restic", "", 0.1},
	{treeSmall, stepCopy, "wall", "restic", "", 0.35},
	{treeSmall, stepCopy, "wall", "disk", "", 2.5},
	{treeLarge, stepSize, "size", "restic", "", 0.95},
	{treeLarge, stepRestore, "wall", "restic", "", 0.6},
	{treeLarge, stepRestore, "wall", "cp -a", "", 1.0},
	{treeLarge, stepVerify, "wall", "restic", "", 0.6},
	{treeLarge, stepMount, "seconds", "", "", 0.2},
	{treeLarge, stepCat, "speed", "restic", "", 3},
	{treeLarge, stepCatAgain, "speed", "restic", "", 10},
	{treeLarge, stepRandom, "wall", "restic", "", 0.1},
}

// peakBound is what each step of cairn may hold in memory, bytes.
const peakBound = 256 << 20

type result struct {
	Date     string              `json:"date"`
	Machine  string              `json:"machine"`
	Versions map[string]string   `json:"versions"`
	Rounds   int                 `json:"rounds"`
	Trees    map[string]treeInfo `json:"trees"`
	Targets  []verdict           `json:"targets"`
	Figures  []figure            `json:"figures"`
}

type treeInfo struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

type verdict struct {
	Tree    string  `json:"tree"`
	Step    string  `json:"step"`
	What    string  `json:"what"`
	Target  string  `json:"target"`
	Reached float64 `json:"reached"`
	Shown   string  `json:"-"`
	Met     bool    `json:"met"`
}

type figure struct {
	Tree    string `json:"tree"`
	Step    string `json:"step"`
	Who     string `json:"who"`
	Median  cost   `json:"median"`
	Bytes   int64  `json:"bytes,omitempty"` // of a repository
	Samples []cost `json:"samples"`
}

// median takes each figure's own median over the rounds.
func median(samples []cost) cost {
	pick := func(of func(cost) float64) float64 {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = of(s)
		}
		slices.Sort(values)
		n := len(values)
		return (values[(n-1)/2] + values[n/2]) / 2
	}
	return cost{
		Wall: pick(func(c cost) float64 { return c.Wall }),
		CPU:  pick(func(c cost) float64 { return c.CPU }),
		Peak: int64(pick(func(c cost) float64 { return float64(c.Peak) })),
	}
}

// fill computes the tables from the samples.
func (r *result) fill(b *bench) {
	for k, samples := range b.samples {
		r.Figures = append(r.Figures, figure{Tree: k.tree, Step: k.step, Who: k.who, Median: median(samples), Samples: samples})
	}
	for k, samples := range b.sizes {
		r.Figures = append(r.Figures, figure{Tree: k.tree, Step: k.step, Who: k.who, Bytes: median(samples).Peak})
	}
	steps := []string{stepFirst, stepSize, stepFind, stepUnchanged, stepChanged, stepRestore, stepVerify, stepMount, stepList, stepListAgain, stepCopy,
		stepCat, stepCatAgain, stepRandom, stepServe, stepKeyFile, stepPassword}
	slices.SortFunc(r.Figures, func(a, b figure) int {
		if a.Tree != b.Tree {
			return -strings.Compare(a.Tree, b.Tree)
		}
		if a.Step != b.Step {
			return slices.Index(steps, a.Step) - slices.Index(steps, b.Step)
		}
		return strings.Compare(a.Who, b.Who)
	})
	for _, t := range targets {
		if v, ok := r.judge(t); ok {
			r.Targets = append(r.Targets, v)
		}
	}
	for _, tree := range []string{treeSmall, treeLarge} {
		if v, ok := r.judgePeak(tree); ok {
			r.Targets = append(r.Targets, v)
		}
	}
}

func (r *result) find(tree, step, who string) (figure, bool) {
	for _, f := range r.Figures {
		if f.Tree == tree && f.Step == step && f.Who == who {
			return f, true
		}
	}
	return figure{}, false
}

func (r *result) judge(t target) (verdict, bool) {
	v := verdict{Tree: t.tree, Step: t.step, What: t.what}
	ours, ok := r.find(t.tree, t.step, "cairn")
	if !ok {
		return v, false
	}
	if t.than == "" {
		v.Reached, v.Target = ours.Median.Wall, fmt.Sprintf("<= %.2g s", t.bound)
		v.Shown, v.Met = fmt.Sprintf("%.3f s", v.Reached), v.Reached <= t.bound
		return v, true
	}
	step := t.step
	if t.thanStep != "" {
		step = t.thanStep
	}
	theirs, ok := r.find(t.tree, step, t.than)
	if !ok {
		return v, false
	}
	relation := "<="
	switch t.what {
	case "wall":
		v.Reached = ours.Median.Wall / theirs.Median.Wall
	case "cpu":
		v.Reached = ours.Median.CPU / theirs.Median.CPU
	case "size":
		v.Reached = float64(ours.Bytes) / float64(theirs.Bytes)
	case "speed":
		v.Reached, relation = theirs.Median.Wall/ours.Median.Wall, ">="
	}
	v.Met = v.Reached <= t.bound
	if relation == ">=" {
		v.Met = v.Reached >= t.bound
	}
	v.Target = fmt.Sprintf("%s %.2f x %s", relation, t.bound, t.than)
	v.Shown = fmt.Sprintf("%.2f", v.Reached)
	return v, true
}

// judgePeak takes the largest of all samples of all steps, not a median: memory is a bound.
func (r *result) judgePeak(tree string) (verdict, bool) {
	v := verdict{Tree: tree, What: "peak memory", Target: fmt.Sprintf("<= %d MiB", peakBound>>20)}
	var most int64
	for _, f := range r.Figures {
		if f.Tree != tree || f.Who != "cairn" || f.Step == stepPassword {
			continue
		}
		for _, s := range f.Samples {
			if s.Peak > most && !servedByMount(f.Step) {
				most, v.Step = s.Peak, "largest of all steps: "+f.Step
			}
		}
	}
	v.Reached, v.Met = float64(most), most <= peakBound
	v.Shown = fmt.Sprintf("%d MiB", most>>20)
	return v, most > 0
}

// servedByMount says that a step's command was cp, cat or find, and that the program's own memory is in stepServe.
func servedByMount(step string) bool {
	return slices.Contains([]string{stepMount, stepList, stepListAgain, stepCopy, stepCat, stepCatAgain, stepRandom}, step)
}

func (r *result) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "# Benchmarks\n\nWritten by `make bench` on %s, median of %d rounds, warm cache.\n\nMachine: %s.\n\n", r.Date[:10], r.Rounds, r.Machine)
	for _, name := range []string{"cairn", "restic", "cp", "go"} {
		fmt.Fprintf(&s, "- %s\n", strings.TrimPrefix(name+": "+r.Versions[name], "cp: "))
	}
	s.WriteString("\ncairn encrypts and writes 10+2 parity, and unlocks with a key file; restic runs with its defaults and a password file, and has no parity.\n\n")
	for _, name := range []string{treeSmall, treeLarge} {
		if t, ok := r.Trees[name]; ok {
			fmt.Fprintf(&s, "- %s: %d files, %.2f GB\n", name, t.Files, float64(t.Bytes)/1e9)
		}
	}
	s.WriteString("\n## What was to be reached\n\n| tree | step | what | target | reached | |\n| --- | --- | --- | --- | ---: | --- |\n")
	for _, v := range r.Targets {
		met := "met"
		if !v.Met {
			met = "**missed**"
		}
		fmt.Fprintf(&s, "| %s | %s | %s | %s | %s | %s |\n", v.Tree, v.Step, v.What, v.Target, v.Shown, met)
	}
	s.WriteString("\n## Figures\n\nPeak is resident memory; for steps in a mount it is that of the command, and the serving process stands in its own line.\n\n" +
		"| tree | step | who | wall s | CPU s | peak MiB |\n| --- | --- | --- | ---: | ---: | ---: |\n")
	for _, f := range r.Figures {
		if f.Bytes > 0 {
			fmt.Fprintf(&s, "| %s | %s | %s | %.1f MiB | | |\n", f.Tree, f.Step, f.Who, float64(f.Bytes)/(1<<20))
			continue
		}
		wall := fmt.Sprintf("%.3f", f.Median.Wall)
		if f.Step == stepServe {
			wall = "" // how long it stood says nothing
		}
		fmt.Fprintf(&s, "| %s | %s | %s | %s | %.3f | %.0f |\n", f.Tree, f.Step, f.Who, wall, f.Median.CPU, float64(f.Median.Peak)/(1<<20))
	}
	return s.String()
}

// notesHead begins what people wrote below the figures; a new run keeps it.
const notesHead = "\n## Notes\n"

func (r *result) save(dir, text string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "BENCHMARKS.md")
	if before, err := os.ReadFile(path); err == nil {
		if _, notes, ok := strings.Cut(string(before), notesHead); ok {
			text += notesHead + notes
		}
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks.json"), append(data, '\n'), 0o644)
}
