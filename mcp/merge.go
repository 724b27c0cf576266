package mcp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"callgate/firewall"
)

const (
	joint         = "__" // between a server's prefix and the name of its tool; no prefix holds it
	maxAdvertised = 64   // bytes of a name at /mcp: more breaks some clients
	digestLength  = 8    // hex digits
)

// advertised is what a tool or prompt of a server is called at /mcp. A long name
// is cut, and stays one of its own by a digest of the whole.
func advertised(prefix, name string) string {
	full := prefix + joint + name
	if len(full) <= maxAdvertised {
		return full
	}
	sum := sha256.Sum256([]byte(full))
	cut := maxAdvertised - 1 - digestLength
	for !utf8.RuneStart(full[cut]) {
		cut--
	}
	return full[:cut] + "_" + hex.EncodeToString(sum[:digestLength/2])
}

// mayBeCut says whether an advertised name can be one that was cut.
func mayBeCut(name string) bool {
	at := len(name) - 1 - digestLength
	return len(name) <= maxAdvertised && len(name) > maxAdvertised-utf8.UTFMax && name[at] == '_' && strings.Trim(name[at+1:], "0123456789abcdef") == ""
}

// answered is what one of several servers answered.
type answered[T any] struct {
	server *Server
	val    T
	err    error
}

// each asks servers all at once, and waits no longer than wait for any of them.
func each[T any](ctx context.Context, v *visit, servers []*Server, ask func(context.Context, *Server) (T, error)) []answered[T] {
	ctx, cancel := context.WithTimeout(ctx, v.wait())
	defer cancel()
	out := make([]answered[T], len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		out[i].server = s
		if len(servers) == 1 {
			out[i].val, out[i].err = ask(ctx, s)
			break
		}
		all.Go(func() {
			ctx, done := s.attend(ctx)
			out[i].val, out[i].err = ask(ctx, s)
			done(out[i].err)
		})
	}
	all.Wait()
	return out
}

func (v *visit) wait() time.Duration {
	if v.only != nil {
		return singleWait
	}
	return v.cfg.Wait
}

// servers is those that the endpoint stands for.
func (v *visit) servers() []*Server { return v.heard(v.behind) }

// byName finds the server that a tool or prompt of /mcp is of, and its name there.
func (v *visit) byName(ctx context.Context, kind firewall.Kind, name string) (*Server, string, error) {
	of, rest, _ := strings.Cut(name, joint)
	s := v.behind.byPrefix[of]
	if s == nil || rest == "" {
		return nil, "", firewall.Refuse(firewall.NotFound, "there is no %s %q: names here are <prefix of its server>%s<%s>, as the list has them", kind, clip(name), joint, kind)
	}
	if !mayBeCut(name) {
		return s, rest, nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.cfg.Wait)
	defer cancel()
	defs, err := s.List(ctx, v.client(s), kind.String()+"s/list")
	if err != nil {
		return nil, "", late(ctx, s, err)
	}
	for i := range defs {
		if advertised(of, defs[i].Name) == name {
			return s, defs[i].Name, nil
		}
	}
	return s, rest, nil
}

// offer is whether a server offers a resource, and the caller may have it.
type offer struct{ has, may bool }

// byURI finds the server whose resource, or template of resources, a URI is. If
// more than one has it, callgate does not guess whose was meant.
func (v *visit) byURI(ctx context.Context, uri string) (*Server, error) {
	answers := each(ctx, v, v.servers(), func(ctx context.Context, s *Server) (offer, error) {
		has, err := holds(ctx, s, v.client(s), uri)
		return offer{has, v.gate.May(&v.caller, firewall.Resource, s.Name(), uri) != firewall.No}, err
	})
	var found, denied []*Server
	var silent []string
	for _, a := range answers {
		switch {
		case a.err != nil:
			silent = append(silent, a.server.Name())
		case a.val.has && a.val.may:
			found = append(found, a.server)
		case a.val.has:
			denied = append(denied, a.server)
		}
	}
	if len(found) == 0 {
		found = denied[:min(len(denied), 1)] // so that the policy says no, on record
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, firewall.Refuse(firewall.Invalid, "servers %s and %s both have this resource: read it at /mcp/<server>", found[0].Name(), found[1].Name())
	case len(silent) > 0:
		return nil, firewall.Refuse(firewall.Unavailable, "no server that answers has this resource; %s did not answer", strings.Join(silent, ", "))
	}
	return nil, firewall.Refuse(firewall.NotFound, "no server has this resource")
}

// holds says whether a server lists uri, as a resource or a template, or has a
// template for it.
func holds(ctx context.Context, s *Server, client *Client, uri string) (bool, error) {
	for _, method := range [...]string{"resources/list", "resources/templates/list"} {
		if _, ok, err := s.Find(ctx, client, method, uri); ok || err != nil {
			return ok, err
		}
	}
	templates, err := s.List(ctx, client, "resources/templates/list")
	for i := range templates {
		if matches(templates[i].Name, uri) {
			return true, nil
		}
	}
	return false, err
}

// late is the error of a server that did not answer while the client waited.
func late(ctx context.Context, s *Server, err error) error {
	if ctx.Err() == context.DeadlineExceeded {
		return &firewall.Error{Code: firewall.Timeout, Reason: "server " + s.Name() + " is not there yet: try again soon", Err: err}
	}
	return err
}
