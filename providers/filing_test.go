package providers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"callgate/audit"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"

	"github.com/tidwall/gjson"
)

// A cabinet is a provider that keeps what it is sent, of all agents in one heap, as
// vendors do with what comes by one key.
type cabinet struct {
	mu      sync.Mutex
	order   []string // ids of files and batches, oldest first
	files   map[string]string
	about   map[string]string // documents of files, batches and responses, by id
	asked   []string          // method, path and query of each request
	bodies  []string
	fault   http.HandlerFunc // in the place of all that
	lastSay string           // Content-Type of a file's content
}

func newCabinet() *cabinet {
	return &cabinet{files: map[string]string{}, about: map[string]string{}, lastSay: "application/octet-stream"}
}

func (c *cabinet) put(id, doc string) string {
	c.order = append(c.order, id)
	c.about[id] = doc
	return doc
}

func (c *cabinet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, r.Method+" "+r.URL.RequestURI())
	if c.fault != nil {
		c.fault(w, r)
		return
	}
	say := func(doc string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, doc)
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	what, id, do := parts[0], "", ""
	if len(parts) > 1 {
		id = parts[1]
	}
	if len(parts) > 2 {
		do = parts[2]
	}
	n := strconv.Itoa(len(c.about) + 1)
	switch {
	case id != "" && c.about[id] == "":
		answer(404, "application/json", `{"error":{"message":"No such thing","type":"invalid_request_error"}}`)(w, r)
	case what == "files" && r.Method == "POST":
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			panic(err)
		}
		f, h, err := r.FormFile("file")
		if err != nil {
			panic(err)
		}
		content, _ := io.ReadAll(f)
		c.files["file-"+n] = string(content)
		say(c.put("file-"+n, `{"id":"file-`+n+`","object":"file","filename":"`+h.Filename+`","purpose":"`+r.FormValue("purpose")+`"}`))
	case what == "batches" && r.Method == "POST" && id == "":
		b, _ := io.ReadAll(r.Body)
		c.bodies = append(c.bodies, string(b))
		say(c.put("batch_"+n, `{"id":"batch_`+n+`","object":"batch","status":"validating","output_file_id":null,"input_file_id":`+gjson.GetBytes(b, "input_file_id").Raw+`}`))
	case what == "responses" && r.Method == "POST" && id == "":
		b, _ := io.ReadAll(r.Body)
		c.bodies = append(c.bodies, string(b))
		doc := c.put("resp_"+n, `{"id":"resp_`+n+`","object":"response","status":"completed","output":[{"type":"message","id":"msg_1","content":[{"type":"output_text","text":"open sesame"}]},{"type":"function_call","call_id":"call_`+n+`","name":"look","arguments":"{}"}],"usage":{"input_tokens":7,"output_tokens":3}}`)
		if gjson.GetBytes(b, "stream").Bool() {
			events(sse(`{"type":"response.created","sequence_number":0,"response":{"id":"resp_`+n+`","object":"response","output":[]}}`, `{"type":"response.completed","sequence_number":1,"response":`+doc+`}`))(w, r)
			return
		}
		say(doc)
	case id == "": // a list
		var items []string
		after, more := r.URL.Query().Get("after"), false
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		skip := after != ""
		for _, id := range slices.Backward(c.order) {
			if skip {
				skip = id != after
				continue
			}
			if !strings.HasPrefix(id, map[string]string{"files": "file-", "batches": "batch_"}[what]) {
				continue
			}
			if more = len(items) == limit; more {
				break
			}
			items = append(items, c.about[id])
		}
		say(`{"object":"list","data":[` + strings.Join(items, ",") + `],"has_more":` + strconv.FormatBool(more) + `}`)
	case do == "content":
		w.Header().Set("Content-Type", c.lastSay)
		_, _ = io.WriteString(w, c.files[id])
	case do == "input_items":
		say(`{"object":"list","data":[{"type":"message","role":"user","content":[{"type":"input_text","text":"sesame"}]}],"has_more":false}`)
	case r.Method == "DELETE":
		delete(c.about, id)
		say(`{"id":"` + id + `","deleted":true}`)
	default:
		say(c.about[id])
	}
}

// an office is a gate with a cabinet, and two agents that share callgate's one key there.
type office struct {
	*house
	cabinet *cabinet
	store   firewall.PropertyStore
	asked   []string // actions and objects that policy was asked about
	deny    string   // object
	most    int64    // model calls an hour
	rule    *firewall.Gate
	gate    string
	mu      sync.Mutex
}

// Decide allows what is not denied, ten model calls an hour.
func (o *office) Decide(call *firewall.Call) firewall.Decision {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, call.Action()+" "+call.Object())
	if call.Object() == o.deny {
		return firewall.Decision{Rule: "R9", Reason: "rule R9 denies " + call.Object(), Policy: "p1"}
	}
	d := firewall.Decision{Effect: firewall.Allow, Rule: "R1", Policy: "p1"}
	if call.Action() == "generate" {
		d.Obligations = []firewall.Obligation{{Do: firewall.LimitTo, With: "calls=10/1h", Rule: "L1", Limit: firewall.Limit{Of: firewall.Calls, Amount: o.most, Window: time.Hour, Per: firewall.PerAgent}}}
	}
	return d
}

func (*office) Member(_, _, _ string) bool                             { return false }
func (*office) Groups(_, _ string) []string                            { return nil }
func (*office) Names(*identity.Principal, string, string) bool         { return false }
func (*office) May(_ *identity.Principal, _, _ string) firewall.Answer { return firewall.Yes }
func (o *office) verify(_ context.Context, said, _ string) (identity.Principal, error) {
	p := identity.Principal{Tenant: "default", Subject: "agent:bot", TokenID: "jti-1"}
	switch said {
	case token:
	case "eve-token":
		p.Subject = "agent:eve"
	case "bot-for-ana":
		p.Subject, p.Actors = "user:ana", []string{"agent:bot"}
	default:
		return identity.Principal{}, errors.New("the token is not valid here")
	}
	return p, nil
}

func newOffice(t testing.TB, guards ...firewall.Guard) *office {
	t.Helper()
	o := &office{house: &house{}, most: 10, cabinet: newCabinet(), store: new(firewall.Memory)}
	gate := firewall.New(firewall.Config{
		Verify: o.verify, Stops: new(identity.Revocations), Log: &o.log, Runs: firewall.NewRuns(0, new(firewall.Memory), time.Now), Budgets: firewall.NewBudgets(time.Now),
		Approvals: firewall.NewApprovals(new(firewall.Memory), 0, time.Now), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, &firewall.Law{Policy: o, Guards: guards})
	o.rule = gate
	o.door = providers.New(providers.Config{Properties: o, Challenge: func(string, error) string { return "Bearer" }, Logger: slog.New(slog.DiscardHandler)}, gate)
	up := serve(t, o.cabinet)
	if err := o.door.SetProviders(map[string]providers.Provider{
		"openai":    {BaseURL: up + "/v1", APIKey: identity.NewSecret("sk-real"), Models: []string{"gpt", "small"}},
		"anthropic": {BaseURL: up + "/v1", Models: []string{"claude"}},
	}, map[string]providers.Model{"fast": {Targets: []providers.Target{{Model: "openai/gpt"}}}}); err != nil {
		t.Fatal(err)
	}
	o.gate = o.url(t)
	return o
}

// PutProperty and the rest let a test take the store away.
func (o *office) PutProperty(ctx context.Context, p firewall.Property) error {
	if o.store == nil {
		return errors.New("no store")
	}
	return o.store.PutProperty(ctx, p)
}

func (o *office) Properties(ctx context.Context, kind, id string) ([]firewall.Property, error) {
	if o.store == nil {
		return nil, errors.New("no store")
	}
	return o.store.Properties(ctx, kind, id)
}

func (o *office) DropProperty(ctx context.Context, owner, kind, id string) error {
	return o.store.DropProperty(ctx, owner, kind, id)
}

func (o *office) DropProperties(ctx context.Context, before time.Time) error {
	return o.store.DropProperties(ctx, before)
}

// as asks the door as somebody.
func (o *office) as(t testing.TB, who, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, o.gate+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+who)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, got := do(t, req, header...)
	return resp.StatusCode, got
}

// upload has a file kept, and gives its id.
func (o *office) upload(t testing.TB, who, purpose, content string) string {
	t.Helper()
	body, kind := formOf(t, field{"purpose", "", "", purpose}, field{"file", "a.jsonl", "application/jsonl", content})
	status, got := o.as(t, who, "POST", "/v1/files", body, "Content-Type", kind)
	if status != 200 {
		t.Fatalf("upload: %d %s", status, got)
	}
	return gjson.Get(got, "id").Str
}

func line(id, model, text string) string {
	return `{"custom_id":"` + id + `","method":"POST","url":"/v1/chat/completions","body":{"model":"` + model + `","max_tokens":10,"messages":[{"role":"user","content":"` + text + `"}]}}`
}

func TestABatchIsJudgedLineByLine(t *testing.T) {
	o := newOffice(t, lenient{mask{"sesame"}})
	file := o.upload(t, token, "batch", line("a", "openai/gpt", "open sesame")+"\r\n\n"+line("b", "gpt", "and close it"))
	if got, want := o.cabinet.files[file], line("a", "gpt", "open [masked]")+"\n"+line("b", "gpt", "and close it")+"\n"; got != want {
		t.Errorf("the provider keeps\n%s, want\n%s", got, want)
	}
	if want := []string{"store model:openai/files", "generate model:openai/gpt", "generate model:openai/gpt"}; !slices.Equal(o.asked, want) {
		t.Errorf("policy was asked %q", o.asked)
	}
	create := func(who string) (int, string) {
		return o.as(t, who, "POST", "/v1/batches", `{"input_file_id":"`+file+`","endpoint":"/v1/chat/completions","completion_window":"24h"}`)
	}
	if status, got := create("eve-token"); status != 404 || !strings.Contains(got, "that agent:eve has made") {
		t.Errorf("another's file: %d %s", status, got)
	}
	status, got := create(token)
	batch := gjson.Get(got, "id").Str
	if status != 200 || batch == "" {
		t.Fatalf("create: %d %s", status, got)
	}
	if got := o.asked[len(o.asked)-1]; got != "generate model:openai/gpt" {
		t.Errorf("a batch is to %s", got)
	}
	for range 4 { // each stands for two calls: ten in all
		if status, got := create(token); status != 200 {
			t.Fatalf("create: %d %s", status, got)
		}
	}
	if status, got := create(token); status != 429 || !strings.Contains(got, "rule L1 allows agent:bot 10 calls") {
		t.Errorf("an eleventh call: %d %s", status, got)
	}

	// What came of it is the owner's, too, once the batch has told of it.
	out := `{"id":"r1","custom_id":"a","response":{"status_code":200,"body":{"choices":[{"message":{"content":"open sesame"}}]}}}` + "\n" + `{"id":"r2","custom_id":"b","error":null}` + "\n"
	o.cabinet.files["file-out"] = out
	o.cabinet.put("file-out", `{"id":"file-out"}`)
	if status, _ := o.as(t, token, "GET", "/v1/files/file-out/content", ""); status != 404 {
		t.Errorf("a file that nobody told of: %d", status)
	}
	o.cabinet.about[batch] = `{"id":"` + batch + `","object":"batch","status":"completed","output_file_id":"file-out","error_file_id":null,"usage":{"input_tokens":70,"output_tokens":30}}`
	if status, got := o.as(t, "eve-token", "GET", "/v1/batches/"+batch, ""); status != 404 {
		t.Errorf("another's batch: %d %s", status, got)
	}
	if status, got := o.as(t, token, "GET", "/v1/batches/"+batch, ""); status != 200 || got != o.cabinet.about[batch] {
		t.Errorf("the batch: %d %s", status, got)
	}
	if status, got := o.as(t, token, "GET", "/v1/files/file-out/content", ""); status != 200 || got != strings.Replace(out, "sesame", "[masked]", 1) {
		t.Errorf("what came of it: %d %s", status, got)
	}
	if status, _ := o.as(t, "eve-token", "GET", "/v1/files/file-out/content", ""); status != 404 {
		t.Errorf("what came of another's: %d", status)
	}
	if status, _ := o.as(t, token, "POST", "/v1/batches/"+batch+"/cancel", ""); status != 200 {
		t.Errorf("cancel: %d", status)
	}
	if got := o.cabinet.asked[len(o.cabinet.asked)-1]; got != "POST /v1/batches/"+batch+"/cancel" {
		t.Errorf("the provider was asked %s", got)
	}
	records := o.records()
	first := records[0]
	if first.Method != "files/create" || first.Resource != "files" || first.Unjudged != 0 || len(first.Findings) != 0 {
		t.Errorf("record = %+v", first)
	}
	for _, r := range records {
		if u := r.Usage; u != nil && (r.Method == "batches/get" || !u.Estimated || u.Input < 20 || u.Output != 20 || u.Tier != "batch") { // what a batch tells would be counted each time
			t.Errorf("%s has usage %+v", r.Call, r.Usage)
		}
		if r.Method == "batches/create" && r.Type == audit.Opened && (r.Env.Tokens < 20 || r.Resource != "gpt") {
			t.Errorf("record of the batch = %+v with %+v", r, r.Env)
		}
	}
}

func TestAFileForABatchIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		status        int
		reason        string
	}{
		{"with nothing", "\n\n", 400, "has no calls"},
		{"with garbage", line("a", "gpt", "x") + "\n{", 400, "line 2: it cannot be read"},
		{"with a name twice", `{"custom_id":"a","custom_id":"b"}`, 400, "line 1: it cannot be read"},
		{"for a model that is denied", line("a", "gpt", "x") + "\n" + line("b", "openai/denied", "x"), 400, "line 2: a batch is for one model"},
		{"for one model that is denied", line("a", "openai/denied", "x"), 403, "line 1: rule R9 denies model:openai/denied"},
		{"for another provider's model", line("a", "anthropic/claude", "x"), 400, "line 1: model anthropic/claude is not one of provider openai"},
		{"for a name that stands for several", line("a", "fast", "x"), 400, "stands for several"},
		{"without a model", `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}`, 400, "line 1: model is missing"},
		{"with a verb that is none", strings.Replace(line("a", "gpt", "x"), "POST", "GET", 1), 400, "line 1: want"},
		{"with something more", strings.Replace(line("a", "gpt", "x"), `{"custom_id"`, `{"headers":{},"custom_id"`, 1), 400, "line 1: want"},
		{"without a body", `{"custom_id":"a","method":"POST","url":"/v1/chat/completions"}`, 400, "line 1: want"},
		{"for a place that is not judged", strings.Replace(line("a", "gpt", "x"), "chat/completions", "fine_tuning/jobs", 1), 400, "batches of /v1/fine_tuning/jobs are not judged"},
		{"for two places", line("a", "gpt", "x") + "\n" + strings.Replace(line("b", "gpt", "x"), "chat/completions", "responses", 1), 400, "a batch is for one url"},
		{"that goes on with another's response", `{"custom_id":"a","method":"POST","url":"/v1/responses","body":{"model":"gpt","input":"x","previous_response_id":"resp_9"}}`, 404, "there is no response resp_9"},
		{"with too many lines", strings.Repeat(`{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"gpt"}}`+"\n", 50_001), 400, "more than 50000 lines"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t)
			o.deny = "model:openai/denied"
			body, kind := formOf(t, field{"purpose", "", "", "batch"}, field{"file", "a.jsonl", "application/jsonl", tt.content})
			status, got := o.as(t, token, "POST", "/v1/files", body, "Content-Type", kind)
			if status != tt.status || !strings.Contains(got, tt.reason) || !strings.HasPrefix(got, `{"error":{`) {
				t.Errorf("= %d %s, want %d %s", status, got, tt.status, tt.reason)
			}
			if len(o.cabinet.asked) > 0 {
				t.Errorf("the provider was asked %s", o.cabinet.asked)
			}
			if got := types(o.records()); !strings.HasPrefix(got, "refused:") || strings.Contains(got, " ") {
				t.Errorf("records = %s", got)
			}
		})
	}
}

func TestABatchOfWhatWasNotJudgedIsRefused(t *testing.T) {
	o := newOffice(t, lenient{mask{"sesame"}})
	other := o.upload(t, token, "user_data", line("a", "openai/denied", "x"))
	judged := o.upload(t, token, "batch", line("a", "gpt", "x"))
	o.cabinet.put("file-operator", `{"id":"file-operator"}`)
	for _, tt := range []struct {
		name, file, endpoint string
		status               int
		reason               string
	}{
		{"a file for something else", other, "/v1/chat/completions", 400, "was not judged"},
		{"a file that did not come this way", "file-operator", "/v1/chat/completions", 404, "there is no file file-operator"},
		{"no file", "", "/v1/chat/completions", 404, "there is no file"},
		{"another endpoint", judged, "/v1/responses", 400, "endpoint must be /v1/chat/completions"},
	} {
		status, got := o.as(t, token, "POST", "/v1/batches", `{"input_file_id":"`+tt.file+`","endpoint":"`+tt.endpoint+`"}`)
		if status != tt.status || !strings.Contains(got, tt.reason) {
			t.Errorf("%s: %d %s", tt.name, status, got)
		}
	}
	o.deny = "model:openai/gpt" // since it was judged
	if status, got := o.as(t, token, "POST", "/v1/batches", `{"input_file_id":"`+judged+`","endpoint":"/v1/chat/completions"}`); status != 403 {
		t.Errorf("a model that is denied by now: %d %s", status, got)
	}
	if len(o.cabinet.bodies) > 0 {
		t.Errorf("the provider made %s", o.cabinet.bodies)
	}
}

func TestObjectsAreTheirOwnersAlone(t *testing.T) {
	o := newOffice(t)
	file := o.upload(t, token, "batch", line("a", "gpt", "x"))
	_, got := o.as(t, token, "POST", "/v1/batches", `{"input_file_id":"`+file+`","endpoint":"/v1/chat/completions"}`)
	batch := gjson.Get(got, "id").Str
	_, got = o.as(t, token, "POST", "/v1/responses", `{"model":"gpt","input":"x"}`)
	response := gjson.Get(got, "id").Str
	asked := len(o.cabinet.asked)
	for _, who := range []string{"eve-token", "bot-for-ana"} {
		for _, tt := range [][2]string{
			{"GET", "/v1/files/" + file}, {"GET", "/v1/files/" + file + "/content"}, {"DELETE", "/v1/files/" + file},
			{"GET", "/v1/batches/" + batch}, {"POST", "/v1/batches/" + batch + "/cancel"}, {"GET", "/v1/files?after=" + file},
			{"GET", "/v1/responses/" + response}, {"GET", "/v1/responses/" + response + "?stream=true"}, {"DELETE", "/v1/responses/" + response},
			{"POST", "/v1/responses/" + response + "/cancel"}, {"GET", "/v1/responses/" + response + "/input_items"}, {"GET", "/v1/responses/" + file},
		} {
			if status, got := o.as(t, who, tt[0], tt[1], ""); status != 404 || !strings.Contains(got, "has made through this gate") {
				t.Errorf("%s as %s: %d %s", tt, who, status, got)
			}
		}
		for _, body := range []string{
			`{"model":"gpt","input":"x","previous_response_id":"` + response + `"}`,
			`{"model":"fast","input":"x","previous_response_id":"` + response + `"}`,
			`{"model":"gpt","input":"x","conversation":"conv_1"}`,
			`{"model":"gpt","input":"x","conversation":{"id":"conv_1"}}`,
			`{"model":"gpt","input":[{"role":"user","content":[{"type":"input_file","file_id":"` + file + `"}]}]}`,
			`{"model":"gpt","input":[{"role":"user","content":[{"type":"input_file","file\u005fid":"` + file + `"}]}]}`,
			`{"model":"gpt","input":"x","tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["` + file + `"]}}]}`,
		} {
			if status, got := o.as(t, who, "POST", "/v1/responses", body); status != 404 {
				t.Errorf("%s as %s: %d %s", body, who, status, got)
			}
		}
		for _, path := range []string{"/v1/files", "/v1/batches"} {
			if status, got := o.as(t, who, "GET", path, ""); status != 200 || got != `{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}` {
				t.Errorf("list as %s: %d %s", who, status, got)
			}
		}
	}
	if n := len(o.cabinet.asked) - asked; n != 4 { // two lists each
		t.Errorf("the provider was asked %s", o.cabinet.asked[asked:])
	}
	for _, tt := range [][2]string{
		{"GET", "/v1/files/" + file}, {"GET", "/v1/files/" + file + "/content"}, {"GET", "/v1/batches/" + batch}, {"POST", "/v1/batches/" + batch + "/cancel"},
		{"GET", "/v1/responses/" + response}, {"GET", "/v1/responses/" + response + "/input_items"}, {"POST", "/v1/responses/" + response + "/cancel"},
		{"DELETE", "/v1/responses/" + response}, {"DELETE", "/v1/files/" + file},
	} {
		status, got := o.as(t, token, tt[0], tt[1], "")
		if status != 200 {
			t.Errorf("%s by its owner: %d %s", tt, status, got)
		}
		if last := o.cabinet.asked[len(o.cabinet.asked)-1]; last != tt[0]+" "+tt[1] {
			t.Errorf("the provider was asked %s, want %s", last, tt)
		}
	}
	for _, path := range []string{"/v1/files/" + file, "/v1/responses/" + response} {
		if status, got := o.as(t, token, "GET", path, ""); status != 404 || !strings.Contains(got, "has made through this gate") {
			t.Errorf("%s, which is gone: %d %s", path, status, got)
		}
	}
	for _, tt := range [][2]string{{"PUT", "/v1/files"}, {"POST", "/v1/files/" + file}, {"DELETE", "/v1/batches/" + batch}} {
		if status, got := o.as(t, token, tt[0], tt[1], ""); status != 405 {
			t.Errorf("%s: %d %s", tt, status, got)
		}
	}
	for _, path := range []string{"/v1/files/..", "/v1/files/a%2Fb", "/v1/files/a/b/c", "/v1/responses/a/b", "/v1/files/" + strings.Repeat("a", 200)} {
		if status, got := o.as(t, token, "GET", path, ""); status != 404 && status != 301 {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
}

func TestAListHasItsOwnersObjectsFromAllPages(t *testing.T) {
	o := newOffice(t)
	var mine []string
	for n := range 250 {
		if n%50 == 0 {
			mine = append([]string{o.upload(t, token, "user_data", "x")}, mine...)
		}
		o.cabinet.put(fmt.Sprintf("file-eves-%d", n), fmt.Sprintf(`{"id":"file-eves-%d"}`, n))
	}
	var got []string
	for after := ""; ; {
		path := "/v1/files?limit=2&order=desc"
		if after != "" {
			path += "&after=" + after
		}
		status, page := o.as(t, token, "GET", path, "")
		if status != 200 {
			t.Fatalf("%d %s", status, page)
		}
		for _, id := range gjson.Get(page, "data.#.id").Array() {
			got = append(got, id.Str)
			after = id.Str
		}
		if gjson.Get(page, "last_id").Str != after {
			t.Errorf("page = %s", page)
		}
		if !gjson.Get(page, "has_more").Bool() {
			break
		}
	}
	if !slices.Equal(got, mine) {
		t.Errorf("got %s, want %s", got, mine)
	}
	if status, page := o.as(t, token, "GET", "/v1/files?limit=0", ""); status != 400 {
		t.Errorf("%d %s", status, page)
	}
	o.cabinet.fault = answer(500, "application/json", `{"error":{"message":"down","type":"server_error"}}`)
	if status, page := o.as(t, token, "GET", "/v1/files", ""); status != 500 || !strings.Contains(page, "down") {
		t.Errorf("%d %s", status, page)
	}
}

// TestFilesThatAreNoTextPass unjudged, and not where a guard must read them.
func TestFilesThatAreNoTextPass(t *testing.T) {
	const content = "%PDF-\x00\xff sesame"
	o := newOffice(t, lenient{mask{"sesame"}})
	file := o.upload(t, token, "user_data", content)
	if got := o.cabinet.files[file]; got != content {
		t.Errorf("the provider keeps %q", got)
	}
	o.cabinet.lastSay = "text/html"
	req, err := http.NewRequest("GET", o.gate+"/v1/files/"+file+"/content", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if resp, got := do(t, req); got != content || resp.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("content = %q as %s", got, resp.Header.Get("Content-Type"))
	}
	records := o.records()
	if records[0].Unjudged != int64(len(content)) || records[3].Unjudged != int64(len(content)) {
		t.Errorf("unjudged %d and %d", records[0].Unjudged, records[3].Unjudged)
	}

	strict := newOffice(t, mask{"sesame"})
	body, kind := formOf(t, field{"purpose", "", "", "user_data"}, field{"file", "a.pdf", "application/pdf", content})
	if status, got := strict.as(t, token, "POST", "/v1/files", body, "Content-Type", kind); status != 403 || !strings.Contains(got, "guard mask must read") {
		t.Errorf("%d %s", status, got)
	}
	strict.upload(t, token, "batch", line("a", "gpt", "x")) // which it can
	for _, fields := range [][]field{
		{{"file", "a.pdf", "application/pdf", content}},
		{{"purpose", "", "", "user_data"}},
		{{"purpose", "", "", "user_data"}, {"file", "", "", "text"}},
		{{"purpose", "", "", "user_data"}, {"file", "a", "a/b", "1"}, {"file", "b", "a/b", "2"}},
		{{"purpose", "", "", "user_data"}, {"purpose", "", "", "batch"}, {"file", "a", "a/b", "1"}},
	} {
		body, kind := formOf(t, fields...)
		if status, got := o.as(t, token, "POST", "/v1/files", body, "Content-Type", kind); status != 400 {
			t.Errorf("%v: %d %s", fields, status, got)
		}
	}
}

func TestAFileThatIsCutOffIsCutOff(t *testing.T) {
	o := newOffice(t)
	out := o.upload(t, token, "batch", line("a", "gpt", "x"))
	for _, tt := range []struct {
		name  string
		fault http.HandlerFunc
		want  string // 503 with that in it, or what came before the end
		broke bool
	}{
		{"in the middle", cut(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			answer(200, "application/octet-stream", "{\"a\":1}\n{\"b\":")(w, r)
			w.(http.Flusher).Flush()
		}), "{\"a\":1}\n", true},
		{"with garbage", answer(200, "application/octet-stream", "{\"a\":1}\n<html>\n"), "{\"a\":1}\n", true},
		{"with garbage at once", answer(200, "application/octet-stream", "<html>"), "a line that is not JSON", false},
		{"with an endless line", endless("{\"a\":\"", "x", "application/octet-stream"), "more than callgate takes", false},
	} {
		o.cabinet.fault = tt.fault
		req, err := http.NewRequest("GET", o.gate+"/v1/files/"+out+"/content", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case tt.broke && (!errors.Is(err, io.ErrUnexpectedEOF) || string(got) != tt.want):
			t.Errorf("%s: %q, %v", tt.name, got, err)
		case !tt.broke && (resp.StatusCode != 503 || !strings.Contains(string(got), tt.want)):
			t.Errorf("%s: %d %s", tt.name, resp.StatusCode, got)
		}
	}
}

func TestSomeoneElseMustBeNamedWhereSeveralKeepFiles(t *testing.T) {
	o := newOffice(t)
	up := serve(t, o.cabinet)
	if err := o.door.SetProviders(map[string]providers.Provider{"openai": {BaseURL: up + "/v1"}, "lab": {Kind: "openai", BaseURL: up + "/v1"}, "anthropic": {BaseURL: up}}, nil); err != nil {
		t.Fatal(err)
	}
	if status, got := o.as(t, token, "GET", "/v1/files", ""); status != 400 || !strings.Contains(got, "more than one provider keeps files") {
		t.Errorf("%d %s", status, got)
	}
	if status, got := o.as(t, token, "GET", "/v1/files", "", "Callgate-Provider", "anthropic"); status != 404 {
		t.Errorf("%d %s", status, got)
	}
	if status, got := o.as(t, token, "GET", "/v1/files", "", "Callgate-Provider", "lab"); status != 200 {
		t.Errorf("%d %s", status, got)
	}
	if got := o.asked[len(o.asked)-1]; got != "store model:lab/files" {
		t.Errorf("policy was asked %s", got)
	}
	// A response is gone on with where it is kept, and not elsewhere.
	_, got := o.as(t, token, "POST", "/v1/responses", `{"model":"lab/m","input":"x"}`)
	id := gjson.Get(got, "id").Str
	if status, got := o.as(t, token, "POST", "/v1/responses", `{"model":"openai/m","input":"x","previous_response_id":"`+id+`"}`); status != 400 || !strings.Contains(got, "is kept by provider lab") {
		t.Errorf("%d %s", status, got)
	}
	if status, got := o.as(t, token, "POST", "/v1/responses", `{"model":"lab/other","input":"x","previous_response_id":"`+id+`"}`); status != 200 {
		t.Errorf("%d %s", status, got)
	}
}

func TestAResponseIsGoneOnWith(t *testing.T) {
	o := newOffice(t, lenient{mask{"sesame"}})
	o.most = 12 // the four, and two for each to go on with; to look at one is none
	for _, body := range []string{`{"model":"gpt","input":"x"}`, `{"model":"gpt","input":"x","stream":true}`, `{"model":"fast","input":"x"}`, `{"model":"fast","input":"x","stream":true}`} {
		status, got := o.as(t, token, "POST", "/v1/responses", body)
		id := "resp_" + strconv.Itoa(len(o.cabinet.about))
		if status != 200 || !strings.Contains(got, id) {
			t.Fatalf("%s: %d %s", body, status, got)
		}
		for _, model := range []string{"gpt", "fast"} {
			if status, got := o.as(t, token, "POST", "/v1/responses", `{"model":"`+model+`","input":"y","store":false,"previous_response_id":"`+id+`"}`); status != 200 {
				t.Errorf("go on: %d %s", status, got)
			}
		}
		before := len(o.records())
		if status, got := o.as(t, token, "GET", "/v1/responses/"+id, ""); status != 200 || !strings.Contains(got, "open [masked]") {
			t.Errorf("get: %d %s", status, got)
		}
		if status, got := o.as(t, token, "GET", "/v1/responses/"+id+"/input_items?limit=5", ""); status != 200 || !strings.Contains(got, "[masked]") {
			t.Errorf("input items: %d %s", status, got)
		}
		for _, r := range o.records()[before:] {
			if r.Usage != nil {
				t.Errorf("what was told before is counted again: %+v", r)
			}
		}
	}
	o.most = 100
	_, got := o.as(t, token, "POST", "/v1/responses", `{"model":"gpt","input":"x","store":false}`)
	if status, got := o.as(t, token, "GET", "/v1/responses/"+gjson.Get(got, "id").Str, ""); status != 404 {
		t.Errorf("one that is not stored: %d %s", status, got)
	}
	o.deny = "model:openai/gpt"
	if status, got := o.as(t, token, "GET", "/v1/responses/resp_1", ""); status != 403 {
		t.Errorf("one of a model that is denied by now: %d %s", status, got)
	}
}

// TestWithoutAStoreNothingIsKept: what cannot be bound to its owner is withheld.
func TestWithoutAStoreNothingIsKept(t *testing.T) {
	o := newOffice(t)
	file := o.upload(t, token, "batch", line("a", "gpt", "x"))
	o.store = nil
	body, kind := formOf(t, field{"purpose", "", "", "user_data"}, field{"file", "a", "a/b", "1"})
	if status, got := o.as(t, token, "POST", "/v1/files", body, "Content-Type", kind); status != 503 || !strings.Contains(got, "cannot be stored") || strings.Contains(got, "file-") {
		t.Errorf("%d %s", status, got)
	}
	for _, tt := range [][3]string{
		{"GET", "/v1/files/" + file, ""}, {"GET", "/v1/files", ""}, {"POST", "/v1/batches", `{"input_file_id":"` + file + `","endpoint":"/v1/chat/completions"}`},
		{"POST", "/v1/responses", `{"model":"gpt","input":"x"}`}, {"POST", "/v1/responses", `{"model":"gpt","input":"x","previous_response_id":"resp_1"}`},
	} {
		if status, got := o.as(t, token, tt[0], tt[1], tt[2]); status != 503 {
			t.Errorf("%s: %d %s", tt, status, got)
		}
	}
	if _, got := o.as(t, token, "POST", "/v1/responses", `{"model":"gpt","input":"x","stream":true}`); strings.Contains(got, "response.completed") || !strings.Contains(got, "response.failed") {
		t.Errorf("%s", got)
	}
}

// TestNothingAboutObjectsIsRemembered: the replies of the provider are kept, but not these.
func TestNothingAboutObjectsIsRemembered(t *testing.T) {
	o := newOffice(t)
	o.door = providers.New(providers.Config{Properties: o, Cache: providers.NewMemoryCache(1<<20, time.Now), Challenge: func(string, error) string { return "Bearer" }, Logger: slog.New(slog.DiscardHandler)}, o.rule)
	if err := o.door.SetProviders(map[string]providers.Provider{"openai": {BaseURL: serve(t, o.cabinet) + "/v1", Cache: time.Hour}}, nil); err != nil {
		t.Fatal(err)
	}
	first, second := o.upload(t, token, "user_data", "x"), o.upload(t, token, "user_data", "x")
	if first == second {
		t.Errorf("both uploads are %s", first)
	}
	o.cabinet.about[first] = `{"id":"` + first + `","status":"changed"}`
	for _, want := range []string{"changed", "again"} {
		o.cabinet.about[first] = `{"id":"` + first + `","status":"` + want + `"}`
		if _, got := o.as(t, token, "GET", "/v1/files/"+first, ""); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
