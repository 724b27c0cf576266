package providers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

const (
	maxLines = 50_000  // calls of a batch, as the vendor has it
	maxLine  = 8 << 20 // bytes of one of them, and of what came of it
)

// judgeLines judges the calls that a file for a batch has, one a line, as if each were
// made: its model by policy, its texts by guards. It returns the file as it may be sent,
// and notes in o what there is in it.
func (h *Handler) judgeLines(ctx context.Context, call *firewall.Call, x *exchange, o *firewall.Property, behind *catalog, file []byte) ([]byte, error) {
	out := make([]byte, 0, len(file))
	for n := 1; len(file) > 0; n++ {
		var line []byte
		line, file, _ = bytes.Cut(file, []byte{'\n'})
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if o.Calls++; o.Calls > maxLines {
			return nil, firewall.Refuse(firewall.Invalid, "the file has more than %d lines", maxLines)
		}
		judged, err := h.judgeLine(ctx, call, x, o, behind, line)
		if err != nil {
			return nil, inLine(n, err)
		}
		out = append(append(out, judged...), '\n')
	}
	if o.Calls == 0 {
		return nil, firewall.Refuse(firewall.Invalid, "the file has no calls: write one a line, as JSON")
	}
	return out, nil
}

// inLine is err, that one line brought about.
func inLine(n int, err error) error {
	var e *firewall.Error
	if !errors.As(err, &e) {
		return err
	}
	told := *e
	told.Reason = fmt.Sprintf("line %d: %s", n, e.Reason)
	return &told
}

// judgeLine judges one call: {"custom_id", "method": "POST", "url", "body"} and no more.
func (h *Handler) judgeLine(ctx context.Context, call *firewall.Call, x *exchange, o *firewall.Property, behind *catalog, line []byte) ([]byte, error) {
	if len(line) > maxLine {
		return nil, firewall.Refuse(firewall.Invalid, "it is larger than %d bytes", maxLine)
	}
	if _, err := firewall.ParseBody(line, firewall.Limits{Bytes: maxLine, Depth: h.cfg.Limits.Depth}); err != nil {
		return nil, &firewall.Error{Code: firewall.Invalid, Reason: "it cannot be read: " + err.Error(), Err: err}
	}
	var id, verb, path string
	var body cursor
	known := true
	c := cursor{doc: line}
	c.members(func(name string) {
		switch name {
		case "custom_id":
			id = c.str()
		case "method":
			verb = c.str()
		case "url":
			path = c.str()
		case "body":
			body = cursor{doc: c.raw()}
		default:
			known = false
			c.skip()
		}
	})
	at, ok := inBatch(path)
	switch {
	case !known || id == "" || len(id) > maxHint || verb != http.MethodPost || body.kind() != '{':
		return nil, firewall.Refuse(firewall.Invalid, `want {"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}}`)
	case !ok || x.to.paths[at.method] == "":
		return nil, firewall.Refuse(firewall.Invalid, "batches of %s are not judged, so they are not taken", clip(path))
	case o.Path != "" && o.Path != path:
		return nil, firewall.Refuse(firewall.Invalid, "a batch is for one url: %s, and not %s", o.Path, clip(path))
	}
	part := &firewall.Call{Kind: firewall.Model, Method: at.method, Route: at.route, Token: call.Token}
	var err error
	if part.Body, err = firewall.ParseBody(body.doc, firewall.Limits{Bytes: maxLine, Depth: h.cfg.Limits.Depth}); err != nil {
		return nil, &firewall.Error{Code: firewall.Invalid, Reason: "its body cannot be read: " + err.Error(), Err: err}
	}
	said, err := readRequest(part.Body.JSON)
	if err != nil {
		return nil, err
	}
	to, model, err := behind.find(said.model, at)
	if _, several := behind.models[said.model]; several {
		return nil, firewall.Refuse(firewall.Invalid, "model %s stands for several: name one of provider %s", clip(said.model), x.to.name)
	}
	switch {
	case err != nil:
		return nil, err
	case to != x.to:
		return nil, firewall.Refuse(firewall.Invalid, "model %s is not one of provider %s, to which the file goes", clip(said.model), x.to.name)
	case o.Model != "" && o.Model != model:
		return nil, firewall.Refuse(firewall.Invalid, "a batch is for one model: %s, and not %s", o.Model, clip(model))
	}
	if model != said.model {
		part.Body.Rewrite(func(_ int, s firewall.Span) (string, bool) { return model, s.At == said.modelAt })
	}
	part.Target, part.Resource, part.Hosted = to.name, model, said.hosted
	part.Price = to.price(model, h.cfg.Now())
	part.Estimate = to.estimate(part, &said, part.Price)
	part.Caller = call.Caller
	switch only, err := h.named(ctx, part); {
	case err != nil:
		return nil, err
	case only != "" && only != to.name:
		return nil, keptBy(only)
	}
	if err := h.gate.Also(ctx, call, part); err != nil {
		return nil, err
	}
	if gjson.GetBytes(part.Body.JSON, "model").Str != model {
		return nil, firewall.Refuse(firewall.Denied, "a guard changed the name of the model, so that it is not what was decided on")
	}
	o.Path, o.Model = path, model
	o.Input += part.Estimate.Input
	o.Output += part.Estimate.Output
	out := append(append([]byte(`{"custom_id":`), quote(id)...), `,"method":"POST","url":`...)
	out = append(append(append(out, quote(path)...), `,"body":`...), bytes.TrimSpace(part.Body.JSON)...)
	return append(out, '}'), nil
}

// inBatch is the endpoint of a line's url, if callgate reads what is sent there.
func inBatch(path string) (endpoint, bool) {
	switch path {
	case "/v1/chat/completions":
		return endpoint{firewall.Model, path, "chat", OpenAI}, true
	case "/v1/responses":
		return endpoint{firewall.Model, path, "responses", OpenAI}, true
	case "/v1/embeddings":
		return endpoint{firewall.Model, path, "embeddings", OpenAI}, true
	case "/v1/completions", "/v1/moderations":
		return mediaEndpoint(path)
	}
	return endpoint{}, false
}

// enterBatch completes a call that has a batch made: of a file whose lines were judged
// when it came. To policy and limits it is a call of its model that takes what all lines
// were estimated to.
func (h *Handler) enterBatch(r *http.Request, at endpoint, _ errand, call *firewall.Call, x *exchange, behind *catalog) (firewall.Upstream, error) {
	if _, err := h.read(r, at, call); err != nil {
		return nil, err
	}
	said := gjson.ParseBytes(call.Body.JSON)
	file := said.Get("input_file_id").Str
	o, err := h.owned(r.Context(), call, ofFile, file)
	switch {
	case err != nil:
		return nil, err
	case o.Purpose != forBatch || o.Model == "":
		return nil, firewall.Refuse(firewall.Invalid, "file %s was not judged as one of a batch: upload it with purpose batch", clip(file))
	case said.Get("endpoint").Str != o.Path:
		return nil, firewall.Refuse(firewall.Invalid, "endpoint must be %s, as the file's lines have it", o.Path)
	}
	e, _ := errandOf(at.method)
	if err := h.send(e, call, x, behind, o.Target, ""); err != nil {
		return nil, err
	}
	call.Resource, call.Price = o.Model, x.to.price(o.Model, h.cfg.Now())
	call.Estimate = call.Price.Estimate(firewall.Usage{Input: o.Input, Output: o.Output, Tier: firewall.TierBatch})
	call.Estimate.Calls = o.Calls
	return &keeping{Proposer: &unlike{x, "input_file_id", file}, note: func(ctx context.Context, _ *firewall.Call, ev *firewall.Event) error {
		b := firewall.Property{Owner: o.Owner, Kind: ofBatch, Target: o.Target, Model: o.Model, Path: o.Path, ID: strings.Clone(gjson.GetBytes(ev.Body.JSON, "id").Str)}
		if !isLabel(b.ID, 128) || b.ID == "" {
			return x.unavailable("answered without the id of the batch", nil)
		}
		if err := h.bind(ctx, b); err != nil {
			return err
		}
		x.account.told = firewall.Usage{Input: o.Input, Output: o.Output, Tier: firewall.TierBatch, Estimated: true} // it is done later, and tells nobody
		return h.outcomes(ctx, b, ev.Body.JSON)
	}}, nil
}

// outcomes binds the files that a batch tells of: what came of its calls.
func (h *Handler) outcomes(ctx context.Context, batch firewall.Property, doc []byte) error {
	for _, member := range [...]string{"output_file_id", "error_file_id"} {
		id := gjson.GetBytes(doc, member).Str
		if id == "" || !isLabel(id, 128) {
			continue
		}
		list, err := h.cfg.Properties.Properties(ctx, ofFile, id)
		if err != nil {
			return unknowable(err)
		}
		if len(list) > 0 { // it is known, and the first owner is the owner
			continue
		}
		if err := h.bind(ctx, firewall.Property{Owner: batch.Owner, Kind: ofFile, Target: batch.Target, Purpose: ofBatchOutput, ID: strings.Clone(id)}); err != nil {
			return err
		}
	}
	return nil
}

// jsonLines yields a reply of lines that are documents, one after the other.
func (x *exchange) jsonLines(watch *watch, body io.Reader, yield func(firewall.Event) bool) error {
	s := lines{src: watch.over(body)}
	for total := int64(0); ; {
		line, err := s.next()
		if err != nil && err != io.EOF {
			return err
		}
		if total += int64(len(line)); total > x.cfg.MaxStream {
			return errTooLong
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			doc, wrong := firewall.ParseBody(text, firewall.Limits{Bytes: maxLine})
			if wrong != nil {
				return x.unavailable("answered with a line that is not JSON", wrong)
			}
			if !yield(firewall.Event{Body: doc, Frame: append(text[:len(text):len(text)], '\n'), Mark: markLine}) {
				return nil
			}
		}
		if err == io.EOF {
			yield(firewall.Event{Last: true, Mark: markLine})
			return nil
		}
	}
}

// lines cuts a body at its line feeds. A line may be kept.
type lines struct {
	src  io.Reader
	rest []byte
	err  error
}

// next is the next line, with its end. The last one may have none; it comes with io.EOF.
func (l *lines) next() ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(l.rest[seen:], '\n'); i >= 0 {
			line := l.rest[: seen+i+1 : seen+i+1]
			l.rest = l.rest[seen+i+1:]
			return line, nil
		}
		if l.err != nil {
			line := l.rest
			l.rest = nil
			return line, l.err
		}
		if seen = len(l.rest); seen > maxLine {
			return nil, errTooLong
		}
		piece := make([]byte, max(blockSize, 2*seen))
		n := copy(piece, l.rest)
		m, err := l.src.Read(piece[n:])
		l.rest, l.err = piece[:n+m], err
	}
}
