package dialect

import "slices"

// Pieces is r as it would have streamed.
func Pieces(r *Reply) []Piece {
	list := []Piece{{Kind: Begin, ID: r.ID, Model: r.Model}}
	for n, a := range r.Choices {
		for i, p := range a.Parts {
			open := p
			open.Text, open.Args = "", nil
			if p.Kind == Thought {
				open.Signature = "" // which comes behind it
			}
			list = append(list, Piece{Kind: Open, Choice: n, Index: i, Part: open})
			text := p.Text
			if p.Kind == ToolCall {
				text = written(p.Args)
			}
			if text != "" {
				list = append(list, Piece{Kind: Delta, Choice: n, Index: i, Text: text})
			}
			if p.Kind == Thought && p.Signature != "" {
				list = append(list, Piece{Kind: Sign, Choice: n, Index: i, Part: Part{Signature: p.Signature, Vendor: p.Vendor}})
			}
			list = append(list, Piece{Kind: Close, Choice: n, Index: i})
		}
	}
	if r.Usage != nil {
		list = append(list, Piece{Kind: Total, Usage: r.Usage})
	}
	for n, a := range r.Choices {
		list = append(list, Piece{Kind: End, Choice: n, Reason: a.Reason, Last: a.Last})
	}
	return list
}

// Fold is what list says, in one.
func Fold(list []Piece) *Reply {
	r := new(Reply)
	at := make(map[[2]int]int)
	for _, p := range list {
		for p.Kind != Begin && p.Kind != Total && p.Kind != Fail && len(r.Choices) <= p.Choice {
			r.Choices = append(r.Choices, Answer{})
		}
		where := [2]int{p.Choice, p.Index}
		switch p.Kind {
		case Begin:
			r.ID, r.Model = p.ID, p.Model
		case Open:
			a := &r.Choices[p.Choice]
			at[where] = len(a.Parts)
			a.Parts = append(a.Parts, p.Part)
		case Delta:
			r.Choices[p.Choice].Parts[at[where]].Text += p.Text
		case Sign:
			part := &r.Choices[p.Choice].Parts[at[where]]
			part.Signature, part.Vendor = part.Signature+p.Part.Signature, p.Part.Vendor
		case Total:
			r.Usage = p.Usage
		case End:
			r.Choices[p.Choice].Reason, r.Choices[p.Choice].Last = p.Reason, p.Last
		case Fail:
			r.Failed = p.Failed
		}
	}
	for n := range r.Choices {
		parts := r.Choices[n].Parts
		for i := range parts {
			if parts[i].Kind == ToolCall {
				if parts[i].Custom {
					parts[i].Args, parts[i].Text = quoted(parts[i].Text), ""
					continue
				}
				parts[i].Args, parts[i].Text = arguments(parts[i].Text), ""
			}
		}
		r.Choices[n].Parts = slices.Clip(parts)
	}
	return r
}
