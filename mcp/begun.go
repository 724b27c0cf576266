package mcp

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// A begun task is what is remembered of a task until it has run out: enough to list
// it, and not to decide again, each time the client asks how far it is, on what its
// server wants to know. A task that is forgotten can still be asked for by its ticket.
type begun struct {
	server, tool string
	theirs, ours string // ids of the task: the server's, and the ticket
	until        time.Time

	asked map[[sha256.Size]byte]firewall.Body // requests for input, as they went to the client; guarded by tasks.mu
}

// tasks is those that were begun here, by whom.
type tasks struct {
	mu sync.Mutex
	by map[string][]*begun // the earliest first
}

const (
	maxTasks    = 256    // of one principal; the earliest are forgotten first
	maxTaskers  = 10_000 // principals
	maxDecided  = 64     // requests for input of one task
	maxTaskPage = 16     // of a server's list
)

// add remembers a task of owner.
func (t *tasks) add(owner string, b *begun) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = make(map[string][]*begun)
	}
	if len(t.by) >= maxTaskers && t.by[owner] == nil {
		for of := range t.by {
			t.sweep(of)
		}
		if len(t.by) >= maxTaskers {
			return
		}
	}
	t.sweep(owner)
	own := t.by[owner]
	if len(own) >= maxTasks {
		own = slices.Clone(own[1:])
	}
	t.by[owner] = append(own, b)
}

// sweep forgets what owner has no more. It needs mu.
func (t *tasks) sweep(owner string) {
	now := time.Now()
	own := slices.DeleteFunc(slices.Clone(t.by[owner]), func(b *begun) bool { return now.After(b.until) })
	if len(own) == 0 {
		delete(t.by, owner)
	} else {
		t.by[owner] = own
	}
}

// of is the tasks of owner at a server.
func (t *tasks) of(owner, server string) []*begun {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(owner)
	var own []*begun
	for _, b := range t.by[owner] {
		if b.server == server {
			own = append(own, b)
		}
	}
	return own
}

// find is the task with a ticket, nil if it is forgotten.
func (t *tasks) find(owner, ours string) *begun {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.by[owner] {
		if b.ours == ours {
			return b
		}
	}
	return nil
}

// askedBefore is a request for input as it went to the client earlier, if it did.
func (t *tasks) askedBefore(b *begun, id [sha256.Size]byte) (firewall.Body, bool) {
	if b == nil {
		return firewall.Body{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	body, ok := b.asked[id]
	return body, ok
}

// wasAsked remembers a request for input as it went to the client.
func (t *tasks) wasAsked(b *begun, id [sha256.Size]byte, body firewall.Body) {
	if b == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.asked == nil {
		b.asked = make(map[[sha256.Size]byte]firewall.Body)
	}
	if len(b.asked) < maxDecided {
		b.asked[id] = firewall.Body{JSON: slices.Clone(body.JSON)}
	}
}

// inputID tells requests for input apart.
func inputID(key gjson.Result, method string, body firewall.Body) [sha256.Size]byte {
	return sha256.Sum256([]byte(key.Raw + "\x00" + method + "\x00" + string(body.JSON)))
}

// listTasks answers which tasks the caller has begun here, as their servers list
// them. What a server lists besides is not the caller's.
func (v *visit) listTasks(ctx context.Context, call *firewall.Call) ([]byte, error) {
	if parsed(call.Body.JSON).Get("cursor").Exists() {
		return nil, firewall.Refuse(firewall.Invalid, "params.cursor is not one of this gate: its lists of tasks have one page")
	}
	owner := principalKey(&v.caller)
	answers := each(ctx, v, v.servers(), func(ctx context.Context, s *Server) ([]byte, error) {
		own := v.tasks.of(owner, s.Name())
		own = slices.DeleteFunc(own, func(b *begun) bool {
			return v.gate.May(&v.caller, firewall.Tool, b.server, b.tool) == firewall.No
		})
		if len(own) == 0 {
			return nil, nil
		}
		return v.listed(ctx, s, own)
	})
	out := []byte(`{"tasks":[`)
	var silent []string
	some := false
	for _, a := range answers {
		switch {
		case a.err != nil && v.only != nil:
			return nil, late(ctx, a.server, a.err)
		case a.err != nil:
			v.cfg.Logger.WarnContext(ctx, "server left out of a list", "server", a.server.Name(), "list", call.Method, "call", call.ID, "error", a.err)
			silent = append(silent, a.server.Name())
		case a.val != nil:
			if some {
				out = append(out, ',')
			}
			some = true
			out = append(out, a.val...)
		}
	}
	out = append(out, ']')
	if silent != nil {
		out = append(append(out, `,"_meta":{"callgate/unavailable":`...), quotedList(silent)+"}"...)
	}
	return append(out, '}'), ctx.Err()
}

// listed is those of own that the server lists, under the ids that the client has
// for them, with commas between.
func (v *visit) listed(ctx context.Context, s *Server, own []*begun) ([]byte, error) {
	client := v.client(s)
	info, err := s.InfoFor(ctx, client)
	if err != nil || info.Modern || !parsed(info.Capabilities).Get("tasks.list").Exists() {
		return nil, err
	}
	ours := make(map[string]string, len(own))
	for _, b := range own {
		ours[b.theirs] = b.ours
	}
	var out []byte
	params := []byte(`{}`)
	for range maxTaskPage {
		var page gjson.Result
		for m, err := range s.Do(ctx, client, Request{Method: "tasks/list", Params: params}) {
			switch {
			case err != nil:
				return nil, err
			case m.Error != nil:
				return nil, s.unavailable("does not list its tasks", nil)
			case m.Result != nil:
				page = parsed(m.Result)
			}
		}
		page.Get("tasks").ForEach(func(_, task gjson.Result) bool {
			id := task.Get("taskId")
			mine, ok := ours[id.Str]
			if !ok || id.Type != gjson.String || !task.IsObject() {
				return true
			}
			delete(ours, id.Str)
			if out != nil {
				out = append(out, ',')
			}
			at := id.Index - task.Index
			out = append(append(append(out, task.Raw[:at]...), quoted(mine)...), task.Raw[at+len(id.Raw):]...)
			return true
		})
		next := page.Get("nextCursor")
		if next.Type != gjson.String || len(ours) == 0 {
			break
		}
		params = []byte(`{"cursor":` + next.Raw + `}`)
	}
	return out, nil
}
