package engine

import (
	"cmp"
	"slices"

	"github.com/cairn-backup/cairn/chunkstore"
	"github.com/cairn-backup/cairn/index"
)

// PackFate is what a plan has in mind for a pack.
type PackFate string

// The fates of packs.
const (
	Keep    PackFate = "keep"
	Delete  PackFate = "delete"
	Rewrite PackFate = "rewrite" // what is in use goes to a new pack, then it is deleted
)

// PackDecision is what becomes of one pack, and why.
type PackDecision struct {
	Pack   string   `json:"pack"`
	Kind   string   `json:"kind,omitempty"`
	Size   int64    `json:"size"`   // of the object, bytes
	Unused int64    `json:"unused"` // about how much of the size is taken by what nobody needs
	Fate   PackFate `json:"fate"`
	Reason string   `json:"reason"`

	id chunkstore.PackID
}

// PrunePlan is what a prune is going to do.
type PrunePlan struct {
	Points  int            `json:"points"`
	Chunks  int            `json:"chunks"`  // in use
	Missing int            `json:"missing"` // of them, that are lost
	Size    int64          `json:"size"`    // of all packs, bytes
	Unused  int64          `json:"unused"`  // of it, about, not needed by anybody
	Delete  int64          `json:"delete"`  // bytes of packs to delete
	Repack  int64          `json:"repack"`  // about how many bytes to write again
	Left    int64          `json:"left"`    // unused bytes that stay
	Packs   []PackDecision `json:"packs"`   // those with anything unused
}

// planPrune decides. Packs that nobody needs are deleted. Of the others those with the largest unused part are
// rewritten, as long as more is unused than is tolerated and the bound for writing allows.
func planPrune(s *index.Survey, o PruneOptions) PrunePlan {
	plan := PrunePlan{Points: s.Points, Chunks: s.Chunks, Missing: s.Missing}
	var partly []int
	for i := range s.Packs {
		u := &s.Packs[i]
		plan.Size += u.Size
		if u.Live > 0 && u.Dead == 0 {
			continue
		}
		d := PackDecision{Pack: u.ID.String(), Size: u.Size, Unused: u.Size, Fate: Delete, Reason: "nothing in it is in use", id: u.ID}
		if u.Listed {
			d.Kind = u.Kind.String()
		} else {
			d.Reason = "an interrupted backup left it, nothing refers to it"
		}
		switch {
		case u.Live > 0:
			d.Unused = int64(float64(u.Size) * float64(u.Dead) / float64(u.Live+u.Dead))
			d.Fate, d.Reason = Keep, "partly in use"
			if !u.Resting && u.Listed {
				partly = append(partly, len(plan.Packs))
			}
		case u.Resting:
			d.Fate, d.Reason = Keep, "condemned already; it goes as soon as no backup can rely on it"
		case u.Young:
			d.Fate, d.Reason = Keep, "a backup that is under way may have written it"
		default:
			plan.Delete += u.Size
		}
		plan.Unused += d.Unused
		plan.Packs = append(plan.Packs, d)
	}
	plan.rewrite(partly, o)
	for _, d := range plan.Packs {
		if d.Fate == Keep {
			plan.Left += d.Unused
		}
	}
	return plan
}

// rewrite chooses among packs that are partly in use, the worst first.
func (plan *PrunePlan) rewrite(partly []int, o PruneOptions) {
	waste := func(i int) float64 { return float64(plan.Packs[i].Unused) / float64(max(1, plan.Packs[i].Size)) }
	slices.SortStableFunc(partly, func(a, b int) int { return cmp.Compare(waste(b), waste(a)) })
	unused := int64(0)
	for _, i := range partly {
		unused += plan.Packs[i].Unused
	}
	size := plan.Size - plan.Delete
	for _, i := range partly {
		d := &plan.Packs[i]
		if float64(unused) <= o.MaxUnused*float64(size) {
			d.Reason = "partly in use; less is unused than is tolerated"
			continue
		}
		keeps := d.Size - d.Unused
		if o.MaxRepack > 0 && plan.Repack+keeps > o.MaxRepack {
			d.Reason = "partly in use; rewriting it would be more than was allowed"
			continue
		}
		d.Fate, d.Reason = Rewrite, "much of it is not in use"
		plan.Repack += keeps
		unused -= d.Unused
		size -= d.Unused
	}
}
