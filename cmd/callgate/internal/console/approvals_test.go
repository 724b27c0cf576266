package console_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"callgate/cmd/callgate/internal/console"
	"callgate/firewall"
)

func TestPeopleDecideAboutCallsThatAreHeld(t *testing.T) {
	d := newDesk(t)
	body, err := firewall.ParseBody([]byte(`{"arguments":{"amount":7}}`), firewall.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	call := &firewall.Call{Kind: firewall.Tool, Target: "shop", Method: "tools/call", Resource: "pay", Token: "x", Body: body, ArgsAt: "arguments"}
	var e *firewall.Error
	if err := d.gate.Do(context.Background(), call, nil, nil); !errors.As(err, &e) || e.Code != firewall.Pending {
		t.Fatalf("the call: %v", err)
	}
	_, text := d.ask("GET", "/api/v1/approvals", "", nil)
	var list []console.Approval
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	a := list[0]
	if a.ID != e.Approval || a.State != "asked" || a.Agent != "agent:bot" || a.Object != "tool:shop/pay" || string(a.Args) != `{"amount":7}` || a.Rule != "R2" || a.Call != call.ID || a.Groups[0] != "group:finance" {
		t.Errorf("%+v", a)
	}
	path := "/api/v1/approvals/" + a.ID
	for _, tt := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"one of a state that is none", "GET", "/api/v1/approvals?state=maybe", "", http.StatusBadRequest},
		{"a parameter that is none", "GET", "/api/v1/approvals?agent=bot", "", http.StatusBadRequest},
		{"those of another state", "GET", "/api/v1/approvals?state=used", "", http.StatusOK},
		{"one that is not there", "GET", "/api/v1/approvals/none", "", http.StatusNotFound},
		{"it", "GET", path, "", http.StatusOK},
		{"neither yes nor no", "POST", path, `{"decision":"perhaps","by":"user:ana"}`, http.StatusBadRequest},
		{"nobody", "POST", path, `{"decision":"approve"}`, http.StatusBadRequest},
		{"an agent", "POST", path, `{"decision":"approve","by":"agent:bot"}`, http.StatusBadRequest},
		{"who is not in the group", "POST", path, `{"decision":"approve","by":"user:eve"}`, http.StatusForbidden},
		{"about nothing", "POST", "/api/v1/approvals/none", `{"decision":"approve","by":"user:ana"}`, http.StatusNotFound},
		{"yes", "POST", path, `{"decision":"approve","by":"user:ana","note":"fine"}`, http.StatusOK},
		{"yes again", "POST", path, `{"decision":"approve","by":"user:ana"}`, http.StatusConflict},
		{"no after all", "POST", path, `{"decision":"deny","by":"user:ana"}`, http.StatusOK},
	} {
		if got, text := d.ask(tt.method, tt.path, tt.body, nil); got != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.name, got, text, tt.want)
		}
	}
}
