package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"callgate/firewall"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
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

// taskID is the id of the task that a result says has begun. A result that has
// content is that of the tool, whatever else it says.
func (p *passage) taskID(result gjson.Result) (id gjson.Result, ok bool) {
	if p.modern {
		if result.Get("resultType").Str == "task" {
			id = result.Get("taskId")
		}
	} else if id = result.Get("task.taskId"); id.Exists() && (result.Get("content").Exists() || result.Get("structuredContent").Exists()) {
		return id, false
	}
	return id, id.Type == gjson.String
}

// begun gives the client a ticket for the task that the answer to call says has
// begun, if it says so.
func (p *passage) begun(call *firewall.Call, m *Message) error {
	id, ok := p.taskID(parsed(m.Result))
	if !ok {
		return nil
	}
	p.shape = nil // the result comes later
	for _, o := range call.Decision.Obligations {
		if o.Do == firewall.Redact && strings.Contains(o.With, "result.") {
			return &firewall.Error{Code: firewall.Denied, Rule: o.Rule, Reason: "rule " + o.Rule + " takes values out of the result of " + call.Object() + ", which callgate cannot do for a task: call it without one"}
		}
	}
	until, theirs := time.Now().Add(taskTime), strings.Clone(id.Str)
	sealed := p.seals.seal(ticket{
		Use: forTask, Owner: principalKey(&p.caller), Server: p.to.Name(), Digest: call.Resource,
		Value: theirs, Call: call.ID, Until: until.Unix(),
	})
	p.tasks.add(principalKey(&p.caller), &begun{server: p.to.Name(), tool: strings.Clone(call.Resource), theirs: theirs, ours: sealed, until: until})
	return p.restate(m, theirs, sealed)
}

// taskIDs is where a result has the id of its task; the last one is there in all
// kinds of messages.
var taskIDs = [...]string{"taskId", "task.taskId", "_meta." + gjson.Escape(relatedTask) + ".taskId"}

// restated is a document with one id of a task in the place of another, nil if it
// has it at none of paths.
func restated(doc []byte, id, by string, paths ...string) []byte {
	var out []byte
	for _, path := range paths {
		if at := parsed(doc).Get(path); at.Type == gjson.String && at.Str == id {
			out = append(append(bytes.Clone(doc[:at.Index]), quoted(by)...), doc[at.Index+len(at.Raw):]...)
			doc = out
		}
	}
	return out
}

// restate puts one id of a task in the place of another, wherever m has it.
func (p *passage) restate(m *Message, id, by string) error {
	var made Message
	var err error
	switch {
	case m.Result != nil:
		doc := restated(m.Result, id, by, taskIDs[:]...)
		if doc == nil {
			return nil
		}
		made, err = p.made(doc)
	case m.Method != "" && m.Params != nil:
		doc := restated(m.Params, id, by, taskIDs[len(taskIDs)-1])
		if doc == nil {
			return nil
		}
		made, err = parseMessage(request(0, m.Method, doc), localLimits)
	}
	if err == nil && made.Raw != nil {
		*m = made
	}
	return err
}

// asTask is what a server asks in the course of a task, with the id that the client
// has for that.
func (p *passage) asTask(body firewall.Body) (firewall.Body, error) {
	if p.theirs == "" || body.JSON == nil {
		return body, nil
	}
	doc := restated(body.JSON, p.theirs, p.ours, taskIDs[len(taskIDs)-1])
	if doc == nil {
		return body, nil
	}
	return firewall.ParseBody(doc, localLimits)
}

var errTask = firewall.Refuse(firewall.NotFound, "there is no such task of yours at this gate")

// task makes a request for a task a call. Whether the task may be asked for was
// decided when it began; that its tool may still be used is asked again.
func (v *visit) task(ctx context.Context, m *Message, call *firewall.Call) (*firewall.Call, firewall.Upstream, *fault) {
	if v.modern && !parsed([]byte(v.said)).Get("extensions."+gjson.Escape(tasksExtension)).Exists() {
		f := invalid("only a client that declares the extension %s can ask for tasks", tasksExtension)
		f.Err = lacking(`{"extensions":{"` + tasksExtension + `":{}}}`)
		f.lacked()
		return call, nil, f
	}
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
	server.label(&of, nil)
	call.Brings, call.Trusted = of.Brings, of.Trusted
	rename(&call.Body, said.Index, t.Value)
	p := &passage{visit: v, to: server, client: v.client(server), theirs: t.Value, ours: strings.Clone(said.Str)}
	p.of = v.tasks.find(principalKey(&v.caller), said.Str)
	if f := p.shaped(ctx, call); f != nil {
		return call, nil, f
	}
	return call, &errand{p}, nil
}

// shaped finds what the tool of a task says of its results. A tool whose definition
// is withheld gives none any more.
func (p *passage) shaped(ctx context.Context, call *firewall.Call) *fault {
	if call.Method == "tasks/cancel" { // which must stay possible
		return nil
	}
	of := firewall.Call{Kind: firewall.Tool, Target: call.Target, Resource: call.Resource, Method: call.Method}
	if f := p.find(ctx, &of); f != nil || p.def == nil {
		return f
	}
	p.shape = p.def.shape
	p.shape.read()
	return nil
}

// untasked is the parameters of a call without the wish that it be a task of
// 2025-11-25, for a client and a server of two kinds. The extension has no such wish.
func untasked(params json.RawMessage) (json.RawMessage, error) {
	if !parsed(params).Get("task").Exists() {
		return params, nil
	}
	return sjson.DeleteBytes(params, "task")
}

// An errand takes a request for a task through to its server.
type errand struct{ *passage }

// givesTask refuses the result of a task that does not fit what its tool says that
// it answers.
func (e *errand) givesTask(call *firewall.Call, m *Message) error {
	switch {
	case m.Result == nil:
		return nil
	case call.Method == "tasks/result":
		return e.gives(m)
	case call.Method == "tasks/get" && e.modern:
		if result := parsed(m.Result).Get("result"); result.IsObject() {
			return e.gives(&Message{Result: json.RawMessage(result.Raw)})
		}
	}
	return nil
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
			if err == nil && m.Result != nil && e.modern && parsed(m.Result).Get("inputRequests").Exists() {
				m, err = e.handInput(ctx, call, m)
			}
			if err == nil {
				m, err = e.pages(ctx, call, m)
			}
			if err == nil {
				err = e.givesTask(call, &m)
			}
			if err == nil {
				err = e.restate(&m, e.theirs, e.ours)
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
