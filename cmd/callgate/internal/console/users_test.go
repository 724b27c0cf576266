package console_test

import (
	"strings"
	"testing"
)

func TestTheRegistryIsChangedAndAsked(t *testing.T) {
	d := newDesk(t)
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"an agent with all that there is", "POST", "/api/v1/agents", `{"name":"bot","owner":"user:ana","environment":"prod","models":["lab/*"],"servers":["shop"],"expires":"2999-01-01T00:00:00Z"}`, 201, `"client_id":"bot"`},
		{"one that would have expired already", "POST", "/api/v1/agents", `{"name":"late","expires":"2001-01-01T00:00:00Z"}`, 400, "expired already"},
		{"a time that is none", "POST", "/api/v1/agents", `{"name":"late","expires":"tomorrow"}`, 400, "is no time"},
		{"a pattern that is none", "POST", "/api/v1/agents", `{"name":"wide","models":["*"]}`, 400, "PROVIDER/MODEL"},
		{"a pattern with a star in the middle", "POST", "/api/v1/agents", `{"name":"wide","models":["lab/*x"]}`, 400, "PROVIDER/MODEL"},
		{"a server that is none", "POST", "/api/v1/agents", `{"name":"wide","servers":["shop/*"]}`, 400, "name of an MCP server"},
		{"keys that are none", "POST", "/api/v1/agents", `{"name":"keyed","keys":"ssh-rsa AAAA"}`, 400, "want a JWK Set, or PEM"},
		{"keys at an address in clear", "POST", "/api/v1/agents", `{"name":"keyed","jwks_uri":"http://keys.example/jwks"}`, 400, "want an https URL"},
		{"one more, for the pages", "POST", "/api/v1/agents", `{"name":"cat"}`, 201, `"client_id":"cat"`},
		{"the first page", "GET", "/api/v1/agents?limit=1", "", 200, `[{"name":"bot"`},
		{"the next", "GET", "/api/v1/agents?limit=1&after=bot", "", 200, `[{"name":"cat"`},
		{"what is behind the last", "GET", "/api/v1/agents?after=cat", "", 200, "[]"},
		{"a page that is too long", "GET", "/api/v1/agents?limit=1001", "", 400, "from 1 to 1000"},
		{"a parameter that is not known", "GET", "/api/v1/agents?status=active", "", 400, "after and limit"},
		{"a change", "PATCH", "/api/v1/agents/bot", `{"environment":"dev","models":[],"by":"user:ben"}`, 200, `"environment":"dev","servers":["server:shop"]`},
		{"a change by nobody that there could be", "PATCH", "/api/v1/agents/bot", `{"environment":"dev","by":"ben"}`, 400, "user:ana"},
		{"a change of what cannot be changed", "PATCH", "/api/v1/agents/bot", `{"status":"active"}`, 400, "status"},
		{"a new secret", "POST", "/api/v1/agents/bot/rotate", `{"overlap":"1h"}`, 200, `"client_secret":"`},
		{"an overlap that is too long", "POST", "/api/v1/agents/bot/rotate", `{"overlap":"9000h"}`, 400, "at most 720h"},
		{"an agent is suspended", "POST", "/api/v1/agents/bot/suspend", "", 200, `"status":"suspended"`},
		{"it gets no tokens", "POST", "/api/v1/agents/bot/token", "", 409, "until it is resumed"},
		{"it is resumed", "POST", "/api/v1/agents/bot/resume", `{"by":"user:ben"}`, 200, `"status":"active"`},
		{"a user leaves, as it would be", "POST", "/api/v1/users/ana/offboard", `{"dry_run":true}`, 200, `{"user":"user:ana","status":"offboarded","agents":["bot"],"dry_run":true}`},
		{"nothing has changed", "GET", "/api/v1/agents/bot", "", 200, `"status":"active"`},
		{"nobody is known yet", "GET", "/api/v1/users", "", 200, "[]"},
		{"an unknown user", "GET", "/api/v1/users/ana", "", 404, "user list"},
		{"a user that is no user", "POST", "/api/v1/users/agent:bot/offboard", "", 400, `"code":"invalid"`},
		{"a user leaves", "POST", "/api/v1/users/user:ana/offboard", `{"by":"user:ben"}`, 200, `"agents":["bot"]`},
		{"twice is no error", "POST", "/api/v1/users/ana/offboard", "", 200, `"agents":[]`},
		{"and does not come back", "POST", "/api/v1/users/ana/resume", "", 409, "was offboarded"},
		{"the agents are stopped", "GET", "/api/v1/agents/bot", "", 200, `"status":"suspended"`},
		{"an agent is retired", "POST", "/api/v1/agents/bot/retire", "", 200, `"status":"retired"`},
		{"for good", "POST", "/api/v1/agents/bot/resume", "", 409, "for good"},
		{"nothing is reused", "GET", "/api/v1/identity/reuse", "", 200, "[]"},
		{"groups", "GET", "/api/v1/groups", "", 200, "[]"},
		{"nobody is suspended", "POST", "/api/v1/agents/nobody/suspend", "", 404, "not_found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if status, body := d.ask(test.method, test.path, test.body, nil); status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}
