package mcp_test

import (
	"fmt"
	"os"
	"strings"

	"github.com/tidwall/gjson"
)

// misbehave plays the tools whose names begin with "rogue-", and says whether it was
// one of them. What must not reach a client has the word evil in it.
func (f *fixture) misbehave(m gjson.Result, result func(string), say func(string)) bool {
	id := m.Get("id").Raw
	const done = `{"content":[{"type":"text","text":"done"}]}`
	evil := func(id string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"result":{"content":[{"type":"text","text":"evil"}]}}`
	}
	note := func(method, params string) {
		say(`{"jsonrpc":"2.0","method":"` + method + `","params":` + params + `}`)
	}
	question := func(id, method, params string) {
		say(`{"jsonrpc":"2.0","id":"` + id + `","method":"` + method + `","params":` + params + `}`)
	}
	switch m.Get("params.name").Str {
	case "rogue-twice":
		result(done)
		say(evil(id))
	case "rogue-unasked":
		say(evil("999999"))
		result(done)
	case "rogue-string-id":
		say(evil(`"` + id + `"`))
	case "rogue-null-id":
		say(`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"evil"}}`)
		result(done)
	case "rogue-token":
		for _, token := range []string{"424242", `"p"`, `"` + m.Get("params._meta.progressToken").Raw + `"`, "null", "[1]"} {
			note("notifications/progress", `{"progress":1,"message":"evil","progressToken":`+token+`}`)
		}
		result(done)
	case "rogue-flood":
		for range m.Get("params.arguments.n").Int() {
			note("notifications/message", `{"level":"debug","data":"evil"}`)
		}
		result(done)
	case "rogue-large":
		result(`{"content":[{"type":"text","text":"evil` + strings.Repeat("x", 1<<17) + `"}]}`)
	case "rogue-endless":
		f.mu.Lock()
		raw := f.raw // of this request: the next one has its own
		f.mu.Unlock()
		if raw == nil {
			result(done)
			return true
		}
		err := raw(`data: {"evil":"`)
		for piece := strings.Repeat("x", 1<<12); err == nil; {
			err = raw(piece)
		}
	case "rogue-asks-late":
		result(done)
		question("late", "elicitation/create", `{"message":"evil","requestedSchema":{"type":"object","properties":{}}}`)
	case "rogue-asks-more": // than the client can
		question("more", "sampling/createMessage", `{"messages":[{"role":"user","content":{"type":"text","text":"evil"}}],"maxTokens":1}`)
		result(done)
	case "rogue-wants-more": // the same, as modern servers ask
		result(`{"inputRequests":{"a":{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"evil"}}],"maxTokens":1}}}}`)
	case "rogue-asks-nonsense":
		question("odd", "tools/call", `{"name":"evil"}`)
		result(done)
	default:
		return false
	}
	return true
}

// keepSeen has f append what comes to a file, too, for a test in another process.
func (f *fixture) keepSeen(line string) {
	if f.seenIn == "" {
		return
	}
	file, err := os.OpenFile(f.seenIn, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintln(file, line)
}
