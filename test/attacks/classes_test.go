package attacks

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"callgate/test/program"
)

var update = flag.Bool("update", false, "write what comes of it into docs/security.md")

// A class of attacks.
type class struct {
	n    string
	name string
	try  string // what is tried here
	how  string // what stops it, or what is missing
	run  func(*testing.T, *yard) (stopped bool)
}

var classes = []class{
	{"1", "Tool poisoning", "commands to the model in a description, title, default, enum and output schema", "the scan at first use: withheld, on record; what no pattern finds is pinned all the same", poisoning},
	{"2", "Rug pull", "one byte of a description; a new optional parameter; another output schema; a new name", "pins: the call is refused until a person accepts the change", rugPull},
	{"3", "Shadowing, squatting", "a name in letters of two scripts; the tool of another server", "look-alikes are withheld; names at `/mcp` carry their server's", shadowing},
	{"4", "A description that commands another server's tool", "it names `shop__pay`", "the scan: withheld; rules of the other tool hold anyway", crossServer},
	{"5", "Confused deputy", "an agent exchanges another one's token for its own use", "a `delegate` row is needed. Redirects and consent: `test/login`, `identity`", deputy},
	{"6", "Token pass-through, wrong audience", "a token for one server at another endpoint; the agent's token upstream", "`aud` is checked on each route; only callgate's credentials go upstream", audience},
	{"7", "Injection through results", "a page orders a payment to its own account", "`pack:strict`: by labels and origins, whatever the text says", injection},
	{"8", "Lethal trifecta", "private data, text of anybody, and a way out; also by a sub-agent", "`pack:strict`: the third is held, each two pass", trifecta},
	{"9", "Excessive agency", "roles, tools and arguments that no row allows", "default deny, down to arguments", agency},
	{"10a", "Hidden characters in definitions", "tag characters, bidi, zero width, ANSI", "the scan: withheld, told decoded", hiddenDefinitions},
	{"10b", "Hidden characters in results", "tag characters in the text of a result", "the guard `hidden` takes them out", hiddenResults},
	{"11", "SSRF by arguments", "link-local, decimal, octal, mapped addresses; `user@host`; other schemes", "`class: url` for the argument", ssrf},
	{"12", "Path traversal", "`..`, encoded, NUL, UNC, a prefix that is another folder", "`class: path` and `within` for the argument", traversal},
	{"13", "Session hijack", "another agent's `Mcp-Session-Id`", "a session belongs to one principal", hijack},
	{"14", "State tampering", "`requestState` changed, of another agent, twice", "it is sealed: for one principal, one request, once", tampering},
	{"15", "DNS rebinding", "an `Origin` and a `Host` of elsewhere, on both listeners", "403", rebinding},
	{"16", "Commands in stdio configurations", "shell signs in arguments; an agent that adds a server", "no shell; servers come from the config alone", stdioConfig},
	{"17", "Sampling abuse", "a server asks for the client's model", "denied without a row; limits for those that may", sampling},
	{"18", "Elicitation phishing", "a form for a password; a page of another host", "it never reaches the user", phishing},
	{"19", "Header and body differ", "another tool in the header; a name twice", "one strict parse for decision and forwarding", differential},
	{"20", "Cache leak", "a server says that its list is public", "filtered lists leave as `private`", cacheLeak},
	{"21", "Bombs", "a result of 6 MB; a schema that refers elsewhere", "`max_reply`; nothing is fetched; the tool is withheld", bombs},
	{"22", "Leak of credentials", "canaries as keys: in replies, records, logs, the data folder", "credentials go in last, and into nothing else", leaks},
	{"23", "Impersonation", "`alg: none`, another `sub`, `X-User`, a sub-agent that does more than it was given", "signatures; claims of clients grant nothing; grants only narrow", impersonation},
	{"24", "Approval substitution", "approved once: other arguments, another agent, twice", "an approval is for one exact call, once", substitution},
	{"25", "Audit tampering", "a byte changed; the tail cut off", "`callgate audit verify`, as far as checkpoints go: one a second", auditTampering},
	{"26", "Going past the gate", "the server is called directly", "the server's key exists in callgate alone. Unproxied entries: `callgate doctor`", bypass},
	{"27", "Denial of wallet, loops", "20 calls at once where 5 may be", "`limit:` rows; none are there by default", wallet},
	{"28", "Forged tool calls", "a call that no model asked for", "flagged on record; denied where a row reads `r.env.orphan`", forgery},
}

func TestEachClassOfAttack(t *testing.T) {
	y := newYard(t)
	var table strings.Builder
	table.WriteString("| # | class | tried | state | what stops it |\n| --- | --- | --- | --- | --- |\n")
	defended, undefended := 0, 0
	for _, c := range classes {
		stopped, ran := false, false
		t.Run(c.n+" "+c.name, func(t *testing.T) {
			y.t = t
			stopped, ran = c.run(t, y), true
		})
		state := "**not defended**"
		if stopped {
			state = "defended"
			defended++
		} else if ran {
			undefended++
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s |\n", c.n, c.name, c.try, state, c.how)
	}
	y.t = t
	fmt.Fprintf(&table, "\n%d of %d.\n", defended, len(classes))
	if t.Failed() || defended+undefended < len(classes) { // or only some were run
		return
	}
	program.Written(t, filepath.Join("..", "..", "docs", "security.md"), "classes", table.String(), *update)
}
