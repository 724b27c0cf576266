package providers

import (
	"strings"

	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/tidwall/gjson"
)

// What a provider tells of usage is money, so that nothing of it is left out in silence:
// tokens of a kind that is not known cost what input does, or, where a total says that
// there are more than are named, what output does; and the name of what is not known
// stands in the record.

// noUsage are names in a usage that say nothing that is billed: sums of what is named
// elsewhere, parts that cost the same as the whole, times, and money by their own account.
var noUsage = map[string]bool{
	"text_tokens": true, "accepted_prediction_tokens": true, "rejected_prediction_tokens": true, "prompt_cache_miss_tokens": true,
	"prompt_time": true, "completion_time": true, "queue_time": true, "total_time": true, "cost": true, "cost_details": true, "cost_in_usd_ticks": true,
	"is_byok": true, "type": true, "estimated_cost": true, "web_fetch_requests": true, "ephemeral_5m_input_tokens": true, "ttl_30m_tokens": true,
}

const maxUnknown = 256 // bytes of names of what is not known

// unknown notes the name of something in a usage, and says how much it is.
func unknown(u *firewall.Usage, name string, n int64) int64 {
	if n <= 0 || noUsage[name] {
		return 0
	}
	if len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") != "" {
		name = "other"
	}
	if !strings.Contains(" "+u.Unknown+" ", " "+name+" ") && len(u.Unknown)+len(name) < maxUnknown {
		u.Unknown = strings.TrimPrefix(u.Unknown+" "+name, " ")
	}
	return n
}

// countOf reads a number of something; what is none is 0.
func countOf(c *cursor) int64 { return int64(max(c.integer(), 0)) }

// openAIUsage reads a usage of the OpenAI dialects: their totals include what was
// cached and what was reasoned.
func openAIUsage(c *cursor) (u firewall.Usage) {
	var total, extra int64
	c.members(func(name string) {
		switch name {
		case "prompt_tokens", "input_tokens":
			u.Input = countOf(c)
		case "completion_tokens", "output_tokens":
			u.Output = countOf(c)
		case "total_tokens":
			total = countOf(c)
		case "prompt_tokens_details", "input_tokens_details", "input_token_details":
			openAIInput(c, &u)
		case "completion_tokens_details", "output_tokens_details", "output_token_details":
			openAIOutput(c, &u)
		case "prompt_cache_hit_tokens", "cached_tokens": // DeepSeek, Moonshot
			u.CacheRead = max(u.CacheRead, countOf(c))
		case "reasoning_tokens": // Perplexity
			u.Reasoning = max(u.Reasoning, countOf(c))
		case "num_search_queries", "num_sources_used", "search_units": // Perplexity, xAI, reranks
			u.Searches = countOf(c)
		default:
			if n := unknown(&u, name, countOf(c)); strings.HasSuffix(name, "_tokens") {
				extra += n
			}
		}
	})
	switch rest := total - u.Input - u.Output; {
	case total == 0:
		u.Input += extra
	case rest > 0: // thoughts that are not among the output, as xAI and Gemini count them
		u.Output += rest
		if u.Reasoning != rest {
			unknown(&u, "total_tokens", rest)
		}
	}
	return u
}

// openAIInput reads of what kinds input tokens are.
func openAIInput(c *cursor, u *firewall.Usage) {
	c.members(func(name string) {
		switch name {
		case "cached_tokens":
			u.CacheRead = max(u.CacheRead, countOf(c))
		case "cached_tokens_details":
			c.members(func(name string) {
				if n := countOf(c); name == "audio_tokens" {
					u.AudioCached = n
				}
			})
		case "cache_write_tokens", "cache_creation_tokens":
			u.CacheWrite = countOf(c)
		case "cache_write_tokens_details":
			c.members(func(name string) {
				if n := countOf(c); name == "ttl_12h_tokens" {
					u.CacheWriteHour = n
				} else {
					unknown(u, name, n)
				}
			})
		case "audio_tokens":
			u.AudioIn = countOf(c)
		case "image_tokens":
			u.ImageIn = countOf(c)
		default: // is among them, and costs what they do
			unknown(u, name, countOf(c))
		}
	})
}

// openAIOutput reads of what kinds output tokens are.
func openAIOutput(c *cursor, u *firewall.Usage) {
	c.members(func(name string) {
		switch name {
		case "reasoning_tokens":
			u.Reasoning = countOf(c)
		case "audio_tokens":
			u.AudioOut = countOf(c)
		case "image_tokens":
			u.ImageOut = countOf(c)
		default:
			unknown(u, name, countOf(c))
		}
	})
}

// tierOf is the tier that a provider names.
func tierOf(name string) string {
	switch strings.ToLower(strings.TrimPrefix(name, "ON_DEMAND_")) {
	case "batch":
		return firewall.TierBatch
	case "flex":
		return firewall.TierFlex
	case "priority":
		return firewall.TierPriority
	case "fast":
		return firewall.TierFast
	}
	return ""
}

// A claudeUsage is a usage of Anthropic's as it grows: counts that come later take the
// place of those before, and what is left out stays as it was.
type claudeUsage struct {
	told                                              firewall.Usage // but for Input
	input                                             int64          // without the cache
	moreIn, moreOut, moreRead, moreWrite, moreUnknown int64          // of what is beside the reply itself
}

// count takes the numbers of u.
func (c *claudeUsage) count(u gjson.Result) {
	set := func(n *int64, v gjson.Result) {
		if v.Type == gjson.Number {
			*n = max(v.Int(), 0)
		}
	}
	t := &c.told
	var strange int64
	u.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "input_tokens":
			set(&c.input, v)
		case "output_tokens":
			set(&t.Output, v)
		case "cache_read_input_tokens":
			set(&t.CacheRead, v)
		case "cache_creation_input_tokens":
			set(&t.CacheWrite, v)
		case "cache_creation":
			v.ForEach(func(name, v gjson.Result) bool {
				if name.Str == "ephemeral_1h_input_tokens" {
					set(&t.CacheWriteHour, v)
				} else {
					unknown(t, name.Str, v.Int())
				}
				return true
			})
		case "output_tokens_details":
			set(&t.Reasoning, v.Get("thinking_tokens"))
		case "server_tool_use":
			v.ForEach(func(name, v gjson.Result) bool {
				if name.Str == "web_search_requests" {
					set(&t.Searches, v)
				} else {
					unknown(t, name.Str, v.Int())
				}
				return true
			})
		case "service_tier":
			if tier := tierOf(v.Str); tier != "" {
				t.Tier = tier
			}
		case "speed":
			if v.Str == "fast" {
				t.Tier = firewall.TierFast
			}
		case "inference_geo":
			t.Regional = v.Str != "" && v.Str != "global" && v.Str != "not_available"
		case "iterations":
			c.iterate(v)
		default:
			if n := unknown(t, name.Str, v.Int()); strings.HasSuffix(name.Str, "_tokens") {
				strange += n
			}
		}
		return true
	})
	c.moreUnknown = max(c.moreUnknown, strange)
}

// iterate takes the numbers of what was done for a reply beside it: the sums of the reply
// are without those.
func (c *claudeUsage) iterate(list gjson.Result) {
	c.moreIn, c.moreOut, c.moreRead, c.moreWrite = 0, 0, 0, 0
	list.ForEach(func(_, i gjson.Result) bool {
		if kind := i.Get("type").Str; kind != "message" {
			c.moreIn += max(i.Get("input_tokens").Int(), 0)
			c.moreOut += max(i.Get("output_tokens").Int(), 0)
			c.moreRead += max(i.Get("cache_read_input_tokens").Int(), 0)
			c.moreWrite += max(i.Get("cache_creation_input_tokens").Int(), 0)
			unknown(&c.told, "iterations."+kind, 1) // which may be of another model, at another price
		}
		return true
	})
}

// usage is all so far. Anthropic's input tokens are without the cache.
func (c *claudeUsage) usage() firewall.Usage {
	u := c.told
	u.CacheRead, u.CacheWrite, u.Output = u.CacheRead+c.moreRead, u.CacheWrite+c.moreWrite, u.Output+c.moreOut
	u.Input = c.input + c.moreIn + c.moreUnknown + u.CacheRead + u.CacheWrite
	return u
}

// geminiUsage reads a usageMetadata. Candidates are without thoughts.
func geminiUsage(v gjson.Result) (u firewall.Usage) {
	count := func(name string) int64 { return max(v.Get(name).Int(), 0) }
	u.Input, u.CacheRead = count("promptTokenCount")+count("toolUsePromptTokenCount"), count("cachedContentTokenCount")
	u.Reasoning = count("thoughtsTokenCount")
	u.Output = count("candidatesTokenCount") + u.Reasoning
	if rest := count("totalTokenCount") - u.Input - u.Output; rest > 0 {
		u.Output += unknown(&u, "totalTokenCount", rest)
	}
	kinds := func(name string, audio, image *int64) {
		v.Get(name).ForEach(func(_, d gjson.Result) bool {
			n := max(d.Get("tokenCount").Int(), 0)
			switch kind := d.Get("modality").Str; kind {
			case "AUDIO":
				*audio += n
			case "IMAGE":
				*image += n
			case "TEXT", "DOCUMENT", "MODALITY_UNSPECIFIED":
			default:
				unknown(&u, kind, n)
			}
			return true
		})
	}
	var cachedImages int64
	kinds("promptTokensDetails", &u.AudioIn, &u.ImageIn)
	kinds("toolUsePromptTokensDetails", &u.AudioIn, &u.ImageIn)
	kinds("cacheTokensDetails", &u.AudioCached, &cachedImages)
	kinds("candidatesTokensDetails", &u.AudioOut, &u.ImageOut)
	u.Tier = tierOf(v.Get("trafficType").Str)
	return u
}

// converseUsage reads a usage of Bedrock's Converse. Its input tokens are without the cache.
func converseUsage(v gjson.Result) (u firewall.Usage) {
	count := func(name string) int64 { return max(v.Get(name).Int(), 0) }
	u.CacheRead, u.CacheWrite, u.Output = count("cacheReadInputTokens"), count("cacheWriteInputTokens"), count("outputTokens")
	u.Input = count("inputTokens") + u.CacheRead + u.CacheWrite
	v.Get("cacheDetails").ForEach(func(_, d gjson.Result) bool {
		if d.Get("ttl").Str == "1h" {
			u.CacheWriteHour += max(d.Get("inputTokens").Int(), 0)
		}
		return true
	})
	return u
}

// cohereUsage reads a usage of Cohere's, of which billed units are what counts.
func cohereUsage(v gjson.Result) (u firewall.Usage) {
	from := v.Get("billed_units")
	if !from.Exists() {
		from = v.Get("tokens")
	}
	from.ForEach(func(name, n gjson.Result) bool {
		switch name.Str {
		case "input_tokens":
			u.Input = max(n.Int(), 0)
		case "output_tokens":
			u.Output = max(n.Int(), 0)
		case "search_units":
			u.Searches = max(n.Int(), 0)
		default:
			unknown(&u, name.Str, n.Int())
		}
		return true
	})
	return u
}

// A tally is what one reply is known to have taken, as it comes from the provider: what
// it tells, and how much text there was.
type tally struct {
	told   firewall.Usage // Estimated as long as more is to come
	claude claudeUsage
	heard  int64 // bytes of text of a stream
}

// take notes what a document of a dialect tells of usage, if it does.
func (t *tally) take(speaks dialect.Name, doc []byte) {
	get := func(paths ...string) gjson.Result {
		for _, path := range paths {
			if v := gjson.GetBytes(doc, path); v.IsObject() {
				return v
			}
		}
		return gjson.Result{}
	}
	var u firewall.Usage
	switch speaks {
	case dialect.Chat:
		if v := get("usage", "x_groq.usage"); v.Exists() {
			u = openAIUsage(&cursor{doc: []byte(v.Raw)})
			u.Tier = tierOf(gjson.GetBytes(doc, "service_tier").Str)
		}
	case dialect.Responses:
		if v := get("response.usage", "usage"); v.Exists() {
			u = openAIUsage(&cursor{doc: []byte(v.Raw)})
			u.Tier = tierOf(gjson.GetBytes(doc, "response.service_tier").Str + gjson.GetBytes(doc, "service_tier").Str)
		}
	case dialect.Messages:
		v, first := get("message.usage"), true
		if !v.Exists() {
			v, first = get("usage"), false
		}
		if v.Exists() {
			t.claude.count(v)
			u = t.claude.usage()
			u.Estimated = first // it says how much there is to read, and nothing of what will be said
		}
	case dialect.Gemini:
		if v := get("usageMetadata"); v.Exists() {
			u = geminiUsage(v)
			u.Searches = gjson.GetBytes(doc, "candidates.0.groundingMetadata.webSearchQueries.#").Int()
		}
	case dialect.Converse:
		if v := get("usage"); v.Exists() {
			u = converseUsage(v)
			u.Tier = tierOf(gjson.GetBytes(doc, "serviceTier.type").Str)
		}
	case dialect.Cohere:
		if v := get("delta.usage", "usage", "meta"); v.Exists() {
			u = cohereUsage(v)
		}
	}
	if u != (firewall.Usage{}) {
		t.told = u
	}
}

// all is what the reply took, where it may not be whole: what was not told is taken from
// what was expected, and from how much text came.
func (t *tally) all(expected firewall.Estimate) firewall.Usage {
	u := t.told
	if u != (firewall.Usage{}) && !u.Estimated {
		return u
	}
	u.Estimated = true
	if u.Input == 0 {
		u.Input = expected.Input
	}
	u.Output = max(u.Output, (t.heard+bytesPerToken-1)/bytesPerToken)
	return u
}
