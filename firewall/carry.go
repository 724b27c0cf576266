package firewall

import (
	"hash/maphash"
	"slices"
	"strings"
	"unsafe"

	"callgate/audit"

	"github.com/tidwall/gjson"
)

// tell notes what a tool answered, in each form in which a client may pass it on: the texts,
// one by one and joined, the document that a text is, and what is structured.
func (j *joins) tell(id string, result []byte) {
	j.mu.Lock()
	known := len(j.asked) > 0
	j.mu.Unlock()
	if !known { // no model is told through the gate
		return
	}
	doc := gjson.Parse(unsafe.String(unsafe.SliceData(result), len(result)))
	var texts []string
	other := false
	doc.Get("content").ForEach(func(_, block gjson.Result) bool {
		if text := block.Get("text"); text.Type == gjson.String && len(texts) < maxPieces {
			texts = append(texts, text.Str)
		} else {
			other = true
		}
		return true
	})
	said := said{seed: j.seed}
	for _, t := range texts {
		said.text(t)
	}
	if len(texts) > 1 {
		for _, sign := range [...]string{"\n", "", "\n\n"} {
			said.text(strings.Join(texts, sign))
		}
	}
	if s := doc.Get("structuredContent"); s.Exists() && len(s.Raw) <= maxMeant {
		said.doc(s)
	}
	if len(result) <= maxMeant {
		said.doc(doc)
		said.doc(doc.Get("content"))
	}
	whole := strings.TrimSpace(strings.Join(texts, "\n"))
	opening := strings.Clone(whole[:min(len(whole), maxOpening)])
	var cut []uint32
	if len(whole) > pieceSize {
		cut = pieces(j.seed, whole)
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range slices.Backward(j.done) {
		if e.call != id {
			continue
		}
		e.told = len(texts) > 0 || !other
		for _, f := range said.forms {
			if !slices.Contains(e.forms, f) {
				e.forms = append(e.forms, f)
				j.byContent[f] = append(j.byContent[f], e)
			}
		}
		e.opening, e.pieces, e.size = opening, cut, len(whole)
		return
	}
}

const maxOpening = 256 // bytes of a result that are kept as they are

// said is the forms of something.
type said struct {
	seed  maphash.Seed
	forms []uint64
}

func (s *said) text(t string) {
	t = strings.TrimSpace(t)
	s.forms = append(s.forms, maphash.String(s.seed, t))
	if isDocument(t) {
		s.doc(gjson.Parse(t))
	}
}

func (s *said) doc(v gjson.Result) {
	if v.Exists() {
		s.forms = append(s.forms, mix(8, meaning{seed: s.seed, nulls: true}.of(v, 0)))
	}
}

// A brought is a result that a model call brings to its model.
type brought struct {
	id, name string
	args     string // hash of what it was called with, "" where that is not told
	texts    []string
	bare     bool // only its id is known
}

// results are what call brings since its model spoke last.
func results(call *Call, d *digest) []brought {
	h := call.History
	if h == nil {
		var out []brought
		for _, id := range call.Hints.Results {
			out = append(out, brought{id: id, bare: true})
		}
		return out
	}
	var out []brought
	for i := d.fresh; i < len(h.Said) && len(out) < maxBrought; i++ {
		s := &h.Said[i]
		if s.Kind != SaidResult {
			continue
		}
		b := brought{id: s.ID, name: s.Name}
		if s.Text != "" {
			b.texts = append(b.texts, s.Text)
		}
		pictures := len(s.JSON) > 0
		for ; i+1 < len(h.Said) && h.Said[i+1].Kind == SaidPart; i++ {
			b.texts = append(b.texts, h.Said[i+1].Text)
		}
		b.bare = pictures && len(b.texts) == 0
		out = append(out, b)
	}
	return out
}

const maxBrought = 256 // results of one model call

// carry finds the tool calls whose results call brings to its model, each once. What a
// result says confirms which call was made for which proposal, or corrects it.
func (j *joins) carry(call *Call, before *asked, all []brought) {
	for i := range all {
		b := &all[i]
		p := j.proposed(before, b)
		if p == nil {
			j.unproposed(call, before, b)
			continue
		}
		if p.over && (p.taken == nil || p.taken.carried) {
			continue
		}
		p.over = true
		e := p.taken
		if e == nil {
			if e = j.other(p, b, nil); e == nil {
				j.offGateway(call, p)
				continue
			}
			j.correct(call, p, e, nil)
		}
		fits, score := e.says(j, b)
		if fits == differs {
			if x := j.other(p, b, e); x != nil {
				j.correct(call, p, x, e)
				e = x
				fits, score = e.says(j, b)
			}
		}
		e.carried = true
		l := audit.Link{From: e.call, Kind: audit.LinkResult, Method: "tool_use_id", Conf: 90, ID: p.id}
		switch fits {
		case equal:
			l.Method, l.Conf = "tool_use_id+content", 100
		case wrapped:
			l.Method, l.Conf = "tool_use_id+contained", 95
		case part:
			l.Method, l.Conf = "tool_use_id+result_cut", max(60, score*85/100)
			call.signal(SignalResultCut)
		case differs:
			l.Method, l.Conf = "tool_use_id+result_changed", max(30, score*60/100)
			call.signal(SignalResultChanged)
		}
		if p.id == "" && fits == equal {
			l.Method, l.Conf = "content", 95
		} else if p.id == "" {
			l.Method, l.Conf = strings.Replace(l.Method, "tool_use_id", "order", 1), min(l.Conf, 70)
		}
		call.Links = append(call.Links, l)
	}
}

// proposed is the proposal whose result b is.
func (j *joins) proposed(before *asked, b *brought) *proposal {
	if b.id == "" { // in the order in which they were asked for
		if before == nil {
			return nil
		}
		for _, p := range before.wants {
			if !p.over && p.id == "" && (b.name == "" || p.name == b.name) {
				return p
			}
		}
		return nil
	}
	var found *proposal
	rank := -1
	for _, p := range j.byUse[b.id] {
		r := 0
		switch {
		case before == nil:
		case p.by == before:
			r = 2
		case p.by.thread == before.thread:
			r = 1
		}
		if r >= rank {
			found, rank = p, r
		}
	}
	return found
}

// unproposed joins a result to a tool call by what it says alone.
func (j *joins) unproposed(call *Call, before *asked, b *brought) {
	for _, e := range j.same(b) {
		if !e.carried && e.size >= minContent && (before == nil || e.thread == nil || e.thread == before.thread) {
			e.carried = true
			call.Links = append(call.Links, audit.Link{From: e.call, Kind: audit.LinkResult, Method: "content", Conf: 85})
			return
		}
	}
}

const minContent = 16 // bytes of a result that tell it from others

// same are the tool calls that answered what b says.
func (j *joins) same(b *brought) []*execution {
	if len(b.texts) == 0 {
		return nil
	}
	s := said{seed: j.seed}
	s.text(strings.Join(b.texts, "\n"))
	for _, f := range s.forms {
		if all := j.byContent[f]; len(all) > 0 {
			return all
		}
	}
	return nil
}

// other is a tool call that answered what b says, and may have been made for p in the place
// of e, which did not.
func (j *joins) other(p *proposal, b *brought, e *execution) *execution {
	var found *execution
	for _, x := range j.same(b) {
		if x == e || x.carried || !(EndsInName(p.name, x.tool) || x.name != "" && EndsInName(p.name, x.name)) {
			continue
		}
		switch {
		case x.args == p.args && (x.size >= minContent || x.of == nil):
			return x
		case x.of == nil && x.size >= minContent && e == nil:
			found = x
		case e != nil && x.args == e.args && x.size >= minContent:
			found = x
		}
	}
	return found
}

// correct notes that x was made for p, and what was held to be, if it was, for what x was
// held to be for.
func (j *joins) correct(call *Call, p *proposal, x, e *execution) {
	method := "content"
	if x.args != p.args {
		method = "content+args_changed"
		call.signal(SignalArgsChanged)
	}
	call.Links = append(call.Links, audit.Link{From: p.by.id, Kind: audit.LinkProposed, Method: method, Conf: 98, ID: p.id, To: x.call})
	was := x.of
	x.of, p.taken, x.thread = p, x, p.by.thread
	switch {
	case was == nil && e != nil:
		e.of = nil
	case was != nil:
		was.taken = e
		if e != nil {
			e.of, e.thread = was, was.by.thread
			call.Links = append(call.Links, audit.Link{From: was.by.id, Kind: audit.LinkProposed, Method: "content", Conf: 80, ID: was.id, To: e.call})
		}
	}
}

// offGateway notes that the result of p came, though its call did not.
func (j *joins) offGateway(call *Call, p *proposal) {
	l := p.by.link(audit.LinkOffGateway, "tool_use_id", 95)
	l.ID = p.id
	call.Links = append(call.Links, l)
	if p.known {
		call.signal(SignalBypassed)
	} else {
		call.signal(SignalOffGateway)
	}
}

// A fit is how what a model is told fits what a tool answered.
type fit uint8

const (
	unknown fit = iota
	equal
	wrapped // all of it, and more
	part    // some of it, from its beginning
	differs
)

// says says how b fits what e answered, and how much of it, of 100.
func (e *execution) says(j *joins, b *brought) (fit, int) {
	if b.bare || !e.told {
		return unknown, 0
	}
	has := func(text string) bool {
		s := said{seed: j.seed}
		s.text(text)
		return slices.ContainsFunc(s.forms, func(f uint64) bool { return slices.Contains(e.forms, f) })
	}
	whole := strings.TrimSpace(strings.Join(b.texts, "\n"))
	if has(whole) || len(b.texts) > 0 && !slices.ContainsFunc(b.texts, func(t string) bool { return !has(t) }) || e.size == 0 && whole == "" || e.blocks(whole, has) {
		return equal, 100
	}
	common := 0
	for common < min(len(whole), len(e.opening)) && whole[common] == e.opening[common] {
		common++
	}
	own := pieces(j.seed, whole)
	in := shared(e.pieces, own)
	switch {
	case e.size >= 8 && e.size <= maxOpening && strings.Contains(whole, e.opening), len(e.pieces) > 3 && in == len(e.pieces):
		return wrapped, 100
	case len(whole) < e.size && len(own) > 3 && in*2 >= min(len(own), maxPieces):
		return part, 100 * in / len(own)
	case len(whole) < e.size+64 && common >= 16 && common*2 >= min(len(whole), maxOpening):
		return part, 100 * common / max(common, min(len(whole), maxOpening))
	}
	return differs, 100 * in / max(1, len(own))
}

// blocks says whether text is a list of blocks, as a client may write one, each of which is
// in what was answered.
func (e *execution) blocks(text string, has func(string) bool) bool {
	if !isDocument(text) || text[0] != '[' {
		return false
	}
	n, ok := 0, true
	gjson.Parse(text).ForEach(func(_, block gjson.Result) bool {
		if t := block.Get("text"); t.Type == gjson.String {
			n++
			ok = has(t.Str)
		}
		return ok
	})
	return ok && n > 0
}
