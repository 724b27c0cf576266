package providers

// Compatible adds kinds of providers for a test: one that has chat completions only, and
// one that has responses only.
func Compatible() {
	for name, method := range map[string]string{"chatonly": "chat", "responsesonly": "responses"} {
		vendors[name] = &vendor{speaks: OpenAI, signer: "openai", asked: method, paths: map[string]string{method: vendors[OpenAI].paths[method]}}
	}
}
