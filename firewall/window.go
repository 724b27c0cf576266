package firewall

import "unsafe"

// An Edit replaces text[From:To] by Text.
type Edit struct {
	From, To int
	Text     string
}

// An Editor reads the text of one lane as it grows. text[:from] is decided: it
// has left or is about to, and is there as context only. The Editor answers up
// to where the text is now decided (from ≤ decided ≤ len(text)) and how it
// changes: edits in order, not overlapping, within text[from:decided]. With end,
// no more text will come and all must be decided.
//
// What it answers must depend on the text alone and never on how it was cut. The
// text is valid until the Editor returns.
type Editor func(text string, from int, end bool) (decided int, edits []Edit, err error)

const (
	windowContext = 256     // bytes of decided text that an Editor still sees
	windowHeld    = 1 << 20 // most bytes of events that may be held back; beyond it the reply fails
)

// Windowed lets edit read and change the text of each lane, however the upstream
// cut it. Events leave in order and as they came, unless edited; one whose text
// is not decided yet is held back together with those behind it.
func Windowed(events Events, edit func(lane string) Editor) Events {
	return func(yield func(Event, error) bool) {
		w := window{edit: edit}
		for ev, err := range events {
			if err == nil {
				err = w.add(ev)
			} else if w.end() != nil { // what did arrive is the agent's, once it is judged
				w.held = nil
			}
			if !w.release(yield) {
				return
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
		}
		err := w.end()
		if err != nil {
			yield(Event{}, err)
			return
		}
		w.release(yield)
	}
}

type window struct {
	edit  func(lane string) Editor
	lanes []*lane // few at a time, so that a search beats a map
	held  []*held // in order
	spare *held   // one to use again
	bytes int     // of held
}

// held is an event on its way out.
type held struct {
	ev    Event
	open  int            // spans whose text is not decided yet
	edits map[int][]Edit // by span, in offsets of the span's text
}

// lane is what is undecided of one lane's text, and a little before it. Offsets
// with the word "whole" count from the beginning of the lane.
type lane struct {
	name   string
	edit   Editor
	text   []byte
	base   int // whole offset of text[0]
	from   int // whole offset up to which the lane is decided
	pieces []piece
}

// piece is where the text of one span stands in the whole text of its lane.
type piece struct {
	in      *held
	span    int
	at, end int // whole offsets
}

func (w *window) add(ev Event) error {
	h := w.spare
	if h == nil {
		h = new(held)
	}
	w.spare = nil
	h.ev = ev
	w.held = append(w.held, h)
	w.bytes += len(ev.Body.JSON)
	if w.bytes > windowHeld {
		w.held = nil
		return Refuse(Unavailable, "a guard would have to hold back more than %d bytes of this reply", windowHeld)
	}
	for i := range ev.Body.Spans {
		s := &ev.Body.Spans[i]
		if s.Lane == "" {
			continue
		}
		l := w.lane(s.Lane)
		l.push(h, i, s.Text)
		if err := l.decide(s.Close); err != nil {
			w.held = nil
			return err
		}
		if s.Close {
			w.drop(l)
		}
	}
	return nil
}

func (w *window) lane(name string) *lane {
	for _, l := range w.lanes {
		if l.name == name {
			return l
		}
	}
	l := &lane{name: name, edit: w.edit(name)}
	w.lanes = append(w.lanes, l)
	return l
}

func (w *window) drop(l *lane) {
	for i := range w.lanes {
		if w.lanes[i] == l {
			w.lanes = append(w.lanes[:i], w.lanes[i+1:]...)
			return
		}
	}
}

// end decides all text that is still open.
func (w *window) end() error {
	for _, l := range w.lanes {
		if err := l.decide(true); err != nil {
			return err
		}
	}
	w.lanes = nil
	return nil
}

// release yields the events at the front whose text is decided.
func (w *window) release(yield func(Event, error) bool) bool {
	n := 0
	for n < len(w.held) && w.held[n].open == 0 {
		n++
	}
	for i, h := range w.held[:n] {
		if len(h.edits) > 0 {
			h.ev.Body.Rewrite(func(i int, s Span) (string, bool) { return apply(s.Text, h.edits[i]) })
		}
		if behind := n - 1 - i; behind > 0 {
			h.ev.More = true
		} else if n < len(w.held) {
			h.ev.More = false // what follows is held back, so this must not wait for it
		}
		w.bytes -= len(h.ev.Body.JSON)
		ev := h.ev
		*h = held{}
		w.spare = h
		if !yield(ev, nil) {
			return false
		}
	}
	w.held = append(w.held[:0], w.held[n:]...)
	if len(w.held) == 0 {
		w.bytes = 0
	}
	return true
}

func (l *lane) push(h *held, span int, text string) {
	at := l.base + len(l.text)
	l.text = append(l.text, text...)
	l.pieces = append(l.pieces, piece{h, span, at, at + len(text)})
	h.open++
}

// decide asks the editor how far the text is decided now and notes its edits.
func (l *lane) decide(end bool) error {
	if cut := l.from - l.base - windowContext; cut > windowContext { // forget what is long decided
		l.text = l.text[:copy(l.text, l.text[cut:])]
		l.base += cut
	}
	start := max(l.from-windowContext, l.base)
	text := unsafe.String(unsafe.SliceData(l.text[start-l.base:]), len(l.text)-(start-l.base))
	decided, edits, err := l.edit(text, l.from-start, end)
	if err != nil {
		return err
	}
	if end {
		decided = len(text)
	}
	for _, e := range edits {
		l.note(Edit{e.From + start, e.To + start, e.Text})
	}
	l.from = start + decided
	n := 0
	for n < len(l.pieces) && l.pieces[n].end <= l.from {
		l.pieces[n].in.open--
		n++
	}
	l.pieces = append(l.pieces[:0], l.pieces[n:]...)
	return nil
}

// note gives each span its part of an edit: the first one the new text, the
// others the removal of the old.
func (l *lane) note(e Edit) {
	for _, p := range l.pieces {
		from, to := max(e.From, p.at), min(e.To, p.end)
		if from >= to {
			continue
		}
		if p.in.edits == nil {
			p.in.edits = make(map[int][]Edit)
		}
		p.in.edits[p.span] = append(p.in.edits[p.span], Edit{from - p.at, to - p.at, e.Text})
		e.Text = ""
	}
}

// apply makes edits, which are in order, to text.
func apply(text string, edits []Edit) (string, bool) {
	if len(edits) == 0 {
		return text, false
	}
	out := make([]byte, 0, len(text)+32)
	at := 0
	for _, e := range edits {
		out = append(append(out, text[at:e.From]...), e.Text...)
		at = e.To
	}
	return string(append(out, text[at:]...)), true
}
