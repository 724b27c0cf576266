package providers

import (
	"context"
	"net/http"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// Purposes of files that callgate reads: calls of a batch, and what came of them.
const (
	forBatch      = "batch"
	ofBatchOutput = "batch_output"
)

// enterUpload completes a call that has a file kept. One of a batch is read line by line:
// its calls would pass the gate by.
func (h *Handler) enterUpload(r *http.Request, at endpoint, e errand, call *firewall.Call, x *exchange, behind *catalog) (firewall.Upstream, error) {
	if err := h.keeper(r, e, call, x, behind); err != nil {
		return nil, err
	}
	sent, err := readForm(r, h.cfg.Limits.Bytes)
	if err != nil {
		return nil, err
	}
	if call.Body, err = firewall.ParseBody(sent.doc, firewall.Limits{Bytes: max(h.cfg.Limits.Bytes, len(sent.doc))}); err != nil {
		return nil, &firewall.Error{Code: firewall.Invalid, Reason: "the form cannot be read: " + err.Error(), Err: err}
	}
	x.form = sent
	said := gjson.ParseBytes(sent.doc)
	o := firewall.Property{Owner: firewall.OwnerOf(&call.Caller), Kind: ofFile, Target: x.to.name, Purpose: said.Get("purpose").Str}
	switch {
	case o.Purpose == "" || len(o.Purpose) > maxKind:
		return nil, firewall.Refuse(firewall.Invalid, "purpose is missing: say what the file is for")
	case len(sent.files) != 1 || !said.Get("file").IsObject():
		return nil, firewall.Refuse(firewall.Invalid, "file is missing: send one file, in the field file")
	case o.Purpose == forBatch:
		call.Resolve = func(ctx context.Context) (bool, error) {
			judged, err := h.judgeLines(ctx, call, x, &o, behind, sent.files[0])
			sent.files[0] = judged
			return false, err
		}
	default:
		call.Media, call.Unread = firewall.InRequest, sent.size
	}
	return &keeping{Proposer: &unlike{x, "purpose", o.Purpose}, note: func(ctx context.Context, _ *firewall.Call, ev *firewall.Event) error {
		o.ID = strings.Clone(gjson.GetBytes(ev.Body.JSON, "id").Str)
		if !isLabel(o.ID, 128) || o.ID == "" {
			return x.unavailable("answered without the id of the file", nil)
		}
		return h.bind(ctx, o)
	}}, nil
}

// unlike is an exchange that refuses a call of which a guard has changed what was decided
// on: a member of its document.
type unlike struct {
	*exchange
	member, value string
}

// Forward implements [firewall.Upstream].
func (u *unlike) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	if gjson.GetBytes(call.Body.JSON, u.member).Str == u.value {
		return u.exchange.Forward(ctx, call)
	}
	return func(yield func(firewall.Event, error) bool) {
		yield(firewall.Event{}, firewall.Refuse(firewall.Denied, "a guard changed %s, so that it is not what was decided on", u.member))
	}
}
