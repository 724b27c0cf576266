package mcp_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a client that has taken the first bytes of a stream and then reads no more:
// a write waits until its deadline, or for ever.
type stuck struct {
	*httptest.ResponseRecorder
	takes    int // writes
	deadline time.Time
	gone     <-chan struct{}
}

func (w *stuck) SetWriteDeadline(until time.Time) error {
	w.deadline = until
	return nil
}

func (w *stuck) Write(b []byte) (int, error) {
	if w.takes--; w.takes >= 0 {
		return w.ResponseRecorder.Write(b)
	}
	if w.deadline.IsZero() {
		<-w.gone
		return 0, os.ErrClosed
	}
	time.Sleep(time.Until(w.deadline))
	return 0, os.ErrDeadlineExceeded
}

func TestAClientThatReadsNoMoreLosesItsStream(t *testing.T) {
	for _, tt := range []struct {
		name, method, path, body string
		session                  bool
	}{
		{"the stream of a session", "GET", "/mcp", "", true},
		{"the stream of a session of HTTP+SSE", "GET", "/sse", "", false},
		{"a subscription", "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{` + modernMeta + `}}}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(rules{})
				r := httptest.NewRequestWithContext(t.Context(), tt.method, "http://localhost"+tt.path, strings.NewReader(tt.body))
				r.Header = http.Header{"Authorization": {"Bearer bot-token"}, "Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"}}
				if tt.session {
					r.Header.Set("Mcp-Session-Id", h.knock("POST", "bot-token", "", hello).Header().Get("Mcp-Session-Id"))
				} else if tt.body != "" {
					r.Header["Mcp-Protocol-Version"], r.Header["Mcp-Method"] = []string{"2026-07-28"}, []string{"subscriptions/listen"}
				}
				w := &stuck{ResponseRecorder: httptest.NewRecorder(), takes: 2, gone: t.Context().Done()}
				began, over := time.Now(), make(chan struct{})
				go func() {
					defer close(over)
					h.door.ServeHTTP(w, r)
				}()
				select {
				case <-over:
				case <-time.After(5 * time.Minute):
					t.Fatal("the stream waits for its client")
				}
				if took := time.Since(began); took < 30*time.Second || w.Code != http.StatusOK || w.Body.Len() == 0 {
					t.Errorf("it ended after %v: HTTP %d %q", took, w.Code, w.Body)
				}
				if got := types(h.log.Records()); !strings.Contains(got, "closed") {
					t.Errorf("on record is %s", got)
				}
			})
		})
	}
}
