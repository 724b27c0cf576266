package dialect

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// Own is doc, a request in a dialect that its provider speaks, without the thoughts of
// models of other vendors: a conversation that was another's may go on here, and its
// vendor would refuse them. Nothing else changes.
func Own(of Name, doc []byte) ([]byte, Losses) {
	var l Losses
	if of == Gemini {
		return ownGemini(doc)
	}
	if !bytes.Contains(doc, []byte(foreign)) {
		return doc, nil
	}
	switch of {
	case Chat:
		doc = keeping(doc, "messages", func(v gjson.Result) json.RawMessage {
			return keeping([]byte(v.Raw), "tool_calls", func(v gjson.Result) json.RawMessage {
				if !strings.HasPrefix(v.Get("extra_content.google.thought_signature").Str, foreign) {
					return json.RawMessage(v.Raw)
				}
				l.Add("messages.*.tool_calls.*.extra_content", notTheirs)
				call, err := sjson.DeleteBytes([]byte(v.Raw), "extra_content")
				if err != nil {
					return json.RawMessage(v.Raw) // it was parsed: there is no such error
				}
				return call
			})
		})
	case Responses:
		doc = keeping(doc, "input", func(v gjson.Result) json.RawMessage {
			if strings.HasPrefix(v.Get("encrypted_content").Str, foreign) {
				l.Add("input.*.reasoning", notTheirs)
				return nil
			}
			return json.RawMessage(v.Raw)
		})
	case Messages:
		doc = keeping(doc, "messages", func(v gjson.Result) json.RawMessage {
			turn := keeping([]byte(v.Raw), "content", func(v gjson.Result) json.RawMessage {
				if strings.HasPrefix(v.Get("signature").Str, foreign) || strings.HasPrefix(v.Get("data").Str, foreign) {
					l.Add("messages.*.content.thinking", notTheirs)
					return nil
				}
				return json.RawMessage(v.Raw)
			})
			if v.Get("content.0").Exists() && !gjson.GetBytes(turn, "content.0").Exists() {
				return nil // Anthropic takes no turn without content
			}
			return turn
		})
	}
	return doc, l
}

const notTheirs = "what a model of another vendor thought is of no use to this one"

// keeping is doc whose list at a path has what f makes of its items, which is nil for
// those that go.
func keeping(doc []byte, at string, f func(gjson.Result) json.RawMessage) []byte {
	list := gjson.GetBytes(doc, at)
	if !list.IsArray() {
		return doc
	}
	kept, same := []json.RawMessage{}, true
	items(list, func(v gjson.Result) {
		item := f(v)
		same = same && string(item) == v.Raw
		if item != nil {
			kept = append(kept, item)
		}
	})
	if same {
		return doc
	}
	out, err := sjson.SetRawBytes(doc, at, encode(kept))
	if err != nil {
		return doc // it was parsed: there is no such error
	}
	return out
}

// ownGemini is Own for Google.
func ownGemini(doc []byte) ([]byte, Losses) {
	var l Losses
	if !bytes.Contains(doc, []byte(foreignBase64)) {
		return doc, nil
	}
	doc = keeping(doc, "contents", func(v gjson.Result) json.RawMessage {
		turn := keeping([]byte(v.Raw), "parts", func(v gjson.Result) json.RawMessage {
			if !strings.HasPrefix(either(v, "thoughtSignature").Str, foreignBase64) {
				return json.RawMessage(v.Raw)
			}
			l.Add("contents.*.parts.thoughtSignature", notTheirs)
			if v.Get("thought").Bool() || v.Get("text").Str == "" && v.Get("text").Exists() {
				return nil
			}
			part := object{} // a call: it stays, without
			v.ForEach(func(key, v gjson.Result) bool {
				if Camel(key.Str) != "thoughtSignature" {
					part[key.Str] = raw(v)
				}
				return true
			})
			return encode(part)
		})
		if v.Get("parts.0").Exists() && !gjson.GetBytes(turn, "parts.0").Exists() {
			return nil // Google takes no turn without parts
		}
		return turn
	})
	return doc, l
}
