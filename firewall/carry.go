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
// result says confirms which call was made for which proposal, or corrects it: first those
// that say what their calls answered, so that they take no others' place.
func (j *joins) carry(call *Call, before *asked, all []brought) {
	of := make([]*proposal, len(all))
	for i := range all {
		b := &all[i]
		p := j.proposed(before, b)
		switch {
		case p == nil:
			j.unproposed(call, before, b)
			continue
		case p.over && (p.taken == nil || p.taken.carried):
			continue
		}
		p.over = true
		if e := p.taken; e == nil {
			if x := j.other(p, b, nil); x != nil {
				j.correct(call, p, x, nil)
				j.carried(call, p, b)
				continue
			}
		} else if fits, _ := e.says(j, b); fits == equal || fits == wrapped {
			j.carried(call, p, b)
			continue
		}
		of[i] = p
	}
	for i, p := range of {
		if p == nil {
			continue
		}
		b, e := &all[i], p.taken
		if e != nil {
			fits, _ := e.says(j, b)
			if x := j.other(p, b, e); fits == differs && x != nil {
				j.correct(call, p, x, e)
			} else if q := j.instead(p, e); fits == differs && q != nil { // its own call never came
				p.taken = nil
				j.give(call, q, e, "elimination", 60)
			}
		}
		if p.taken == nil {
			j.offGateway(call, p)
		} else {
			j.carried(call, p, b)
		}
	}
}

// carried links call to the tool call for p, whose result b is.
func (j *joins) carried(call *Call, p *proposal, b *brought) {
	e := p.taken
	e.carried = true
	fits, score := e.says(j, b)
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
		if e.doubt != nil && !e.doubt.gone { // likelier that it is the result of another call
			l.Conf = 40
			break
		}
		l.Method, l.Conf = "tool_use_id+result_changed", max(30, score*60/100)
		call.signal(SignalResultChanged)
	}
	if fits != differs && fits != unknown && e.doubt != nil && e.size >= minContent {
		e.doubt.gone = true
	}
	if p.id == "" && fits == equal {
		l.Method, l.Conf = "content", 95
	} else if p.id == "" {
		l.Method, l.Conf = strings.Replace(l.Method, "tool_use_id", "order", 1), min(l.Conf, 70)
	}
	call.Links = append(call.Links, l)
}

// instead is a proposal that e may have been made for in the place of p, where that was no more
// than likely.
func (j *joins) instead(p *proposal, e *execution) *proposal {
	unsure := e.doubt != nil && !e.doubt.gone
	for _, q := range slices.Backward(j.proposals) {
		if q != p && (unsure || q.by == p.by) && q.taken == nil && !q.over && q.args == e.args && !q.at.After(e.at) && e.named(q.name) {
			return q
		}
	}
	return nil
}

// named says whether a model that asks for name may mean what was called.
func (e *execution) named(name string) bool {
	return EndsInName(name, e.tool) || e.name != "" && EndsInName(name, e.name)
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
// of e, which did not. Where an answer says little, only one that is not known to be made for
// something else is taken, the first since p.
func (j *joins) other(p *proposal, b *brought, e *execution) *execution {
	var found, little *execution
	for _, x := range j.same(b) {
		if x == e || x.carried || x.at.Before(p.at) || !x.named(p.name) {
			continue
		}
		free := x.of == nil || x.doubt != nil && !x.doubt.gone
		switch much := x.size >= minContent; {
		case x.args == p.args && much:
			return x
		case x.args == p.args && free && e == nil:
			if little == nil || x.at.Before(little.at) {
				little = x
			}
		case much && x.of == nil && e == nil, e != nil && x.args == e.args && (much || x.of != nil && x.of.by == p.by):
			found = x
		}
	}
	if found == nil {
		return little
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
	was := x.of
	if e != nil {
		e.of = nil
	}
	if was != nil {
		was.taken = nil
	}
	j.give(call, p, x, method, 98)
	if was != nil && e != nil {
		j.give(call, was, e, "content", 80)
	}
}

// give notes, on the record of call, that x was made for p after all.
func (j *joins) give(call *Call, p *proposal, x *execution, method string, conf int) {
	x.of, p.taken, x.thread = p, x, p.by.thread
	if x.doubt != nil && conf > 90 {
		x.doubt.gone = true
	}
	call.Links = append(call.Links, audit.Link{From: p.by.id, Kind: audit.LinkProposed, Method: method, Conf: conf, ID: p.id, To: x.call})
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
	in := shared(e.pieces, setOf(own))
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
