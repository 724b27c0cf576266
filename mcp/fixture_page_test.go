package mcp_test

import "github.com/tidwall/gjson"

// openPage has the user open a page before the tool answers, by a question or, with the
// argument "by", by an error.
func (f *fixture) openPage(m gjson.Result, result func(string), say func(string)) {
	const page = `{"mode":"url","message":"Log in.","elicitationId":"e1","url":"https://files.example/login"}`
	if m.Get("params.arguments.by").Str == "error" {
		say(`{"jsonrpc":"2.0","id":` + m.Get("id").Raw + `,"error":{"code":-32042,"message":"log in first","data":{"elicitations":[` + page + `]}}}`)
		return
	}
	ch := make(chan string, 1)
	f.mu.Lock()
	f.answers[`"page"`] = ch
	f.mu.Unlock()
	say(`{"jsonrpc":"2.0","id":"page","method":"elicitation/create","params":` + page + `}`)
	result(`{"content":[{"type":"text","text":` + gjson.Get(<-ch, "result.action").Raw + `}]}`)
}
