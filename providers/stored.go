package providers

import (
	"context"
	"strings"
	"time"

	"callgate/firewall"
)

const (
	storedFor = 30 * 24 * time.Hour // that the vendor keeps a response
	bindTime  = 10 * time.Second    // to note whose one is
)

// stored is up, whose replies are noted as their caller's where the provider keeps them.
func (h *Handler) stored(call *firewall.Call, behind *catalog, up firewall.Proposer) firewall.Upstream {
	if call.Method != "responses" || at(call.Body.JSON, "store").Raw == "false" {
		return up
	}
	return &storing{up, h, behind}
}

// A storing notes whose response a reply is while that goes on, and is done with it before
// the last event goes down.
type storing struct {
	firewall.Proposer
	h      *Handler
	behind *catalog
}

// Forward implements [firewall.Upstream].
func (s *storing) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		var noted chan error // nil before the id is known
		waited := false
		wait := func() error {
			if noted == nil || waited {
				return nil
			}
			waited = true
			return <-noted
		}
		defer func() { _ = wait() }() // whoever reads on has hung up
		for ev, err := range s.Proposer.Forward(ctx, call) {
			if err == nil && noted == nil {
				if id := s.made(call, &ev); id != "" {
					call.Kept = id
					o := firewall.Property{Owner: firewall.OwnerOf(&call.Caller), Kind: ofResponse, ID: id, Target: call.Target, Model: call.Resource, Until: s.h.cfg.Now().Add(storedFor)}
					noted = make(chan error, 1)
					go func() {
						ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bindTime)
						defer cancel()
						noted <- s.h.bind(ctx, o)
					}()
				}
			}
			if err == nil && ev.Last {
				err = wait()
			}
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// made is the id of the response that an event is, or begins; "" if none. One that was
// translated is kept by nobody.
func (s *storing) made(call *firewall.Call, ev *firewall.Event) string {
	if ev.Mark&markError != 0 || s.behind.byName[call.Target].paths[call.Method] == "" {
		return ""
	}
	doc := at(ev.Body.JSON, "response")
	if isPlain(ev) {
		doc = at(ev.Body.JSON, "@this")
	}
	if id := doc.Get("id").Str; isLabel(id, 128) {
		return strings.Clone(id)
	}
	return ""
}

// retold reads a response that was told before: what it used was counted then.
type retold struct{ responses }

func (r *retold) read(ev *firewall.Event) {
	r.responses.read(ev)
	ev.Usage = firewall.Usage{}
}

func (r *retold) whole(ev *firewall.Event) {
	r.responses.whole(ev)
	ev.Usage = firewall.Usage{}
}

// uncounted reads replies about objects, which tell of no use of a model that was not
// counted before.
type uncounted struct{ numbers }

func (uncounted) whole(*firewall.Event) {}
