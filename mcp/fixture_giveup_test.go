package mcp_test

import (
	"os"

	"github.com/tidwall/gjson"
)

// giveUp asks the user something, and waits for a call of the tool give-up rather than
// for an answer. Then it answers itself or, with the argument "die", ends.
func (f *fixture) giveUp(args gjson.Result, result func(string), say func(string)) {
	ch := make(chan string, 1)
	f.mu.Lock()
	f.answers["give up"] = ch
	f.mu.Unlock()
	say(`{"jsonrpc":"2.0","id":"patience","method":"elicitation/create","params":{"message":"Well?","requestedSchema":{"type":"object","properties":{}}}}`)
	<-ch
	if args.Get("die").Bool() {
		os.Exit(3)
	}
	result(`{"content":[{"type":"text","text":"done"}]}`)
}
