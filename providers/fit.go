package providers

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// fit is doc as the provider wants it at an endpoint, whose path names the model or does
// not: Claude at clouds, which take its API with small changes. Elsewhere it is doc itself.
func (v *vendor) fit(doc []byte, h http.Header, at string, named bool) []byte {
	if !v.fits(at) || v.body == nil && v.drop == nil && !v.betas {
		return doc
	}
	if v.betas {
		doc = betasIn(doc, h)
	}
	for _, name := range v.drop {
		if named {
			doc = without(doc, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.body)) {
		if !gjson.GetBytes(doc, name).Exists() {
			doc = withMember(doc, name, quote(v.body[name]))
		}
	}
	return doc
}

// fits says whether bodies at an endpoint are made to fit.
func (v *vendor) fits(at string) bool {
	switch at {
	case "messages", "count_tokens", "gemini", "gemini_count", "gemini_embed", "gemini_embeds":
		return true
	}
	return false
}

// without is doc, an object, without a member.
func without(doc []byte, name string) []byte {
	out, err := sjson.DeleteBytes(doc, name)
	if err != nil {
		return doc // it was parsed: there is no such error
	}
	return out
}

// betasIn moves the betas of Anthropic's API from the header into doc.
func betasIn(doc []byte, h http.Header) []byte {
	var list []string
	for _, line := range h["Anthropic-Beta"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				list = append(list, name)
			}
		}
	}
	delete(h, "Anthropic-Beta")
	if len(list) == 0 {
		return doc
	}
	value, err := json.Marshal(list)
	if err != nil {
		return doc // there is no such error
	}
	return withMember(doc, "anthropic_beta", value)
}

// withMember is doc, an object, with another member.
func withMember(doc []byte, name string, value []byte) []byte {
	at := bytes.IndexByte(doc, '{') + 1
	rest := bytes.TrimLeft(doc[at:], " \t\r\n")
	out := make([]byte, 0, len(doc)+len(name)+len(value)+8)
	out = append(append(append(append(out, doc[:at]...), quote(name)...), ':'), value...)
	if len(rest) > 0 && rest[0] != '}' {
		out = append(out, ',')
	}
	return append(out, rest...)
}
