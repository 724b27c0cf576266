package policy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"callgate/firewall/policy"

	"github.com/google/go-cmp/cmp"
)

// told is problems in short, one a line.
func told(problems []policy.Problem) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func TestCheckSaysWhereAndWhatToWrite(t *testing.T) {
	const good = "p, role:a, *, tool:x/y, call, true, allow, R1\n"
	for _, tt := range []struct{ name, rows, want string }{
		{"nothing is wrong", good, ""},
		{"comments and empty lines count as lines", "# a\n\n  # b\n" + good + "x, y\n", "f:5: error: unknown type of row \"x\": write p (allow or deny)"},
		{"too few columns", "p, role:a, *, tool:x/y, call, allow, R1\n", "f:1: error: 7 columns, want the 8 of \"p, subject, tenant, object, action, condition, effect, id\""},
		{"a comma in a condition makes a column too many", "p, role:a, *, tool:x/y, call, r.env.args.s in ('a', 'b'), allow, R1\n", "f:1: error: 9 columns, want the 8 of"},
		{"too many columns in g", "g, agent:a, role:b, default, x\n" + good, "f:1: error: 5 columns, want the 4 of \"g, member, role, tenant\""},
		{"an empty column", "p, role:a, *, tool:x/y, call, , allow, R1\n", "f:1: error: column 6 is empty"},
		{"a missing id", "p, role:a, *, tool:x/y, call, true, allow,\n", "f:1: error: column 8 is empty"},
		{"the same id twice", good + "p, role:a, *, tool:x/z, call, true, allow, R1\n", "f:2: error: id R1 is taken by f:1"},
		{"the same id in p and p2", good + "p2, role:a, *, tool:x/z, call, true, allow, require_approval:group:b, R1\n", "f:2: error: id R1 is taken by f:1"},
		{"an id that is callgate's own", "p, role:a, *, tool:x/y, call, true, allow, identity\n", "f:1: error: id \"identity\" is callgate's own"},
		{"an id with a space", "p, role:a, *, tool:x/y, call, true, allow, rule one\n", "f:1: error: id \"rule one\": write letters"},
		{"a double quote inside a column", "p, role:a, *, tool:x/y, call, r.env.args.s == \"a\", allow, R1\n", "f:1: error: a double quote out of place"},
		{"a double quote that is not closed", "p, role:a, *, tool:x/y, call, \"true, allow, R1\n" + good, "f:1: error: a double quote out of place"},
		{"a control character", "p, role:a, *, tool:x/\x00y, call, true, allow, R1\n", "f:1: error: a control character"},
		{"bytes that are not UTF-8", "p, role:a, *, tool:x/\xffy, call, true, allow, R1\n", "f:1: error: not valid UTF-8"},
		{"a line that is too long", "p, role:a, *, tool:x/" + strings.Repeat("y", 9000) + ", call, true, allow, R1\n", "f:1: error: longer than 8192 bytes"},
		{"an action that is not one", "p, role:a, *, tool:x/y, run, true, allow, R1\n", "f:1: error: unknown action \"run\": write call, generate"},
		{"an action that is never done to such an object", "p, role:a, *, tool:x/y, read, true, deny, R1\n", "f:1: error: read is never done to tool: objects: write call"},
		{"an object that is nothing's name", "p, role:a, *, resource:docs/x, read, true, allow, R1\n", "f:1: error: object \"resource:docs/x\" is nothing's name: write resource:<server>|<uri>"},
		{"a tenant with a wildcard in it", "p, role:a, ten*, tool:x/y, call, true, allow, R1\n", "f:1: error: tenant \"ten*\""},
		{"a role in every tenant", "g, agent:a, role:b, *\n" + good, "f:1: error: tenant *: a role is held in one tenant"},
		{"paths, amounts and times of obligations that are right", "p2, role:a, *, tool:x/y, call, true, allow, redact:args.a.b;result.c-d;result.ü1, O1\n" +
			"p2, role:a, *, tool:x/*, call, true, allow, limit:calls=5/h, O2\np2, role:a, *, tool:x/y, call, true, allow, limit:calls=1/90m;per=run, O3\n" +
			"p2, role:a, *, model:*, generate, true, allow, limit:usd=0.05/7d;per=tenant, O4\np2, role:a, *, model:*, generate, true, allow, limit:tokens=1000000/1d;per=tool, O5\np, role:a, *, model:*, generate, true, allow, R9\n" + good, ""},
		{"a path of nothing", "p2, role:a, *, tool:x/y, call, true, allow, redact:card, O1\n" + good, "f:1: error: obligation \"redact:card\": write redact:args.PATH"},
		{"a path with an empty name", "p2, role:a, *, tool:x/y, call, true, allow, redact:args.a..b, O1\n" + good, "f:1: error: obligation \"redact:args.a..b\": \"args.a..b\": a path holds names"},
		{"a path with a star", "p2, role:a, *, tool:x/y, call, true, allow, redact:result.*, O1\n" + good, "f:1: error: obligation \"redact:result.*\": \"result.*\": a path holds names"},
		{"values of models that are redacted by path", "p2, role:a, *, model:*, generate, true, allow, redact:args.a, O1\n" + good, "f:1: error: redact is for tools, prompts and resources"},
		{"arguments of a resource", "p2, role:a, *, resource:x|*, read, true, allow, redact:result.a;args.b, O1\n" + good, "f:1: error: a resource has no arguments"},
		{"a limit of nothing", "p2, role:a, *, tool:x/y, call, true, allow, limit:bytes=5/1h, O1\n" + good, "f:1: error: obligation \"limit:bytes=5/1h\": a limit counts calls, concurrent, tokens or usd"},
		{"a limit of none", "p2, role:a, *, tool:x/y, call, true, allow, limit:calls=0/1h, O1\n" + good, "f:1: error: obligation \"limit:calls=0/1h\": \"0\" is no amount above 0"},
		{"half a call", "p2, role:a, *, tool:x/y, call, true, allow, limit:calls=1.5/1h, O1\n" + good, "f:1: error: obligation \"limit:calls=1.5/1h\": \"1.5\" of calls: want a whole number"},
		{"no time", "p2, role:a, *, tool:x/y, call, true, allow, limit:calls=5, O1\n" + good, "f:1: error: obligation \"limit:calls=5\": \"\" is no length of time"},
		{"a limit for nobody", "p2, role:a, *, tool:x/y, call, true, allow, limit:calls=5/1h;per=day, O1\n" + good, "f:1: error: obligation \"limit:calls=5/1h;per=day\": after the ; stands for whom is counted together: per= and agent, run, chain, user, group, model, tool or tenant"},
		{"a time for what is at once", "p2, role:a, *, tool:x/y, call, true, allow, limit:concurrent=5/1h, O1\n" + good, "f:1: error: obligation \"limit:concurrent=5/1h\": what is under way at once has no length of time: write limit:concurrent=5"},
		{"limits at every level", "p2, role:a, *, tool:x/y, call, true, allow, limit:concurrent=5;per=user, O1\np2, role:a, *, tool:x/y, call, true, allow, limit:calls=5/1h;per=group, O2\np2, role:a, *, tool:x/y, call, true, allow, limit:calls=5/1h;per=chain, O3\np2, role:a, *, tool:x/y, call, true, allow, limit:concurrent=5;per=model, O4\n" + good, ""},
		{"money for a tool", "p2, role:a, *, tool:x/y, call, true, allow, limit:usd=5/1h, O1\n" + good, "f:1: error: only models use tokens and cost money"},
		{"an obligation that is none", "p2, role:a, *, tool:x/y, call, true, allow, log, O1\n" + good, "f:1: error: unknown obligation \"log\""},
		{"an approval by nobody", "p2, role:a, *, tool:x/y, call, true, allow, require_approval:finance, O1\n" + good, "f:1: error: obligation \"require_approval:finance\": write require_approval:group:NAME"},
		{"all mistakes of a row", "p, a, *, x, call, y, z, R1\n", `f:1: error: subject "a": write it with user:, agent:, group:, role: or server: before the name
f:1: error: object "x": write it with model:, tool:, resource:, prompt:, agent:, class: or admin: before the name
f:1: error: condition: "y" means nothing here: attributes begin with r.env., texts stand in single quotes
f:1: error: unknown effect "z": write allow or deny`},
		{"a cycle, at one of its links", good + "g, role:c, role:b, default\ng, role:b, role:c, default\n", "f:3: error: a cycle: role:b → role:c → role:b; take one link out"},

		{"a row that says the same again", good + "p, role:a, *, tool:x/y, call, true, allow, R2\n", "f:2: warning: never decides: f:1 says the same before it"},
		{"an allow that is denied", good + "p, role:a, *, tool:x/y, call, true, deny, R2\n", "f:1: warning: never allows: f:2 denies as much"},
		{"a deny for everybody", "p, role:a, *, tool:x/y, call, r.env.args.n < 1, allow, R1\np, group:everyone, *, tool:x/*, *, true, deny, R2\n", "f:1: warning: never allows: f:2 denies as much"},
		{"a deny of a role's role", good + "p, role:b, default, tool:*, call, true, deny, R2\np, role:c, default, tool:x/y, call, true, allow, R3\ng, role:c, role:d, default\ng, role:d, role:b, default\n", "f:3: warning: never allows: f:2 denies as much"},
		{"a deny of a class", "p, role:a, *, class:c, call, true, deny, R1\np, role:a, *, tool:x/y, call, true, allow, R2\np, role:a, *, tool:x/z, call, true, allow, R3\ng2, tool:x/y, class:c\n", "f:2: warning: never allows: f:1 denies as much"},
		{"a deny in one tenant", "p, role:a, t, tool:*, call, true, deny, R8\n" + good, "f:1: warning: rows for the tenants t apply only"},
		{"a deny with a condition", good + "p, role:a, *, tool:*, call, r.env.depth > 0, deny, R2\n", ""},
		{"a condition that limits nothing", "p, role:a, *, tool:x/y, call, r.env.args.n < 1, allow, R1\np, role:a, *, tool:x/*, call, true, allow, R2\n", "f:1: warning: its condition limits nothing: f:2 allows as much without one"},
		{"a row that adds nothing", good + "p, role:a, *, tool:x/*, call, true, allow, R2\n", "f:1: warning: adds nothing: f:2 allows as much"},
		{"a deny that adds nothing", good + "p, role:a, *, tool:x/z, call, r.env.args.n > 1, deny, R2\np, role:a, *, tool:x/z, *, true, deny, R3\n", "f:2: warning: adds nothing: f:3 denies as much"},
		{"two that say as much in other words", "p, role:a, *, tool:x/y, call, true, allow, R1\np, role:a, default, tool:x/y, call, true, allow, R2\n", "f:2: warning: adds nothing: f:1 allows as much"},
		{"an obligation of nothing", good + "p2, role:a, *, prompt:*, get, true, allow, limit:calls=1/1h, R2\n", "f:2: warning: never applies: no p row allows anything of prompt:*"},
		{"an obligation of a class of nothing", good + "p2, role:a, *, class:c, call, true, allow, limit:calls=1/1h, R2\ng2, tool:y/x, class:c\n", "f:2: warning: never applies: no p row allows anything of class:c"},
		{"an obligation of a class", good + "p2, role:a, *, class:c, call, true, allow, limit:calls=1/1h, R2\ng2, tool:x/y, class:c\n", ""},
		{"an obligation for others than the rows allow", good + "p2, group:everyone, *, tool:*, call, true, allow, limit:calls=1/1h, R2\n", ""},
		{"a row about lists", "p, role:a, *, tool:x/y, list, true, allow, R1\n", "f:1: warning: has no effect: a list shows what the rows for its items allow"},
		{"a group without anybody", "p, group:b, *, tool:x/y, call, true, allow, R1\n", "f:1: warning: nobody is in group:b: add a g row"},
		{"a link that is there", good + "g, agent:a, role:b, default\ng, agent:a, role:b, default\n", "f:3: warning: agent:a is in role:b already"},
		{"tenants, in one warning", "p, role:a, acme, tool:x/y, call, true, allow, R1\np, role:a, beta, tool:x/y, call, true, allow, R2\n", "f:1: warning: rows for the tenants acme, beta apply only where there are such tenants"},
		{"no rule at all", "g, agent:a, role:b, default\n", "f:1: warning: no p row: every call is denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			problems := policy.Check(policy.Source{Name: "f", Text: []byte(tt.rows)})
			got := told(problems)
			if tt.want == "" && got != "" || !strings.HasPrefix(got, tt.want) {
				t.Errorf("Check = %s\nwant    %s", got, tt.want)
			}
			if len(problems) > 1 && strings.Count(tt.want, "\n")+1 != len(problems) && !strings.Contains(tt.want, "columns") {
				for _, p := range problems[strings.Count(tt.want, "\n")+1:] {
					if p.Severity == policy.Error {
						t.Errorf("and also %s", p)
					}
				}
			}
			_, err := policy.Load(policy.Source{Name: "f", Text: []byte(tt.rows)})
			if (err != nil) != strings.Contains(got, ": error: ") {
				t.Errorf("Check = %s\nLoad = %v", got, err)
			}
		})
	}
}

func TestAllMistakesOfAllFilesAreReportedInOrder(t *testing.T) {
	_, err := policy.Load(
		policy.Source{Name: "z.csv", Text: []byte("p, dev, *, tool:x/y, call, true, allow, R1\nhello\ng, agent:a, role:b, default\n")},
		policy.Source{Name: "a.csv", Text: []byte("p, role:a, *, tool:x/y, call, true, allow, R1\ng, role:b, agent:a, default\n")},
	)
	var problems policy.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("Load: %v, want Problems", err)
	}
	var at []string
	for _, p := range problems {
		at = append(at, strings.Join(strings.SplitN(p.String(), ":", 3)[:2], ":"))
	}
	if diff := cmp.Diff([]string{"z.csv:1", "z.csv:2", "a.csv:1", "a.csv:2"}, at); diff != "" {
		t.Errorf("places (-want +got):\n%s\n%v", diff, err)
	}
}

func TestAProblemIsReadableAsJSON(t *testing.T) {
	got, err := json.Marshal(policy.Problem{File: "f", Line: 3, Severity: policy.Warning, Text: "x"})
	if want := `{"file":"f","line":3,"severity":"warning","text":"x"}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

// FuzzLoad loads rows made of anything. Whatever it takes must decide, and must
// decide as Casbin does.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(shop), []byte(`{"amount": 40}`))
	f.Add([]byte("p, role:pay, *, tool:stripe/*, call, \"r.env.args.a in (1, -2) || !(r.env.args.b == 'x')\", allow, R\n"), []byte(`{"a":-2,"b":null}`))
	f.Add([]byte("p, role:pay, *, tool:stripe/refund, call, r.env.args.a in (), allow, R"), []byte(`{}`))
	f.Add([]byte("p, role:pay, *, tool:stripe/refund, call, ((r.env.args.a - 1) * 2 - 3 > 4) && r.env.args.b, allow, R"), []byte(`{"a":9,"b":true}`))
	f.Add([]byte("g, agent:bot, role:x, default\ng2, tool:stripe/refund, class:c\np, role:x, *, class:c, call, true, allow, R"), []byte(`[]`))
	f.Fuzz(func(t *testing.T, rows, args []byte) {
		src := policy.Source{Name: "f", Text: rows}
		p, err := policy.Load(src)
		if fails := strings.Contains(told(policy.Check(src)), "error: "); fails != (err != nil) {
			t.Fatalf("Load: %v, Check says otherwise", err)
		}
		if err != nil {
			return
		}
		call := tool(by("agent:bot", "role:pay"), "stripe", "refund", "")
		if json.Valid(args) {
			call = tool(by("agent:bot", "role:pay"), "stripe", "refund", string(args))
		}
		agrees(t, p, call)
		caller := call.Caller
		if d, may := p.Decide(call), p.May(&caller, call.Object(), call.Action()); may == 0 && d.Effect != 0 {
			t.Fatalf("May = no, Decide = %s", said(d))
		}
	})
}
