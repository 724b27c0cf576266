package mcp

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"callgate/firewall"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// A server that needs input in the course of a call gets it in one of two ways. A
// legacy one asks, and waits. A modern one ends the call with what it needs, and
// the client makes the call again with the answers (MRTR, multi round-trip
// requests). Here each kind of server meets each kind of client.

const (
	maxRounds = 10   // in which a modern server may ask for input, of a legacy client
	maxInputs = 16   // requests for input in one answer
	maxParked = 1000 // calls of one gate that wait for a modern client to come back
)

// What tickets are for.
const (
	forState  = "state"  // a modern server's requestState
	forParked = "parked" // a call to a legacy server that goes on
)

// carried is the messages of the server as the client's era has them: requests by
// the server are answered on the way, or have become the result that asks for
// input.
func (p *passage) carried(ctx context.Context, call *firewall.Call, req Request) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		info, err := p.to.InfoFor(ctx, p.client)
		if err == nil && call.Kind == firewall.Tool && p.modern != info.Modern {
			req.Params, err = untasked(req.Params)
		}
		switch {
		case err != nil:
			yield(Message{}, err)
		case p.parked != nil:
			p.goOn(ctx, call, p.parked, yield)
		case p.modern && !info.Modern && p.client.answers():
			x := p.begin(req)
			p.goOn(ctx, call, x, yield)
		case p.modern:
			for m, err := range p.to.Do(ctx, p.client, req) {
				if err == nil && wantsInput(&m) {
					m, err = p.handInput(ctx, call, m)
				}
				if !yield(m, err) {
					return
				}
			}
		default:
			p.rounds(ctx, call, req, yield)
		}
	}
}

// wantsInput says whether m is a result that asks for input.
func wantsInput(m *Message) bool {
	return m.Result != nil && parsed(m.Result).Get("resultType").Str == "input_required"
}

// rounds carries a call of a legacy client: what the server wants to know on the
// way is asked on the client's stream.
func (p *passage) rounds(ctx context.Context, call *firewall.Call, req Request, yield func(Message, error) bool) {
	for range maxRounds {
		var wanted *Message
		for m, err := range p.to.Do(ctx, p.client, req) {
			switch {
			case err == nil && m.IsRequest():
				p.answerLive(ctx, call, &m)
				continue
			case err == nil && wantsInput(&m):
				wanted = &m
				continue
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
		if wanted == nil {
			return
		}
		params, err := p.gather(ctx, call, req.Params, wanted)
		if err != nil {
			yield(Message{}, err)
			return
		}
		req.Params = params
	}
	yield(Message{}, p.to.unavailable("asks for input again and again", nil))
}

// gather is the parameters of the next round: those of the last one, with what the
// client answers to the requests in wanted.
func (p *passage) gather(ctx context.Context, call *firewall.Call, params []byte, wanted *Message) (json.RawMessage, error) {
	doc := parsed(wanted.Result)
	answers := []byte{'{'}
	err := p.inputs(doc, func(key gjson.Result, method string, body firewall.Body) error {
		var answer []byte
		err := p.ask(ctx, call, method, body, live{p, nil}, func(ev firewall.Event) {
			if ev.Mark != markError {
				answer = ev.Body.JSON
			}
		})
		switch {
		case err == nil && answer == nil:
			return firewall.Refuse(firewall.Canceled, "the client refused what server %s asked for in the course of the call", p.to.Name())
		case err != nil && method == "elicitation/create" && ctx.Err() == nil:
			answer, _ = declined(method, err)
		case err != nil:
			return err
		}
		answers = appendMember(answers, key.Raw, string(answer))
		return nil
	})
	if err != nil {
		return nil, err
	}
	next, err := sjson.SetRawBytes(params, "inputResponses", append(answers, '}'))
	if err != nil {
		return nil, err
	}
	if state := doc.Get("requestState"); state.Exists() {
		return sjson.SetRawBytes(next, "requestState", []byte(state.Raw))
	}
	return sjson.DeleteBytes(next, "requestState")
}

// inputs gives each request for input of a result to f.
func (p *passage) inputs(result gjson.Result, f func(key gjson.Result, method string, body firewall.Body) error) error {
	n := 0
	var err error
	result.Get("inputRequests").ForEach(func(key, value gjson.Result) bool {
		if n++; n > maxInputs {
			err = p.to.unavailable("asks for more input at once than callgate passes on", nil)
			return false
		}
		var body firewall.Body
		if params := value.Get("params"); params.IsObject() {
			body, err = firewall.ParseBody([]byte(params.Raw), p.to.cfg.Limits)
		}
		if err == nil {
			err = f(key, value.Get("method").Str, body)
		}
		return err == nil
	})
	return err
}

// handInput passes the requests for input of a modern server on to a modern
// client, each as a call, and makes the server's state a ticket of the client's.
func (p *passage) handInput(ctx context.Context, call *firewall.Call, m Message) (Message, error) {
	doc := parsed(m.Result)
	asked := []byte{'{'}
	err := p.inputs(doc, func(key gjson.Result, method string, body firewall.Body) error {
		add := func(body firewall.Body) {
			asked = appendMember(asked, key.Raw, `{"method":`+quoted(method)+`,"params":`+string(body.JSON)+`}`)
		}
		id := inputID(key, method, body)
		if went, ok := p.tasks.askedBefore(p.of, id); ok {
			add(went)
			return nil
		}
		return p.ask(ctx, call, method, body, handOver{}, func(ev firewall.Event) {
			add(ev.Body)
			p.tasks.wasAsked(p.of, id, ev.Body)
		})
	})
	if err != nil {
		return m, err
	}
	out := append([]byte(nil), m.Result...)
	if len(asked) > 1 {
		if out, err = sjson.SetRawBytes(out, "inputRequests", append(asked, '}')); err != nil {
			return m, err
		}
	}
	if state := doc.Get("requestState"); state.Type == gjson.String {
		if out, err = sjson.SetBytes(out, "requestState", p.ticket(call, forState, state.Str)); err != nil {
			return m, err
		}
	}
	return p.made(out)
}

// made is a response with a result of callgate's own making.
func (p *passage) made(result []byte) (Message, error) {
	return parseMessage(append(append([]byte(`{"jsonrpc":"2.0","id":1,"result":`), result...), '}'), localLimits)
}

// ticket seals value for the client of call, to be brought back with the same
// request.
func (p *passage) ticket(call *firewall.Call, use, value string) string {
	return p.seals.seal(ticket{
		Use: use, Owner: principalKey(&p.caller), Server: p.to.Name(), Digest: digestOf(call, call.ArgsHash()),
		Value: value, Call: call.ID, Approval: call.Approval, Until: time.Now().Add(stateTime).Unix(),
	})
}

var errState = firewall.Refuse(firewall.Invalid, "params.requestState is not one that this gate gave you for this request, or was used before: begin again without it")

// resume takes up what an earlier request of the client left, if this one brings
// the state of it.
func (p *passage) resume(call *firewall.Call) *fault {
	said := parsed(call.Body.JSON).Get("requestState")
	if !said.Exists() {
		return nil
	}
	hash := ""
	if call.ArgsAt != "" {
		hash = firewall.HashArgs(p.said)
	}
	now := time.Now()
	var t ticket
	var err error
	for _, use := range [...]string{forState, forParked, forPages} {
		if t, err = p.seals.open(said.Str, use, principalKey(&p.caller), now); err == nil {
			break
		}
	}
	if err != nil || t.Server != p.to.Name() || t.Digest != digestOf(call, hash) || !p.seals.spend(said.Str, t, now) {
		e := *errState
		return &fault{Error: &e, status: 200, code: -32602}
	}
	call.Continues, call.Approval = t.Call, t.Approval
	switch t.Use {
	case forState:
		rename(&call.Body, said.Index, t.Value)
		return nil
	case forPages:
		return p.opened(call, t.Value)
	}
	if p.parked = p.exchanges.take(t.Value); p.parked == nil {
		e := *errState
		return &fault{Error: &e, status: 200, code: -32602}
	}
	return nil
}

// An exchange is a call to a legacy server that a modern client makes in several
// requests: in between it is parked.
type exchange struct {
	next   func() (Message, error, bool)
	stop   func()
	cancel context.CancelFunc
	asked  Message // by the server; waits for the client
}

// exchanges is those that are parked.
type exchanges struct {
	mu     sync.Mutex
	parked map[string]*exchange
	timers map[string]*time.Timer
	closed bool
}

// park keeps x until its client comes back, and says whether there is room.
func (e *exchanges) park(id string, x *exchange) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.parked) >= maxParked {
		return false
	}
	if e.parked == nil {
		e.parked, e.timers = make(map[string]*exchange), make(map[string]*time.Timer)
	}
	e.parked[id] = x
	e.timers[id] = time.AfterFunc(stateTime, func() {
		if x := e.take(id); x != nil {
			x.end()
		}
	})
	return true
}

// take is the exchange that is parked under id, nil if it is there no more.
func (e *exchanges) take(id string) *exchange {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.parked[id]
	if x != nil {
		e.timers[id].Stop()
		delete(e.parked, id)
		delete(e.timers, id)
	}
	return x
}

// close ends all that is parked, and parks nothing more.
func (e *exchanges) close() {
	e.mu.Lock()
	e.closed = true
	ids := slices.Collect(maps.Keys(e.parked))
	e.mu.Unlock()
	for _, id := range ids {
		if x := e.take(id); x != nil {
			x.end()
		}
	}
}

func (x *exchange) end() {
	x.asked.refuse()
	x.cancel()
	x.stop()
}

// begin makes a call that may outlive the request that began it.
func (p *passage) begin(req Request) *exchange {
	ctx, cancel := context.WithCancel(context.Background())
	x := &exchange{cancel: cancel}
	x.next, x.stop = iter.Pull2(p.to.Do(ctx, p.client, req))
	return x
}

// goOn takes what the server says until it asks for something, which ends the
// request with a result that asks for input, or has answered.
func (p *passage) goOn(ctx context.Context, call *firewall.Call, x *exchange, yield func(Message, error) bool) {
	unhook := context.AfterFunc(ctx, x.cancel)
	defer unhook()
	if p.parked != nil {
		if err := p.answerParked(call, x); err != nil {
			x.end()
			yield(Message{}, err)
			return
		}
	}
	for {
		m, err, ok := x.next()
		switch {
		case !ok:
			x.end()
			return
		case err == nil && m.IsRequest():
			x.asked = m
			result, err := p.parkFor(ctx, call, x)
			if err != nil { // this request is refused; the call goes on
				x.asked.Answer(declined(m.Method, err))
				continue
			}
			yield(result, nil)
			return
		}
		if !yield(m, err) || err != nil || m.IsResponse() {
			x.end()
			return
		}
	}
}

const parkedKey = "1" // of the one request for input

// parkFor parks a call, and is the result that has the client ask for what the
// server waits for.
func (p *passage) parkFor(ctx context.Context, call *firewall.Call, x *exchange) (Message, error) {
	var asked []byte
	err := p.ask(ctx, call, x.asked.Method, x.asked.Body(), handOver{}, func(ev firewall.Event) { asked = ev.Body.JSON })
	if err != nil {
		return Message{}, err
	}
	id := call.ID
	out := []byte(`{"resultType":"input_required","inputRequests":{"` + parkedKey + `":{"method":` + quoted(x.asked.Method) + `,"params":`)
	out = append(append(out, asked...), `}},"requestState":`+quoted(p.ticket(call, forParked, id))+`}`...)
	m, err := p.made(out)
	if err == nil && !p.exchanges.park(id, x) {
		err = firewall.Refuse(firewall.Exhausted, "too many calls wait for input: try again later")
	}
	return m, err
}

// answerParked gives the server what the client brings.
func (p *passage) answerParked(call *firewall.Call, x *exchange) error {
	answer := parsed(call.Body.JSON).Get("inputResponses." + parkedKey)
	if !answer.IsObject() {
		return firewall.Refuse(firewall.Invalid, "params.inputResponses has no answer to the request for input: begin again")
	}
	x.asked.Answer([]byte(answer.Raw), false)
	return nil
}
