package providers

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"callgate/firewall"
	"callgate/providers/dialect"

	"github.com/tidwall/gjson"
)

// googleMay says what is wrong with the query of a request in Google's dialect.
func googleMay(r *http.Request) error {
	if q := r.URL.Query(); q.Has("key") || q.Has("access_token") {
		return firewall.Refuse(firewall.Invalid, "send the access token in the header x-goog-api-key: in the URL it would stand in logs")
	}
	return nil
}

// googleMember reads a member of a request in Google's dialect, and says whether it is one.
func (r *request) googleMember(name string, c *cursor) (bool, error) {
	switch name = dialect.Camel(name); name {
	case "generationConfig":
		r.googleConfig(c)
	case "contents":
		eachOne(gjson.ParseBytes(c.raw()), r.googleContent)
	case "toolConfig":
		asked := false
		eachMember(gjson.ParseBytes(c.raw()), func(_ string, v gjson.Result) {
			eachMember(v, func(name string, v gjson.Result) {
				asked = asked || name == "streamFunctionCallArguments" && v.Raw != "false" && v.Raw != "null"
			})
		})
		if asked {
			return true, firewall.Refuse(firewall.Invalid, "tool calls are judged when they are whole: leave out streamFunctionCallArguments")
		}
	case "cachedContent":
		if v := gjson.ParseBytes(c.raw()); v.Raw != "null" && v.Raw != `""` {
			return true, firewall.Refuse(firewall.Invalid, "cachedContent was not made through this gate, which has not seen what is in it: send it as contents")
		}
	default:
		return false, nil
	}
	return true, nil
}

// googleContent notes the results of tools in a turn.
func (r *request) googleContent(v gjson.Result) {
	if v.Get("role").Str == "model" {
		r.results = r.results[:0]
		return
	}
	eachOne(v.Get("parts"), func(v gjson.Result) {
		eachMember(v, func(name string, v gjson.Result) {
			if name == "functionResponse" {
				r.result(strings.Clone(v.Get("id").Str))
			}
		})
	})
}

// eachMember calls f for each member of an object, by its name as Google writes it: it
// takes tool_config for toolConfig.
func eachMember(v gjson.Result, f func(name string, v gjson.Result)) {
	if v.IsObject() {
		v.ForEach(func(key, v gjson.Result) bool {
			f(dialect.Camel(key.Str), v)
			return true
		})
	}
}

// eachOne calls f for each item of a list, or for one that stands alone, which Google
// takes, too.
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

// googleNames is where a request names a model within.
func googleNames(doc []byte) (paths []string) {
	gjson.ParseBytes(doc).ForEach(func(key, v gjson.Result) bool {
		switch name := dialect.Camel(key.Str); {
		case name == "generateContentRequest" && v.Get("model").Exists():
			paths = append(paths, key.Str+".model")
		case name == "requests":
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

// googleNamed checks that a request names no other model within.
func googleNamed(doc []byte, model string) error {
	for _, path := range googleNames(doc) {
		if strings.TrimPrefix(at(doc, path).Str, "models/") != model {
			return firewall.Refuse(firewall.Invalid, "the body names another model than the path: leave out %s", clip(path))
		}
	}
	return nil
}

// googleRenamed is doc with the name of the model at its provider.
func googleRenamed(doc []byte, model string) []byte {
	for _, path := range googleNames(doc) {
		doc = set(doc, path, "models/"+model)
	}
	return doc
}

// googleConfig reads how long the reply may be.
func (r *request) googleConfig(c *cursor) {
	c.members(func(name string) {
		switch name {
		case "maxOutputTokens", "max_output_tokens":
			r.most = max(r.most, c.integer())
		case "candidateCount", "candidate_count":
			r.replies = max(r.replies, c.integer())
		default:
			c.skip()
		}
	})
}

// googleHosted are tools that Google runs by itself, by the names of their members, as
// policies name them.
var googleHosted = []string{"google_search", "google_search_retrieval", "url_context", "code_execution", "google_maps", "file_search", "enterprise_web_search", "retrieval", "mcp_servers"}

// googleTools notes which tools of a request Google would run: all of its members that are
// no functions, nor known to be carried out by the client.
func (r *request) googleTools(tool gjson.Result) {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	named := tool.Get("name").Exists() // it is a function of another dialect
	tool.ForEach(func(key, v gjson.Result) bool {
		name := plain(key.Str)
		at := slices.IndexFunc(googleHosted, func(known string) bool { return plain(known) == name })
		switch {
		case at < 0 && (named || name == "functiondeclarations" || name == "computeruse"):
		case at < 0:
			r.hosts(firewall.Hosted{Name: clip(key.Str)})
		case googleHosted[at] != "mcp_servers":
			r.hosts(firewall.Hosted{Name: googleHosted[at]})
		default:
			for _, server := range v.Array() {
				url := server.Get("streamableHttpTransport.url").Str + server.Get("streamable_http_transport.url").Str
				r.hosts(firewall.Hosted{Name: "mcp/" + hostOf(url, "?"), Remote: true})
			}
		}
		return true
	})
}
