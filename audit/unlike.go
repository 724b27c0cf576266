package audit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Deed is a tool call of a run, as the index knows it.
type Deed struct {
	Call  string
	Run   string
	Agent string
	Tool  string // SERVER/TOOL
	At    int64  // in microseconds since 1970
}

// An Unlike is a run that is not like the other runs of its agent.
type Unlike struct {
	Run   string   `json:"run"`
	Agent string   `json:"agent"`
	At    int64    `json:"at_us"` // of its first tool call
	Calls int      `json:"calls"` // of tools
	Score float64  `json:"score"` // how surprising it is, in bits; 0 is like all others
	Why   []Reason `json:"why"`   // the most surprising first
}

// A Reason is something that few runs do.
type Reason struct {
	What string `json:"what"`
	Call string `json:"call"` // the first that did it
}

const (
	minPeers   = 5 // runs of an agent that tell what is usual
	maxReasons = 8
)

// FindUnlike ranks the runs of each agent by how unlike its other runs they are: tools,
// and one tool after another, that few of them use, and how many calls they make. deeds
// are in order. Agents with fewer than 5 runs are passed over.
func FindUnlike(deeds []Deed) []Unlike {
	type run struct {
		Unlike
		features map[string]string // the first call, by what it does
		last     string
	}
	agents := make(map[string]map[string]*run)
	for i := range deeds {
		d := &deeds[i]
		runs := agents[d.Agent]
		if runs == nil {
			runs = make(map[string]*run)
			agents[d.Agent] = runs
		}
		r := runs[d.Run]
		if r == nil {
			r = &run{Unlike: Unlike{Run: d.Run, Agent: d.Agent, At: d.At}, features: make(map[string]string)}
			runs[d.Run] = r
		}
		r.Calls++
		note := func(what string) {
			if r.features[what] == "" {
				r.features[what] = d.Call
			}
		}
		note("calls " + d.Tool)
		if r.last != "" {
			note("calls " + d.Tool + " after " + r.last)
		}
		r.last = d.Tool
	}
	list := []Unlike{}
	for _, runs := range agents {
		if len(runs) < minPeers {
			continue
		}
		often := make(map[string]int)
		var volumes []int
		for _, r := range runs {
			volumes = append(volumes, r.Calls)
			for f := range r.features {
				often[f]++
			}
		}
		slices.Sort(volumes)
		usual := max(volumes[len(volumes)/2], 1)
		for _, r := range runs {
			type found struct {
				Reason
				bits float64
			}
			var all []found
			for f, call := range r.features {
				if share := float64(often[f]) / float64(len(runs)); share <= 0.25 {
					all = append(all, found{Reason{fmt.Sprintf("%s: %d of %d runs do", f, often[f], len(runs)), call}, -math.Log2(share)})
				}
			}
			if times := float64(r.Calls) / float64(usual); times >= 3 {
				all = append(all, found{Reason{What: fmt.Sprintf("makes %d calls of tools, where %d are usual", r.Calls, usual)}, 2 * math.Log2(times)})
			}
			if len(all) == 0 {
				continue
			}
			slices.SortFunc(all, func(a, b found) int { return cmp.Or(cmp.Compare(b.bits, a.bits), strings.Compare(a.What, b.What)) })
			for i, f := range all {
				r.Score += f.bits
				if i < maxReasons {
					r.Why = append(r.Why, f.Reason)
				}
			}
			list = append(list, r.Unlike)
		}
	}
	slices.SortFunc(list, func(a, b Unlike) int { return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.Run, b.Run)) })
	return list
}
