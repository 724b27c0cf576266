package demo_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"callgate/cmd/callgate/internal/demo"
)

// Without a gate, the agent, the model and the shop work and nothing holds them
// back: what is held, refused and masked in the demo is the gate's doing.
func TestWithoutAGateTheThiefIsPaidAndTheKeyIsSeen(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, r *http.Request) {
		if name, secret, _ := r.BasicAuth(); name != "clerk" || secret != "s" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		w.Write([]byte(`{"access_token":"key"}`))
	})
	mux.Handle("/v1/", demo.Model("key"))
	mux.Handle("/mcp", demo.Shop())
	s := httptest.NewServer(mux)
	defer s.Close()
	var story strings.Builder
	agent := demo.Agent{Gate: s.URL, Name: "clerk", Secret: "s", Model: "m", Say: func(format string, args ...any) {
		story.WriteString(strings.TrimSpace(format) + "\n")
		for _, a := range args {
			if text, ok := a.(string); ok {
				story.WriteString(text + "\n")
			}
		}
	}}
	last, err := agent.Run(context.Background(), "Ana's order came broken.")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(last, "paid back 250 euros") {
		t.Errorf("last words: %s", last)
	}
	if !strings.Contains(story.String(), "paid 90 euros to "+demo.Thief) {
		t.Errorf("the thief is not paid:\n%s", &story)
	}
	if !strings.Contains(story.String(), "sk_"+"live_") {
		t.Errorf("the key is not in the story:\n%s", &story)
	}
}

func TestTheModelWantsItsKey(t *testing.T) {
	s := httptest.NewServer(demo.Model("key"))
	defer s.Close()
	res, err := http.Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s", res.Status)
	}
}
