package mcp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"callgate/mcp"

	"github.com/tidwall/gjson"
)

const hello = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`

// knock sends one request to the door without a network, so that time can be
// that of synctest.
func (h *house) knock(method, token, session, body string) *httptest.ResponseRecorder {
	return h.knockAs(context.Background(), method, token, session, body)
}

func (h *house) knockAs(ctx context.Context, method, token, session, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, "http://localhost/mcp", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Mcp-Session-Id", session)
	w := httptest.NewRecorder()
	h.door.ServeHTTP(w, r)
	return w
}

const ping = `{"jsonrpc":"2.0","id":7,"method":"ping"}`

func TestASessionEndsWhenItIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(rules{})
		used := h.knock("POST", "bot-token", "", hello).Header().Get("Mcp-Session-Id")
		left := h.knock("POST", "bot-token", "", hello).Header().Get("Mcp-Session-Id")
		if used == left || len(used) < 26 {
			t.Fatalf("sessions %q and %q", used, left)
		}
		time.Sleep(29 * time.Minute)
		if got := h.knock("POST", "bot-token", used, ping).Code; got != http.StatusOK {
			t.Errorf("a session in use: HTTP %d", got)
		}
		time.Sleep(2 * time.Minute)
		if got := h.knock("POST", "bot-token", left, ping).Code; got != http.StatusNotFound {
			t.Errorf("a session that was left alone: HTTP %d", got)
		}
		if got := h.knock("POST", "bot-token", used, ping).Code; got != http.StatusOK {
			t.Errorf("a session in use: HTTP %d", got)
		}
	})
}

func TestAnAgentWithTooManySessionsLosesItsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(rules{})
		others := h.knock("POST", "other-token", "", hello).Header().Get("Mcp-Session-Id")
		var ids []string
		for range 100 {
			ids = append(ids, h.knock("POST", "bot-token", "", hello).Header().Get("Mcp-Session-Id"))
			time.Sleep(time.Millisecond)
		}
		h.knock("POST", "bot-token", ids[0], ping)
		h.knock("POST", "bot-token", "", hello)
		for i, want := range map[int]int{0: 200, 1: 404, 2: 200, 99: 200} {
			if got := h.knock("POST", "bot-token", ids[i], ping).Code; got != want {
				t.Errorf("session %d: HTTP %d, want %d", i, got, want)
			}
		}
		if got := h.knock("POST", "other-token", others, ping).Code; got != http.StatusOK {
			t.Errorf("the session of another agent: HTTP %d", got)
		}
		ctx, leave := context.WithCancel(t.Context())
		for range 100 { // now all are in use
			id := h.knock("POST", "bot-token", "", hello).Header().Get("Mcp-Session-Id")
			go h.knockAs(ctx, "GET", "bot-token", id, "")
			synctest.Wait()
		}
		if w := h.knock("POST", "bot-token", "", hello); gjson.Get(w.Body.String(), "error.code").Int() != 429 {
			t.Errorf("one more session: HTTP %d %s", w.Code, w.Body)
		}
		leave()
		synctest.Wait()
		if w := h.knock("POST", "bot-token", "", hello); w.Header().Get("Mcp-Session-Id") == "" {
			t.Errorf("one more session after they are free: HTTP %d %s", w.Code, w.Body)
		}
	})
}

// hanging is an upstream whose tool refund answers only when it is told to, or
// nobody waits any more.
func hanging() (up *upstream, began, gone chan string) {
	up = shop()
	began, gone = make(chan string, 100), make(chan string, 100)
	up.handle = func(w http.ResponseWriter, r *http.Request, m gjson.Result) bool {
		if m.Get("method").Str != "tools/call" {
			return false
		}
		began <- m.Get("id").Raw
		<-r.Context().Done()
		gone <- m.Get("id").Raw
		return true
	}
	return up, began, gone
}

func TestACallEndsWithWhomItWasFor(t *testing.T) {
	const use = `{"jsonrpc":"2.0","id":"a\u0062c","method":"tools/call","params":{"name":"shop__refund"}}`
	for _, tt := range []struct {
		name string
		end  func(a *byHand, hangUp context.CancelFunc)
	}{
		{"the client hangs up", func(_ *byHand, hangUp context.CancelFunc) { hangUp() }},
		{"the client cancels it", func(a *byHand, _ context.CancelFunc) {
			a.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"abc","reason":"changed my mind"}}`)
		}},
		{"the client ends the session", func(a *byHand, _ context.CancelFunc) {
			if r := a.do("DELETE", ""); r.status != http.StatusNoContent || r.header.Get("Callgate-Call") == "" {
				t.Errorf("DELETE: HTTP %d %s", r.status, r.body)
			}
			if r := a.post(ping); r.status != http.StatusNotFound {
				t.Errorf("after DELETE: HTTP %d %s", r.status, r.body)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up, began, gone := hanging()
			h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
			a := h.visit(t, "/mcp").legacy("2025-06-18")
			stranger := h.visit(t, "/mcp", "Authorization", "Bearer other-token").legacy("2025-06-18")
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			done := make(chan int, 1)
			go func() {
				resp, err := a.send(ctx, "POST", use)
				if err != nil {
					done <- 0
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				done <- resp.StatusCode
			}()
			<-began
			for _, not := range []*byHand{stranger, a} { // another's call of this id, and one of another id
				not.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + map[bool]string{true: `"abc"`, false: `7`}[not == stranger] + `}}`)
			}
			select {
			case <-gone:
				t.Fatal("the call ended for a stranger")
			default:
			}
			tt.end(a, hangUp)
			<-gone
			if status := <-done; status != 0 && status != http.StatusAccepted {
				t.Errorf("HTTP %d to a call that nobody waits for", status)
			}
			h.log.await(t, "closed:canceled")
		})
	}
}

func TestABatchIsAnsweredWhole(t *testing.T) {
	up := shop()
	h := open(t, rules{"tool:shop/drop"}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
	a := h.visit(t, "/mcp").legacy("2025-03-26")
	const batch = `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/progress"},
		{"jsonrpc":"2.0","id":"two","method":"tools/call","params":{"name":"shop__refund"}},
		{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"shop__drop"}},{"jsonrpc":"2.0","id":4,"method":"nope"}]`
	for name, accept := range map[string]string{"as one document": "application/json", "as a stream": "application/json, text/event-stream"} {
		t.Run(name, func(t *testing.T) {
			before := len(h.log.Records())
			r := a.with("Accept", accept).post(batch)
			doc := r.body
			if accept != "application/json" {
				doc = "[" + strings.Join(r.messages(), ",") + "]"
			}
			got := gjson.Parse(doc)
			if ids := got.Get("#.id").Raw; r.status != http.StatusOK || strings.Join(strings.Fields(ids), "") != `[1,"two",3,4]` {
				t.Fatalf("HTTP %d, ids %s of %s", r.status, ids, r.body)
			}
			if !got.Get("0.result").Exists() || got.Get("1.result.content.0.text").Str != "paid" || !got.Get("2.result.isError").Bool() || got.Get("3.error.code").Int() != -32601 {
				t.Errorf("answers = %s", doc)
			}
			if got := types(h.log.Records()[before:]); got != "closed:ok opened closed:ok refused:denied refused:not_found" {
				t.Errorf("records = %s", got)
			}
		})
	}
	if r := a.post(`[{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","id":1,"result":{}}]`); r.status != http.StatusAccepted || r.body != "" {
		t.Errorf("a batch without requests: HTTP %d %q", r.status, r.body)
	}
}

func TestWhatWantsNoAnswerIsAccepted(t *testing.T) {
	h := open(t, rules{}, nil)
	for _, version := range eras {
		a := h.visit(t, "/mcp").speak(version)
		for _, body := range []string{
			`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`,
			`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}`,
			`{"jsonrpc":"2.0","method":"notifications/cancelled"}`,
			`{"jsonrpc":"2.0","id":1,"result":{}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}`,
		} {
			if r := a.post(body); r.status != http.StatusAccepted || r.body != "" {
				t.Errorf("%s to %s: HTTP %d %q", body, version, r.status, r.body)
			}
		}
	}
}

func TestASessionIsNotBegunIfThatCannotBeRecorded(t *testing.T) {
	h := open(t, rules{}, nil)
	h.log.Fail(fmt.Errorf("no space left on device"))
	r := h.visit(t, "/mcp").post(hello)
	if r.last("error.code").Int() != 503 || r.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("HTTP %d %v %s", r.status, r.header, r.body)
	}
}

func TestABodyThatBreaksOffIsOnRecord(t *testing.T) {
	h := build(rules{})
	session := h.knock("POST", "bot-token", "", hello).Header().Get("Mcp-Session-Id")
	for _, length := range []int64{100, 100 << 10, -1} {
		r := httptest.NewRequest("POST", "http://localhost/mcp", io.MultiReader(strings.NewReader(ping[:20]), iotest.ErrReader(io.ErrUnexpectedEOF)))
		r.ContentLength = length
		r.Header.Set("Authorization", "Bearer bot-token")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Mcp-Session-Id", session)
		w := httptest.NewRecorder()
		h.door.ServeHTTP(w, r)
		records := h.log.Records()
		if last := records[len(records)-1]; w.Code != http.StatusBadRequest || last.Outcome != "invalid" || last.Fault != "unexpected EOF" {
			t.Errorf("HTTP %d %s, record %+v", w.Code, w.Body, last)
		}
	}
}
