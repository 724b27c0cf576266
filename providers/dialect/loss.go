package dialect

import (
	"slices"
	"strings"
)

// A Loss is something that a request or a reply says and the language that it was
// written in cannot.
type Loss struct {
	Path string // in the document that it came in, with * for any index: "tools.*.function.strict"
	Why  string // in a few words: "gemini has no such thing"
}

// Losses are all of a translation, each path once, in order.
type Losses []Loss

// Add notes a loss.
func (l *Losses) Add(path, why string) {
	if !slices.ContainsFunc(*l, func(o Loss) bool { return o.Path == path }) {
		*l = append(*l, Loss{path, why})
	}
}

// String is the paths, with ", " between them: what stands in Callgate-Lossy.
func (l Losses) String() string {
	paths := make([]string, len(l))
	for i, loss := range l {
		paths[i] = loss.Path
	}
	slices.Sort(paths)
	return strings.Join(paths, ", ")
}
