package dialect

import (
	"maps"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// A responsesDecoder reads responses.
type responsesDecoder struct {
	began, over bool
	items       map[int]*responsesItem // by output_index
	parts       []Part                 // that came, of which only the kinds are kept
}

// A responsesItem is an item of a stream.
type responsesItem struct {
	kind  string
	parts []*responsesPart
}

// A responsesPart is a part of a stream, of which the decoder knows no more than it must.
type responsesPart struct {
	at     int // content_index; 0 of all that are not in messages
	index  int
	closed bool
	told   bool // some of its text
	last   int  // which part of a thought the text before was of
}

// maxItems bounds the items of a stream.
const maxItems = 4096

func (d *responsesDecoder) Event(list []Piece, name string, data []byte) ([]Piece, error) {
	v := gjson.ParseBytes(data)
	kind := v.Get("type").Str
	if kind == "" {
		kind = name
	}
	switch kind {
	case "response.created":
		return d.begin(list, v.Get("response")), nil
	case "response.completed", "response.incomplete":
		return d.end(list, strings.TrimPrefix(kind, "response."), v.Get("response")), nil
	case "response.failed", "error":
		d.over = true
		return append(list, Piece{Kind: Fail, Failed: ReadFailure(Responses, 0, data)}), nil
	}
	if v.Get("error").IsObject() { // which compatible vendors tell without a type
		d.over = true
		return append(list, Piece{Kind: Fail, Failed: ReadFailure(Responses, 0, data)}), nil
	}
	n := v.Get("output_index").Int()
	if n < 0 || n >= maxItems || v.Get("content_index").Int() < 0 || v.Get("content_index").Int() >= maxItems {
		return list, &Unreadable{Responses, "output_index", "out of bounds"}
	}
	at := int(v.Get("content_index").Int())
	switch kind {
	case "response.output_item.added":
		list = d.begin(list, v)
		return d.added(list, int(n), v.Get("item")), nil
	case "response.output_item.done":
		list = d.begin(list, v)
		return d.done(list, int(n), v.Get("item")), nil
	}
	i := d.items[int(n)]
	if i == nil {
		return list, nil
	}
	switch {
	case i.kind == "message" && kind == "response.output_text.delta":
		list = d.text(list, i, at, Text, v.Get("delta").Str, 0)
	case i.kind == "message" && kind == "response.refusal.delta":
		list = d.text(list, i, at, Refusal, v.Get("delta").Str, 0)
	case i.kind == "message" && kind == "response.content_part.added":
		if p, ok := responsesSaid(v.Get("part")); ok {
			_, list = d.open(list, i, at, Part{Kind: p.Kind})
		}
	case i.kind == "message" && kind == "response.content_part.done":
		if p, ok := responsesSaid(v.Get("part")); ok {
			list = d.close(list, i.at(at), p.Text)
		}
	case i.kind == "reasoning" && kind == "response.reasoning_summary_text.delta":
		list = d.text(list, i, 0, Thought, v.Get("delta").Str, 1+int(v.Get("summary_index").Int()))
	case i.kind == "reasoning" && kind == "response.reasoning_text.delta":
		list = d.text(list, i, 0, Thought, v.Get("delta").Str, -1-at)
	case i.kind == "function_call" && kind == "response.function_call_arguments.delta", i.kind == "custom_tool_call" && kind == "response.custom_tool_call_input.delta":
		list = d.text(list, i, 0, ToolCall, v.Get("delta").Str, 0)
	}
	return list, nil
}

// at is the part of i at a place, nil if there is none.
func (i *responsesItem) at(at int) *responsesPart {
	if n := slices.IndexFunc(i.parts, func(p *responsesPart) bool { return p.at == at }); n >= 0 {
		return i.parts[n]
	}
	return nil
}

// begin says that the reply begins, if it has not.
func (d *responsesDecoder) begin(list []Piece, response gjson.Result) []Piece {
	if d.began {
		return list
	}
	d.began, d.items = true, make(map[int]*responsesItem)
	return append(list, Piece{Kind: Begin, ID: response.Get("id").Str, Model: response.Get("model").Str})
}

func (d *responsesDecoder) added(list []Piece, n int, item gjson.Result) []Piece {
	if d.items[n] != nil {
		return list
	}
	i := &responsesItem{kind: item.Get("type").Str}
	d.items[n] = i
	if i.kind == "function_call" || i.kind == "custom_tool_call" {
		call := responsesParts(item)[0]
		call.Args = nil
		_, list = d.open(list, i, 0, call)
	}
	return list
}

// open is the part of i at a place, which begins if it has not.
func (d *responsesDecoder) open(list []Piece, i *responsesItem, at int, part Part) (*responsesPart, []Piece) {
	if p := i.at(at); p != nil {
		return p, list
	}
	p := &responsesPart{at: at, index: len(d.parts)}
	i.parts = append(i.parts, p)
	d.parts = append(d.parts, Part{Kind: part.Kind})
	return p, append(list, Piece{Kind: Open, Index: p.index, Part: part})
}

// text is more of a part's text. of is which of the parts of a thought it is of, 0 where
// there are none.
func (d *responsesDecoder) text(list []Piece, i *responsesItem, at int, kind PartKind, text string, of int) []Piece {
	if text == "" {
		return list
	}
	p, list := d.open(list, i, at, Part{Kind: kind})
	if p.closed {
		return list
	}
	if p.told && p.last != of {
		text = between + text
	}
	p.told, p.last = true, of
	return append(list, Piece{Kind: Delta, Index: p.index, Text: text})
}

// close says that a part is complete, whose text is known whole: some vendors tell it
// only so.
func (d *responsesDecoder) close(list []Piece, p *responsesPart, text string) []Piece {
	if p == nil || p.closed {
		return list
	}
	if !p.told && text != "" {
		list = append(list, Piece{Kind: Delta, Index: p.index, Text: text})
	}
	p.closed = true
	return append(list, Piece{Kind: Close, Index: p.index})
}

// done completes an item, with what of it did not come in pieces.
func (d *responsesDecoder) done(list []Piece, n int, item gjson.Result) []Piece {
	list = d.added(list, n, item)
	i := d.items[n]
	if i.kind == "message" {
		at := 0
		items(item.Get("content"), func(v gjson.Result) {
			if p, ok := responsesSaid(v); ok {
				list = d.whole(list, i, at, p)
			}
			at++
		})
	} else {
		for _, p := range responsesParts(item) {
			list = d.whole(list, i, 0, p)
		}
	}
	for _, p := range i.parts {
		list = d.close(list, p, "")
	}
	return list
}

// whole completes a part of an item.
func (d *responsesDecoder) whole(list []Piece, i *responsesItem, at int, part Part) []Piece {
	open, text := Part{Kind: part.Kind}, part.Text
	switch part.Kind {
	case ToolCall:
		text = written(part.Args)
	case Redacted:
		open = part
	}
	p, list := d.open(list, i, at, open)
	if part.Kind == Thought && part.Signature != "" && !p.closed {
		if !p.told && text != "" {
			list = append(list, Piece{Kind: Delta, Index: p.index, Text: text})
		}
		p.told = true
		list = append(list, Piece{Kind: Sign, Index: p.index, Part: Part{Signature: part.Signature, Vendor: part.Vendor}})
	}
	return d.close(list, p, text)
}

func (d *responsesDecoder) end(list []Piece, status string, response gjson.Result) []Piece {
	if d.over {
		return list
	}
	d.over = true
	list = d.begin(list, response)
	if len(d.items) == 0 { // some vendors tell all in the end
		n := 0
		items(response.Get("output"), func(v gjson.Result) {
			list = d.done(list, n, v)
			n++
		})
	}
	for _, n := range slices.Sorted(maps.Keys(d.items)) {
		for _, p := range d.items[n].parts {
			list = d.close(list, p, "")
		}
	}
	if u := responsesUsage(response.Get("usage")); u != nil {
		list = append(list, Piece{Kind: Total, Usage: u})
	}
	return append(list, Piece{Kind: End, Reason: responsesStop(status, response.Get("incomplete_details.reason").Str, d.parts)})
}

func (d *responsesDecoder) Over(list []Piece) ([]Piece, error) {
	if !d.over {
		return list, &Unreadable{Responses, "", "the stream has no end"}
	}
	return list, nil
}
