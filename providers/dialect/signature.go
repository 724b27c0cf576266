package dialect

import (
	"net/url"
	"strings"

	"github.com/tidwall/gjson"
)

// What a model thought goes back to its vendor as it came, by way of a client whose
// dialect has a place for signatures of its own vendor only. There it stands with whose
// it is, as callgate:VENDOR:KIND:SIGNATURE, so that no other vendor ever gets it.
const foreign = "callgate:"

// sealed is the signature of p for a client of the vendor home.
func sealed(p *Part, home string) string {
	if p.Signature == "" || p.Vendor == home {
		return p.Signature
	}
	kind := "thought"
	switch p.Kind {
	case Redacted:
		kind = "redacted"
	case ToolCall:
		kind = "call." + url.QueryEscape(p.ID)
	}
	return foreign + p.Vendor + ":" + kind + ":" + p.Signature
}

// unsealed puts into p the signature that a client of the vendor home sent, and whose it
// is. A ToolCall is the one that has p's ID.
func unsealed(p *Part, signature, home string) {
	p.Signature, p.Vendor = signature, home
	rest, ok := strings.CutPrefix(signature, foreign)
	if !ok {
		return
	}
	vendor, rest, _ := strings.Cut(rest, ":")
	kind, signature, ok := strings.Cut(rest, ":")
	if !ok {
		return
	}
	p.Signature, p.Vendor = signature, vendor
	switch id, isCall := strings.CutPrefix(kind, "call."); {
	case isCall:
		p.Kind = ToolCall
		p.ID, _ = url.QueryUnescape(id)
	case kind == "redacted":
		p.Kind = Redacted
	default:
		p.Kind = Thought
	}
}

// responsesThought is an item of type reasoning, and whether there is anything in it.
func responsesThought(v gjson.Result) (Part, bool) {
	p := Part{Kind: Thought, Text: thoughtText(v)}
	if s := v.Get("encrypted_content").Str; s != "" {
		if p.Text == "" {
			p.Kind = Redacted
		}
		unsealed(&p, s, vendorOpenAI)
	}
	return p, p.Text != "" || p.Signature != ""
}

// between is what stands between two parts of what a model thought.
const between = "\n\n"

func thoughtText(v gjson.Result) string {
	var list []string
	for _, name := range []string{"summary", "content"} {
		items(v.Get(name), func(v gjson.Result) {
			if t := v.Get("text").Str; t != "" {
				list = append(list, t)
			}
		})
	}
	return strings.Join(list, between)
}

// chatSigned is call, a tool's call of chat completions, with a signature where Google
// has a place for it.
func chatSigned(call object, signature string) object {
	if signature != "" {
		call["extra_content"] = object{"google": object{"thought_signature": signature}}
	}
	return call
}

// chatUnsigned puts into p, a tool's call, the signature that stands in v.
func chatUnsigned(p Part, v gjson.Result) Part {
	if s := v.Get("extra_content.google.thought_signature").Str; s != "" {
		id := p.ID
		unsealed(&p, s, vendorGoogle)
		p.Kind, p.ID = ToolCall, id
	}
	return p
}

// signCalls takes out of parts, which a client of messages sent, what only says whose the
// calls behind it are, and puts it there.
func signCalls(parts []Part) []Part {
	signs := make(map[string]Part)
	kept := parts[:0]
	for _, p := range parts {
		switch {
		case p.Kind != ToolCall:
		case p.Name == "" && p.Signature != "":
			signs[p.ID] = p
			continue
		default:
			p.Signature, p.Vendor = signs[p.ID].Signature, signs[p.ID].Vendor
		}
		kept = append(kept, p)
	}
	return kept
}
