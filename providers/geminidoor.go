package providers

import (
	"net/http"
	"strconv"
	"strings"

	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/tidwall/gjson"
)

// Google's clients say in the path which model they want, and whether the reply is to be
// streamed.

const geminiModels = "/v1beta/models"

// geminiEndpoint is the endpoint of a path of Google's API, below /v1beta or /v1.
func geminiEndpoint(path string) (endpoint, bool) {
	rest, beta := strings.CutPrefix(path, "/v1beta/")
	if !beta {
		rest = strings.TrimPrefix(path, "/v1/")
	}
	name, ok := strings.CutPrefix(rest, "models/")
	if i := strings.LastIndexByte(name, ':'); ok && i > 0 {
		at := endpoint{kind: firewall.Model, speaks: Gemini, model: name[:i]}
		switch verb := name[i+1:]; verb {
		case "generateContent", "streamGenerateContent":
			at.method, at.streams, at.route = "gemini", verb != "generateContent", "/v1/generateContent"
			return at, true
		case "countTokens":
			at.method, at.route = "gemini_count", "/v1/countTokens"
			return at, true
		case "embedContent", "batchEmbedContents":
			at.method, at.route = "gemini_embed", "/v1/embedContent"
			if verb != "embedContent" {
				at.method = "gemini_embeds"
			}
			return at, true
		}
	}
	switch {
	case !beta:
		return endpoint{}, false
	case rest == "models" || ok:
		return endpoint{kind: firewall.List, route: modelsPath, method: "models", speaks: Gemini}, true
	}
	return endpoint{route: "/v1", speaks: Gemini}, true
}

// mayAsk says what is wrong with the query of a request to e.
func (e endpoint) mayAsk(r *http.Request) error {
	if e.speaks != Gemini {
		return nil
	}
	query := r.URL.Query()
	switch {
	case query.Has("key") || query.Has("access_token"):
		return firewall.Refuse(firewall.Invalid, "send the access token in the header x-goog-api-key: in the URL it would stand in logs")
	case e.streams && query.Get("alt") != "sse":
		return firewall.Refuse(firewall.Invalid, "a stream is sent as events alone: add alt=sse to the query")
	}
	return nil
}

// readGemini reads doc, a request of Google's, which has been parsed strictly.
func readGemini(doc []byte, at endpoint) (request, error) {
	r := request{modelAt: -1, model: at.model, streams: at.streams, usage: true}
	v := gjson.ParseBytes(doc)
	if !v.IsObject() {
		return r, firewall.Refuse(firewall.Invalid, "the body must be a JSON object")
	}
	var wrong error
	for _, name := range modelNames(v) {
		if strings.TrimPrefix(v.Get(name).Str, "models/") != strings.TrimPrefix(at.model, "models/") {
			wrong = firewall.Refuse(firewall.Invalid, "the body names another model than the path: leave out %s", name)
		}
	}
	eachMember(v, func(name string, v gjson.Result) {
		switch name {
		case "generationConfig":
			eachMember(v, func(name string, v gjson.Result) {
				switch name {
				case "maxOutputTokens":
					r.most = max(r.most, int(min(v.Int(), 1<<31)))
				case "candidateCount":
					r.replies = int(min(max(v.Int(), 0), maxReplies))
				}
			})
		case "serviceTier":
			if tier := tierOf(v.Str); tier == firewall.TierPriority || tier == firewall.TierFast {
				r.tier = tier
			}
		case "toolConfig":
			eachMember(v, func(_ string, v gjson.Result) {
				eachMember(v, func(name string, v gjson.Result) {
					if name == "streamFunctionCallArguments" && v.Bool() {
						wrong = firewall.Refuse(firewall.Invalid, "tool calls are judged when they are whole: leave out streamFunctionCallArguments")
					}
				})
			})
		case "cachedContent":
			if v.Str != "" {
				wrong = firewall.Refuse(firewall.NotFound, "there is no content that was cached through this gate: send it as contents")
			}
		case "contents":
			eachOne(v, r.geminiContent)
		case "tools":
			eachOne(v, func(v gjson.Result) { eachMember(v, r.geminiTool) })
		}
	})
	if wrong != nil {
		return r, wrong
	}
	return r, r.check()
}

// eachMember calls f for each member of an object of Google's, by the name in its own
// way to write it.
func eachMember(v gjson.Result, f func(name string, v gjson.Result)) {
	if v.IsObject() {
		v.ForEach(func(key, v gjson.Result) bool {
			f(dialect.Camel(key.Str), v)
			return true
		})
	}
}

// eachOne calls f for each item of a list, or for one that stands alone.
func eachOne(v gjson.Result, f func(gjson.Result)) {
	if v.IsObject() {
		f(v)
		return
	}
	v.ForEach(func(_, v gjson.Result) bool {
		f(v)
		return true
	})
}

func (r *request) geminiContent(v gjson.Result) {
	if v.Get("role").Str == "model" {
		r.results = r.results[:0]
		return
	}
	eachOne(v.Get("parts"), func(v gjson.Result) {
		eachMember(v, func(name string, v gjson.Result) {
			if name == "functionResponse" {
				r.result(v.Get("id").Str)
			}
		})
	})
}

// geminiTool notes a tool that Google runs. What is in computerUse is asked of the client.
func (r *request) geminiTool(name string, v gjson.Result) {
	switch name {
	case "functionDeclarations", "computerUse":
	case "mcpServers":
		eachOne(v, func(v gjson.Result) {
			url := ""
			eachMember(v, func(name string, v gjson.Result) {
				if name == "streamableHttpTransport" {
					url = v.Get("url").Str
				}
			})
			r.host("mcp", gjson.Parse(`{"server_url":`+string(quote(url))+`}`))
		})
	default:
		r.host(snake(name), v)
	}
}

// snake is a name of Google's as policies write it: google_search.
func snake(name string) string {
	var b strings.Builder
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// modelNames is where a body of Google's names a model, too.
func modelNames(v gjson.Result) (paths []string) {
	v.ForEach(func(key, v gjson.Result) bool {
		switch name := dialect.Camel(key.Str); {
		case name == "model":
			paths = append(paths, key.Str)
		case name == "generateContentRequest" && v.Get("model").Exists():
			paths = append(paths, key.Str+".model")
		case name == "requests" && v.IsArray():
			for i, v := range v.Array() {
				if v.Get("model").Exists() {
					paths = append(paths, key.Str+"."+strconv.Itoa(i)+".model")
				}
			}
		}
		return true
	})
	return paths
}

// geminiNamed is doc for the model that the path names. It has no other name for it.
func geminiNamed(doc []byte, model string) []byte {
	for _, path := range modelNames(gjson.ParseBytes(doc)) {
		doc = set(doc, path, "models/"+model)
	}
	return doc
}
