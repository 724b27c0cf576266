package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// Tasks are calls whose results are fetched later: the ones of 2025-11-25, and the
// extension of 2026-07-28, which are not the same and pass only between a client
// and a server of one kind. To the client a task's id is a ticket, so that nobody
// else can ask for the task, and nobody for a task that was not begun here.

const (
	forTask  = "task"
	taskTime = 24 * time.Hour // in which a task can be asked for
)

// relatedTask is metadata that says to which task a message belongs.
const relatedTask = "io.modelcontextprotocol/related-task"

// isTask says whether method asks for a task.
func isTask(method string) bool {
	switch method {
	case "tasks/get", "tasks/result", "tasks/cancel", "tasks/update":
		return true
	}
	return false
}

// tasks says whether a server takes calls as tasks, of the kind of its era.
func (i *Info) tasks() bool {
	if i.Modern {
		return parsed(i.Capabilities).Get("extensions." + gjson.Escape(tasksExtension)).Exists()
	}
	return parsed(i.Capabilities).Get("tasks.requests.tools.call").Exists()
}

// begun gives the client a ticket for the task that the answer to call says has
// begun, if it says so.
func (p *passage) begun(call *firewall.Call, m *Message) error {
	at := "task.taskId"
	result := parsed(m.Result)
	if p.modern {
		if at = "taskId"; result.Get("resultType").Str != "task" {
			return nil
		}
	}
	id := result.Get(at)
	if id.Type != gjson.String {
		return nil
	}
	for _, o := range call.Decision.Obligations {
		if o.Do == firewall.Redact && strings.Contains(o.With, "result.") {
			return &firewall.Error{Code: firewall.Denied, Rule: o.Rule, Reason: "rule " + o.Rule + " takes values out of the result of " + call.Object() + ", which callgate cannot do for a task: call it without one"}
		}
	}
	sealed := p.seals.seal(ticket{
		Use: forTask, Owner: principalKey(&p.caller), Server: p.to.Name(), Digest: call.Resource,
		Value: id.Str, Call: call.ID, Until: time.Now().Add(taskTime).Unix(),
	})
	return p.restate(m, id.Str, sealed)
}

// restate puts one id of a task in the place of another, wherever m has it.
func (p *passage) restate(m *Message, id, by string) error {
	doc := bytes.Clone(m.Result)
	changed := false
	for _, path := range [...]string{"taskId", "task.taskId", "_meta." + gjson.Escape(relatedTask) + ".taskId"} {
		if at := parsed(doc).Get(path); at.Type == gjson.String && at.Str == id {
			doc = append(append(bytes.Clone(doc[:at.Index]), quoted(by)...), doc[at.Index+len(at.Raw):]...)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	made, err := p.made(doc)
	if err == nil {
		*m = made
	}
	return err
}

var errTask = firewall.Refuse(firewall.NotFound, "there is no such task of yours at this gate")

// task makes a request for a task a call. Whether the task may be asked for was
// decided when it began; that its tool may still be used is asked again.
func (v *visit) task(m *Message, call *firewall.Call) (*firewall.Call, firewall.Upstream, *fault) {
	said := parsed(m.Params).Get("taskId")
	none := func() (*firewall.Call, firewall.Upstream, *fault) {
		e := *errTask
		return call, nil, v.fault(&e, m.Method)
	}
	t, err := v.seals.open(said.Str, forTask, principalKey(&v.caller), time.Now())
	if err != nil {
		return none()
	}
	server := v.behind.byName[t.Server]
	if server == nil || v.only != nil && v.only != server {
		return none()
	}
	call.Target, call.Resource, call.Continues = server.Name(), t.Digest, t.Call
	if v.gate.May(&v.caller, firewall.Tool, call.Target, call.Resource) == firewall.No {
		return call, nil, v.fault(firewall.Refuse(firewall.Denied, "the tool of this task is not yours to use any more"), m.Method)
	}
	of := firewall.Call{Kind: firewall.Tool, Resource: call.Resource}
	call.Brings = server.brings(&of)
	rename(&call.Body, said.Index, t.Value)
	p := &passage{visit: v, to: server, client: v.client(server)}
	return call, &errand{p, t.Value, said.Str}, nil
}

// An errand takes a request for a task through to its server.
type errand struct {
	*passage
	theirs, ours string // ids of the task
}

// Forward implements [firewall.Upstream].
func (e *errand) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		info, err := e.to.InfoFor(ctx, e.client)
		if err == nil && (info.Modern != e.modern || parsed(call.Body.JSON).Get("taskId").Str != e.theirs) {
			none := *errTask
			err = &none
		}
		if err != nil {
			yield(firewall.Event{}, err)
			return
		}
		e.out.prime(call.ID) // tasks/result waits for the task
		req := Request{Method: call.Method, Params: json.RawMessage(call.Body.JSON), Modern: e.modern}
		for m, err := range e.carried(ctx, call, req) {
			if err == nil && m.Result != nil {
				if m.IsResponse() && e.modern && parsed(m.Result).Get("inputRequests").Exists() {
					m, err = e.handInput(ctx, call, m)
				}
				if err == nil {
					err = e.restate(&m, e.theirs, e.ours)
				}
			}
			if err == nil {
				err = e.translate(ctx, call, &m)
			}
			if err != nil {
				yield(firewall.Event{}, err)
				return
			}
			if !yield(event(&m), nil) {
				return
			}
		}
	}
}
