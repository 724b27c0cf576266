package mcp

import "testing"

func TestAQuestionNeedsWhatTheClientDeclared(t *testing.T) {
	const form, url = `{"message":"m","requestedSchema":{}}`, `{"mode":"url","message":"m","url":"https://x.example"}`
	for _, tt := range []struct {
		name, declared, method, params string
		want                           lacking
	}{
		{"nothing is declared", ``, "roots/list", `{}`, `{"roots":{}}`},
		{"roots", `{"roots":{}}`, "roots/list", `{}`, ""},
		{"no model", `{"roots":{}}`, "sampling/createMessage", `{}`, `{"sampling":{}}`},
		{"a model", `{"sampling":{}}`, "sampling/createMessage", `{"maxTokens":1}`, ""},
		{"a model with tools, where it takes none", `{"sampling":{}}`, "sampling/createMessage", `{"tools":[]}`, `{"sampling":{"tools":{}}}`},
		{"a model's choice of tools, where it takes none", `{"sampling":{}}`, "sampling/createMessage", `{"toolChoice":{}}`, `{"sampling":{"tools":{}}}`},
		{"a model with tools", `{"sampling":{"tools":{}}}`, "sampling/createMessage", `{"tools":[]}`, ""},
		{"no user", `{}`, "elicitation/create", form, `{"elicitation":{}}`},
		{"a form, where no kind is named", `{"elicitation":{}}`, "elicitation/create", form, ""},
		{"a form", `{"elicitation":{"form":{}}}`, "elicitation/create", form, ""},
		{"a form, where pages alone are taken", `{"elicitation":{"url":{}}}`, "elicitation/create", form, `{"elicitation":{"form":{}}}`},
		{"a page, where none is declared", `{"elicitation":{}}`, "elicitation/create", url, `{"elicitation":{"url":{}}}`},
		{"a page", `{"elicitation":{"form":{},"url":{}}}`, "elicitation/create", url, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := lacks(tt.declared, tt.method, []byte(tt.params)); got != tt.want {
				t.Errorf("lacks %q, want %q", got, tt.want)
			}
		})
	}
}
