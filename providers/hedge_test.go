package providers_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"callgate/audit"
	"callgate/providers"
)

// hangs says nothing until its client has gone.
func hangs(gone chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		if gone != nil {
			gone <- struct{}{}
		}
	}
}

// after answers late.
func after(d time.Duration, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(d)
		h(w, r)
	}
}

func triesOf(h *house) (list []string, last audit.Record) {
	for _, r := range h.records() {
		if r.Type == audit.Closed {
			last = r
		}
	}
	for _, a := range last.Attempts {
		list = append(list, a.Target+":"+a.Fault)
	}
	return list, last
}

func TestASecondTargetIsAskedWhileTheFirstSaysNothing(t *testing.T) {
	good := func(name string) http.HandlerFunc { return says(200, fmt.Sprintf(said, name)) }
	hello := streams(false, piece(`{"role":"assistant","content":""}`), piece(`{"content":"hello from b"}`))
	stream := strings.Replace(askFast, "{", `{"stream":true,`, 1)
	for _, c := range []struct {
		name  string
		hedge providers.Hedge
		a, b  http.HandlerFunc
		ask   string
		want  string
		tries string
	}{
		{"the first is in time", providers.Hedge{After: time.Minute}, good("a"), good("b"), askFast, "hello from a", "[a:]"},
		{"the second is faster", providers.Hedge{After: 20 * time.Millisecond}, hangs(nil), good("b"), askFast, "hello from b", "[a:slower b:]"},
		{"the second is faster, streamed", providers.Hedge{After: 20 * time.Millisecond}, hangs(nil), hello, stream, "hello from b", "[a:slower b:]"},
		{"the first is faster after all", providers.Hedge{After: 20 * time.Millisecond}, after(100*time.Millisecond, good("a")), hangs(nil), askFast, "hello from a", "[b:slower a:]"},
		{"the first fails meanwhile", providers.Hedge{After: 20 * time.Millisecond}, after(60*time.Millisecond, says(503, busy)), after(120*time.Millisecond, good("b")), askFast, "hello from b", "[a:http 503 b:]"},
		{"the second fails meanwhile", providers.Hedge{After: 20 * time.Millisecond}, after(150*time.Millisecond, good("a")), says(503, busy), askFast, "hello from a", "[b:http 503 a:]"},
		{"the first fails before", providers.Hedge{After: time.Minute}, says(503, busy), good("b"), askFast, "hello from b", "[a:http 503 b:]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := routedAs(t, providers.Model{Hedge: c.hedge}, nil, []http.HandlerFunc{c.a}, []http.HandlerFunc{c.b})
			resp, body := post(t, h.url(t), "/v1/chat/completions", c.ask)
			if resp.StatusCode != 200 || !strings.Contains(body, c.want) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if via, want := resp.Header.Get("Callgate-Model"), strings.TrimPrefix(c.want, "hello from "); via != want+"/m-"+want {
				t.Errorf("the answer says that it is of %q", via)
			}
			tries, last := triesOf(h)
			if fmt.Sprint(tries) != c.tries {
				t.Errorf("tries %v, want %s", tries, c.tries)
			}
			for _, a := range last.Attempts {
				if a.Fault == "slower" && a.Usage == nil {
					t.Errorf("what %s took is on no bill: %+v", a.Target, a)
				}
			}
		})
	}
}

func TestBothFail(t *testing.T) {
	h, _ := routedAs(t, providers.Model{Hedge: providers.Hedge{After: 10 * time.Millisecond}}, nil, []http.HandlerFunc{after(50*time.Millisecond, says(503, busy))}, []http.HandlerFunc{after(80*time.Millisecond, says(400, yourFault))})
	resp, body := post(t, h.url(t), "/v1/chat/completions", askFast)
	if resp.StatusCode != 400 || !strings.Contains(body, "no such parameter") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestHedgesHaveACap(t *testing.T) {
	slow := after(60*time.Millisecond, says(200, fmt.Sprintf(said, "a")))
	h, targets := routedAs(t, providers.Model{Hedge: providers.Hedge{After: 10 * time.Millisecond, Percent: 10}}, nil, []http.HandlerFunc{slow}, []http.HandlerFunc{hangs(nil)})
	url := h.url(t)
	for range 12 {
		post(t, url, "/v1/chat/completions", askFast)
	}
	if n := targets["b"].asked.Load(); n != 2 { // the first one, and one of ten
		t.Errorf("%d of 12 calls were hedged, want 2", n)
	}
}

// Nothing is left running when one of two has won, or the client has gone.
func TestAHedgeLeavesNothingBehind(t *testing.T) {
	gone := make(chan struct{}, 20)
	h, _ := routedAs(t, providers.Model{Hedge: providers.Hedge{After: 5 * time.Millisecond, Percent: 100}}, nil, []http.HandlerFunc{hangs(gone)}, []http.HandlerFunc{says(200, fmt.Sprintf(said, "b"))})
	url := h.url(t)
	before := 0
	for i := range 10 {
		post(t, url, "/v1/chat/completions", askFast)
		select {
		case <-gone:
		case <-time.After(5 * time.Second):
			t.Fatal("the loser goes on")
		}
		if i == 2 {
			before = runtime.NumGoroutine()
		}
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
