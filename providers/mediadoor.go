package providers

import (
	"io"
	"strings"
	"unicode/utf8"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// mediaEndpoint is the endpoint at a path of the OpenAI API where no conversation is held:
// pictures, sound, judgements, counts, texts that go on; or one is, over a WebSocket.
func mediaEndpoint(path string) (endpoint, bool) {
	method := ""
	switch path {
	case "/v1/completions":
		method = "completions"
	case "/v1/moderations":
		method = "moderations"
	case "/v1/images/generations":
		method = "images"
	case "/v1/images/edits":
		method = "image_edits"
	case "/v1/images/variations":
		method = "image_variations"
	case "/v1/audio/speech":
		method = "speech"
	case "/v1/audio/transcriptions":
		method = "transcriptions"
	case "/v1/audio/translations":
		method = "translations"
	case "/v1/responses/input_tokens":
		method = "input_tokens"
	case realtimePath:
		method = "realtime"
	case "/v1/responses/compact":
		method = "compact"
	}
	return endpoint{firewall.Model, path, method, OpenAI}, method != ""
}

// takesForm says whether requests are forms, since there are files in them.
func (e endpoint) takesForm() bool {
	switch e.method {
	case "image_edits", "image_variations", "transcriptions", "translations":
		return true
	}
	return false
}

// media says which sides hold what is no text.
func (e endpoint) media() firewall.Sides {
	switch e.method {
	case "images", "speech":
		return firewall.InReply
	case "image_edits", "image_variations":
		return firewall.InRequest | firewall.InReply
	case "transcriptions", "translations":
		return firewall.InRequest
	}
	return 0
}

// says whether a plain reply of a media type is a text, and no document: what was heard,
// in words or as subtitles.
func (e endpoint) says(kind string) bool {
	switch e.method {
	case "transcriptions", "translations":
		return strings.HasPrefix(kind, "text/") || kind == "application/x-subrip"
	}
	return false
}

// plays says whether a reply of a media type is sound, or a file of whatever kind.
func (e endpoint) plays(kind string) bool {
	return e.method == "files/content" || e.method == "speech" && (strings.HasPrefix(kind, "audio/") || kind == "application/octet-stream")
}

// text yields a plain reply that is a text. It is judged as the document that is that
// string.
func (x *exchange) text(body io.Reader, length int64, yield func(firewall.Event) bool) error {
	text, err := readAll(body, length, int(x.cfg.MaxReply))
	if err != nil {
		return err
	}
	if !utf8.Valid(text) {
		return x.unavailable("answered with a text that is not valid UTF-8", nil)
	}
	doc := quote(string(text))
	parsed, err := firewall.ParseBody(doc, firewall.Limits{Bytes: len(doc)})
	if err != nil {
		return x.unavailable("answered with a text that cannot be read", err)
	}
	x.back.text = "text/plain; charset=utf-8"
	yield(firewall.Event{Body: parsed, Last: true, Mark: markText})
	return nil
}

// mediaPiece is bytes of sound that go down at once, at most.
const mediaPiece = 16 << 10

// media yields a reply that is no text, as it comes. Its end is an event of its own: it
// is on record before the client can know that there is no more.
func (x *exchange) media(watch *watch, body io.Reader, yield func(firewall.Event) bool) error {
	src := watch.over(body)
	for total := int64(0); ; {
		piece := make([]byte, mediaPiece) // not used again: guards and the router may keep it
		n, err := src.Read(piece)
		if total += int64(n); total > x.cfg.MaxStream {
			return errTooLong
		}
		if n > 0 && !yield(firewall.Event{Media: true, Frame: piece[:n:n]}) {
			return nil
		}
		switch {
		case err == io.EOF && total == 0:
			return x.unavailable("answered with nothing", nil)
		case err == io.EOF:
			yield(firewall.Event{Media: true, Last: true})
			return nil
		case err != nil:
			return err
		}
	}
}

// media reads pictures that are streamed as they become clear, sound, and what was heard:
// events with a type, of which the last one of a text says it again.
type media struct{}

func (media) event(ev *firewall.Event, t *texts) error {
	h := headOf(ev.Body.JSON)
	c := &cursor{doc: ev.Body.JSON}
	name, isDelta := strings.CutSuffix(h.kind, ".delta")
	name, isDone := strings.CutSuffix(name, ".done")
	if len(name) > maxKind {
		return t.all(c)
	}
	if isDone {
		ev.Last = true
		t.close(ev.Body.JSON, lane{name, 0, 0})
	}
	return t.object(c, func(member string) (bool, error) {
		switch member {
		case "delta":
			if isDelta {
				return true, t.slice(c, lane{name, 0, 0})
			}
			return false, nil
		case "usage":
			ev.Mark |= markUsage
			return false, nil
		case "error":
			if c.kind() != 'n' {
				ev.Mark |= markError
			}
			return false, nil
		case "type", "audio", "b64_json", "logprobs": // see withoutLogprobs
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
}

func (m media) read(ev *firewall.Event) { m.whole(ev) }

func (media) whole(ev *firewall.Event) {
	c := cursor{doc: ev.Body.JSON}
	c.members(func(name string) {
		switch name {
		case "usage":
			images := ev.Usage.Images
			ev.Usage = openAIUsage(&c)
			ev.Usage.Images += images
		case "data": // of pictures, some of which have a price each
			c.items(func() {
				ev.Usage.Images++
				c.skip()
			})
		case "error":
			if e := gjson.ParseBytes(c.raw()); e.IsObject() {
				ev.Fault = openAIFault(e)
			}
		default:
			c.skip()
		}
	})
}

func (media) asking() bool { return false }

func (media) without(events []firewall.Event, _ []firewall.Want) []firewall.Event { return events }

func (media) mend(*firewall.Event) {}

func (media) broken(f failure) []byte {
	return append(append([]byte("event: error\ndata: "), f.openAI()...), "\n\n"...)
}

// completions reads texts that go on, the old way: chunks as of a chat, whose choices
// have a text each.
type completions struct{ chat }

func (r *completions) event(ev *firewall.Event, t *texts) error {
	c := &cursor{doc: ev.Body.JSON}
	return t.object(c, func(name string) (bool, error) {
		switch name {
		case "choices":
			return true, t.array(c, func(int) error { return r.choice(c, t) })
		case "usage":
			if c.kind() == '{' {
				ev.Mark |= markUsage
			}
		case "error":
			if c.kind() != 'n' {
				ev.Mark |= markError
			}
			return false, nil
		case "id", "object", "created", "model", "system_fingerprint":
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
}

func (r *completions) choice(c *cursor, t *texts) error {
	index, said := 0, cursor{}
	err := t.object(c, func(name string) (bool, error) {
		switch name {
		case "text":
			said = *c // its lane needs the index, which may come behind it
		case "index":
			index = c.integer()
			return true, nil
		case "finish_reason", "logprobs":
		default:
			return false, nil
		}
		c.skip()
		return true, nil
	})
	if err != nil || said.doc == nil {
		return err
	}
	return t.slice(&said, lane{"choices.#.text", index, 0})
}
