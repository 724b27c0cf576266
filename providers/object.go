package providers

import (
	"context"
	"slices"
	"time"

	"callgate/firewall"
)

// The kinds of objects: what is a [firewall.Property] here.
const (
	ofFile     = "file"
	ofBatch    = "batch"
	ofResponse = "response"
)

// owned is the object of the caller of call that has an id. Whether somebody else has
// such an object is not told.
func (h *Handler) owned(ctx context.Context, call *firewall.Call, kind, id string) (firewall.Property, error) {
	list, err := h.cfg.Properties.Properties(ctx, kind, id)
	if err != nil {
		return firewall.Property{}, unknowable(err)
	}
	owner, now := firewall.OwnerOf(&call.Caller), h.cfg.Now()
	for _, o := range list {
		if o.Owner == owner && (o.Until.IsZero() || now.Before(o.Until)) {
			return o, nil
		}
	}
	return firewall.Property{}, firewall.Refuse(firewall.NotFound, "there is no %s %s that %s has made through this gate", kind, clip(id), call.Caller.Agent())
}

// others says whether an object is known to be somebody else's alone.
func (h *Handler) others(ctx context.Context, call *firewall.Call, kind, id string) (bool, error) {
	list, err := h.cfg.Properties.Properties(ctx, kind, id)
	if err != nil {
		return false, unknowable(err)
	}
	owner := firewall.OwnerOf(&call.Caller)
	return len(list) > 0 && !slices.ContainsFunc(list, func(o firewall.Property) bool { return o.Owner == owner }), nil
}

func unknowable(err error) error {
	return &firewall.Error{Code: firewall.Unavailable, Reason: "whose objects are is not known now, so the call is refused", Retry: time.Second, Err: err}
}

// bind notes that o is its caller's, before the caller learns of it.
func (h *Handler) bind(ctx context.Context, o firewall.Property) error {
	if err := h.cfg.Properties.PutProperty(ctx, o); err != nil {
		return &firewall.Error{Code: firewall.Unavailable, Reason: "whose the " + o.Kind + " is cannot be stored, so the reply is withheld", Retry: time.Second, Err: err}
	}
	return nil
}
