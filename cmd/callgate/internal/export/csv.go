package export

import (
	"strconv"
	"strings"
	"time"

	"callgate/audit"
)

// Columns are the names of a call's [Row].
var Columns = []string{"call", "at", "ended", "took_us", "tenant", "agent", "subject", "actors", "run", "thread", "kind", "target", "method", "resource", "args", "args_hash",
	"effect", "rule", "reason", "policy", "approval", "outcome", "fault", "input_tokens", "output_tokens", "cost_microusd", "labels", "signals"}

// Row is a call as texts, by [Columns]: times as RFC 3339 in UTC, lists with spaces between,
// and nothing where nothing is known.
func Row(c *audit.Call) []string {
	var input, output, cost string
	if c.Usage != nil {
		input, output = strconv.FormatInt(c.Usage.Input, 10), strconv.FormatInt(c.Usage.Output, 10)
	}
	if c.Cost != nil {
		cost = strconv.FormatInt(*c.Cost, 10)
	}
	at := func(us int64) string {
		if us == 0 {
			return ""
		}
		return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	list := func(l []string) string { return strings.Join(l, " ") }
	return []string{c.ID, at(c.At), at(c.Ended), strconv.FormatInt(c.TookUS, 10), c.Tenant, c.Agent, c.Subject, list(c.Actors), c.Run, c.Thread, c.Kind, c.Target, c.Method, c.Resource, string(c.Args), c.ArgsHash,
		c.Effect, c.Rule, c.Reason, c.Policy, c.Approval, c.Outcome, c.Fault, input, output, cost, list(c.Labels), list(c.Signals)}
}
