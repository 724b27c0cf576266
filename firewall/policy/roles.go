package policy

import "slices"

// maxRoleDepth is the longest chain of links in a policy. Casbin follows ten and
// then says nothing; the registry and group:everyone add one to these.
const maxRoleDepth = 8

// links lead from a name to the names that it is a member of. They have no
// cycles, and chains of at most maxRoleDepth.
type links map[string][]string

// closure is name and all that it is a member of, at any remove.
func (l links) closure(name string) []string {
	all := []string{name}
	for i := 0; i < len(all); i++ {
		for _, next := range l[all[i]] {
			if !slices.Contains(all, next) {
				all = append(all, next)
			}
		}
	}
	return all
}

// check finds what would break the promises of links: the names of a cycle, or
// of a chain that is too long, in order. Both are empty where all is well.
func (l links) check() (cycle, chain []string) {
	w := walk{links: l, height: make(map[string]int, len(l))}
	for _, name := range l.names() {
		if w.visit(name); w.cycle != nil {
			return w.cycle, nil
		}
		if w.height[name] > maxRoleDepth {
			return nil, w.longest(name)
		}
	}
	return nil, nil
}

// names are those that links lead from, in order, so that a policy's problems are
// always told in the same words.
func (l links) names() []string {
	names := make([]string, 0, len(l))
	for name := range l {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// walk visits each name once, depth first.
type walk struct {
	links  links
	height map[string]int // longest chain from here; of those visited
	path   []string       // from the first name to where we are
	cycle  []string
}

func (w *walk) visit(name string) {
	if i := slices.Index(w.path, name); i >= 0 {
		w.cycle = append(slices.Clone(w.path[i:]), name)
		return
	}
	if _, ok := w.height[name]; ok || len(w.path) > 2*maxRoleDepth { // deep enough to be refused
		return
	}
	w.path = append(w.path, name)
	height := 0
	for _, next := range w.links[name] {
		w.visit(next)
		if w.cycle != nil {
			return
		}
		height = max(height, w.height[next]+1)
	}
	w.path = w.path[:len(w.path)-1]
	w.height[name] = height
}

// longest is the longest chain from name.
func (w *walk) longest(name string) []string {
	chain := []string{name}
	for w.height[name] > 0 {
		for _, next := range w.links[name] {
			if w.height[next] == w.height[name]-1 {
				name = next
				break
			}
		}
		chain = append(chain, name)
	}
	return chain
}
