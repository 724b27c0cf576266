package mcp

import (
	"errors"
	"net/http"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// A lacking is a capability, as the client would declare it, that a server counts on
// and the client has not declared.
type lacking string

func (l lacking) Error() string { return "the client has not declared " + string(l) }

// lacks is what the client has not declared of what a question needs, "" if it has
// declared all.
func lacks(declared, method string, params []byte) lacking {
	can, asked := parsed([]byte(declared)), parsed(params)
	switch method {
	case "sampling/createMessage":
		switch sampling := can.Get("sampling"); {
		case !sampling.Exists():
			return `{"sampling":{}}`
		case (asked.Get("tools").Exists() || asked.Get("toolChoice").Exists()) && !sampling.Get("tools").Exists():
			return `{"sampling":{"tools":{}}}`
		}
	case "elicitation/create":
		elicitation := can.Get("elicitation")
		form, url := elicitation.Get("form").Exists(), elicitation.Get("url").Exists()
		switch {
		case !elicitation.Exists():
			return `{"elicitation":{}}`
		case asked.Get("mode").Str == "url" && !url:
			return `{"elicitation":{"url":{}}}`
		case asked.Get("mode").Str != "url" && url && !form: // {} is forms alone
			return `{"elicitation":{"form":{}}}`
		}
	case "roots/list":
		if !can.Get("roots").Exists() {
			return `{"roots":{}}`
		}
	}
	return ""
}

// mayAsk refuses a question that the client has not said it takes.
func (p *passage) mayAsk(ask *firewall.Call) error {
	what := lacks(p.visit.said, ask.Method, ask.Body.JSON)
	if what == "" {
		return nil
	}
	return &firewall.Error{Code: firewall.NotFound, Reason: "server " + p.to.Name() + " asks for what the client has not declared that it can do: " + capabilityIn(what), Err: what}
}

// capabilityIn is the name of a capability.
func capabilityIn(l lacking) (name string) {
	parsed([]byte(l)).ForEach(func(key, _ gjson.Result) bool {
		name = key.Str
		return false
	})
	return name
}

// lacked says in the words of the modern era, which has some for it, that a call
// cannot be made by this client.
func (f *fault) lacked() {
	var l lacking
	if errors.As(f.Error, &l) {
		f.status, f.code, f.result = http.StatusBadRequest, mcpgo.MISSING_REQUIRED_CLIENT_CAPABILITY, false
		f.data = `"requiredCapabilities":` + string(l)
	}
}
