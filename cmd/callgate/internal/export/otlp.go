package export

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"callgate/audit"
)

// Conventions is the schema that the names of attributes are of.
const Conventions = "https://opentelemetry.io/schemas/1.45.0"

// An OTLP is a [Sink] that posts calls to a collector of OpenTelemetry, as spans and as
// histograms of duration and tokens (OTLP over HTTP, in JSON). The spans of a run are one
// trace: what a model asked for is below the call of the model. Changes are not sent.
type OTLP struct {
	URL     string // without /v1/traces
	Header  http.Header
	Version string // of callgate
	Client  *http.Client

	told uint64 // the item whose span was taken last, though perhaps not its figures
}

// Send implements [Sink]. What was taken as spans is not sent as such again if only its
// figures were not taken.
func (o *OTLP) Send(ctx context.Context, items []Item) error {
	items = slices.DeleteFunc(slices.Clone(items), func(it Item) bool { return it.Call == nil })
	if len(items) == 0 {
		return nil
	}
	resource := object{"attributes": attributes(map[string]any{"service.name": "callgate", "service.version": o.Version})}
	scope := object{"name": "callgate", "version": o.Version}
	if last := items[len(items)-1].Seq; last > o.told {
		var spans []object
		for _, it := range items {
			spans = append(spans, span(it.Call))
		}
		err := o.post(ctx, "/v1/traces", object{"resourceSpans": []object{{"resource": resource, "schemaUrl": Conventions,
			"scopeSpans": []object{{"scope": scope, "schemaUrl": Conventions, "spans": spans}}}}})
		if err != nil {
			return err
		}
		o.told = last
	}
	return o.post(ctx, "/v1/metrics", object{"resourceMetrics": []object{{"resource": resource, "schemaUrl": Conventions,
		"scopeMetrics": []object{{"scope": scope, "schemaUrl": Conventions, "metrics": figures(items)}}}}})
}

func (o *OTLP) post(ctx context.Context, path string, doc object) error {
	body, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return post(ctx, o.Client, strings.TrimSuffix(o.URL, "/")+path, o.Header, body)
}

// TraceID is the trace of a run: its id, which is a UUID, or what stands for it.
func TraceID(run string) string {
	id := strings.ReplaceAll(run, "-", "")
	if raw, err := hex.DecodeString(id); err == nil && len(raw) == 16 {
		return id
	}
	sum := sha256.Sum256([]byte(run))
	return hex.EncodeToString(sum[:16])
}

// SpanID is the span of a call: the random half of its id.
func SpanID(call string) string { return TraceID(call)[16:] }

// span is a call as one.
func span(c *audit.Call) object {
	s := object{
		"traceId": TraceID(cmp.Or(c.Run, c.ID)), "spanId": SpanID(c.ID), "name": spanName(c), "kind": 3, // client
		"startTimeUnixNano": nanos(c.At), "endTimeUnixNano": nanos(max(c.Ended, c.At)),
	}
	var links []object
	for _, l := range c.Links {
		switch {
		case l.To != "": // about another call
		case l.Kind == audit.LinkProposed && s["parentSpanId"] == nil, l.Kind == audit.LinkWithin, l.Kind == audit.LinkAsked:
			s["parentSpanId"] = SpanID(l.From)
		case l.Kind != audit.LinkDelegated: // whose other end is in another trace
			links = append(links, object{"traceId": TraceID(cmp.Or(c.Run, c.ID)), "spanId": SpanID(l.From),
				"attributes": attributes(map[string]any{"callgate.link.kind": l.Kind, "callgate.link.method": l.Method})})
		}
	}
	if len(links) > 0 {
		s["links"] = links
	}
	all := about(c)
	if c.Outcome != "ok" {
		all["error.type"] = c.Outcome
		status := object{"code": 2}
		status.put("message", c.Reason)
		s["status"] = status
	}
	s["attributes"] = attributes(all)
	return s
}

// operation is what gen_ai.operation.name says of a model call.
func operation(c *audit.Call) string {
	switch c.Method {
	case "embeddings":
		return "embeddings"
	case "generateContent", "streamGenerateContent":
		return "generate_content"
	}
	return "chat"
}

func spanName(c *audit.Call) string {
	switch {
	case c.Kind == "model":
		return operation(c) + " " + c.Resource
	case c.Kind == "resource" || c.Resource == "": // a URI may tell too much
		return cmp.Or(c.Method, c.Kind)
	}
	return c.Method + " " + c.Resource
}

// about is the attributes of a call.
func about(c *audit.Call) map[string]any {
	a := map[string]any{
		"gen_ai.agent.name": strings.TrimPrefix(c.Agent, "agent:"), "gen_ai.conversation.id": cmp.Or(c.Thread, c.Run),
		"callgate.call": c.ID, "callgate.run": c.Run, "callgate.effect": c.Effect, "callgate.rule": c.Rule, "callgate.policy": c.Policy,
		"callgate.subject": c.Subject, "callgate.chain": c.Chain, "callgate.outcome": c.Outcome, "callgate.signals": c.Signals,
	}
	switch c.Kind {
	case "model":
		a["gen_ai.operation.name"], a["gen_ai.provider.name"], a["gen_ai.request.model"] = operation(c), c.Target, c.Resource
		if u := c.Usage; u != nil {
			a["gen_ai.usage.input_tokens"], a["gen_ai.usage.output_tokens"] = u.Input, u.Output
			a["gen_ai.usage.cache_read.input_tokens"], a["gen_ai.usage.reasoning.output_tokens"] = u.CacheRead, u.Reasoning
		}
		if c.Cost != nil {
			a["callgate.cost_microusd"] = *c.Cost
		}
	case "tool":
		a["gen_ai.operation.name"], a["gen_ai.tool.name"], a["mcp.method.name"], a["callgate.mcp.server"] = "execute_tool", c.Resource, c.Method, c.Target
		for _, l := range c.Links {
			if l.Kind == audit.LinkProposed && l.ID != "" {
				a["gen_ai.tool.call.id"] = l.ID
			}
		}
	default:
		a["mcp.method.name"], a["callgate.mcp.server"] = c.Method, c.Target
	}
	if c.Kind != "model" {
		a["mcp.session.id"] = c.Session
	}
	return a
}

// attributes are names and values in OTLP's JSON, by name. What says nothing is left out.
func attributes(all map[string]any) []object {
	var list []object
	for name, v := range all {
		var value object
		switch v := v.(type) {
		case string:
			if v != "" {
				value = object{"stringValue": v}
			}
		case int64:
			if v != 0 {
				value = object{"intValue": strconv.FormatInt(v, 10)}
			}
		case []string:
			var texts []object
			for _, s := range v {
				texts = append(texts, object{"stringValue": s})
			}
			if texts != nil {
				value = object{"arrayValue": object{"values": texts}}
			}
		}
		if value != nil {
			list = append(list, object{"key": name, "value": value})
		}
	}
	slices.SortFunc(list, func(a, b object) int { return strings.Compare(a["key"].(string), b["key"].(string)) })
	return list
}

func nanos(us int64) string { return strconv.FormatInt(us*1000, 10) }
