package providers

import (
	"testing"

	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/google/go-cmp/cmp"
)

// What the dialects of providers tell of usage, event by event, where only a provider
// speaks them.
func TestATallyOfEachDialect(t *testing.T) {
	for _, tt := range []struct {
		name   string
		speaks dialect.Name
		docs   []string
		want   firewall.Usage
	}{
		{"Gemini", dialect.Gemini, []string{
			`{"candidates":[{"content":{}}],"usageMetadata":{"promptTokenCount":100,"totalTokenCount":100}}`,
			`{"candidates":[{"groundingMetadata":{"webSearchQueries":["a","b"]}}],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":30,"candidatesTokenCount":20,"thoughtsTokenCount":50,"toolUsePromptTokenCount":5,"totalTokenCount":175,
			  "promptTokensDetails":[{"modality":"TEXT","tokenCount":60},{"modality":"AUDIO","tokenCount":30},{"modality":"VIDEO","tokenCount":10}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":20}],
			  "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":15}],"trafficType":"ON_DEMAND_PRIORITY"}}`},
			firewall.Usage{Input: 105, Output: 70, CacheRead: 30, Reasoning: 50, AudioIn: 30, AudioCached: 20, ImageOut: 15, Searches: 2, Tier: "priority", Unknown: "VIDEO"}},
		{"Gemini, whose total is more", dialect.Gemini, []string{`{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":40}}`}, firewall.Usage{Input: 10, Output: 30, Unknown: "totalTokenCount"}},
		{"Converse", dialect.Converse, []string{`{"contentBlockIndex":0}`,
			`{"usage":{"inputTokens":10,"outputTokens":7,"totalTokens":40,"cacheReadInputTokens":3,"cacheWriteInputTokens":20,"cacheDetails":[{"ttl":"5m","inputTokens":8},{"ttl":"1h","inputTokens":12}]},"metrics":{"latencyMs":1},"serviceTier":{"type":"flex"}}`},
			firewall.Usage{Input: 33, Output: 7, CacheRead: 3, CacheWrite: 20, CacheWriteHour: 12, Tier: "flex"}},
		{"Cohere", dialect.Cohere, []string{`{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":9,"output_tokens":4,"classifications":2},"tokens":{"input_tokens":100,"output_tokens":4}}}}`},
			firewall.Usage{Input: 9, Output: 4, Unknown: "classifications"}},
		{"Cohere's rerank", dialect.Cohere, []string{`{"results":[],"meta":{"billed_units":{"search_units":2}}}`}, firewall.Usage{Searches: 2}},
		{"responses", dialect.Responses, []string{`{"type":"response.created","response":{"usage":null}}`, `{"type":"response.completed","response":{"service_tier":"flex","usage":{"input_tokens":8,"output_tokens":3,"total_tokens":11,"output_tokens_details":{"reasoning_tokens":2}}}}`},
			firewall.Usage{Input: 8, Output: 3, Reasoning: 2, Tier: "flex"}},
		{"a name from outside", dialect.Chat, []string{`{"usage":{"prompt_tokens":1,"bad name\n":5,"bad_tokens":-3,"x":1e99,"list":[1]}}`}, firewall.Usage{Input: 1, Unknown: "other"}},
	} {
		var got tally
		for _, doc := range tt.docs {
			got.take(tt.speaks, []byte(doc))
		}
		if d := cmp.Diff(tt.want, got.told); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}
