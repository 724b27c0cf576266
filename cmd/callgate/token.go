package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"callgate/cmd/callgate/internal/console"
	"callgate/identity"

	"github.com/spf13/cobra"
)

func (p *program) token() *cobra.Command {
	var n console.NewToken
	var ttl time.Duration
	var child, details string
	var narrow narrowing
	cmd := &cobra.Command{
		Use:   "token NAME",
		Short: "print an access token for an agent, and nothing else",
		Long: `Print an access token for an agent, and nothing else, so that it can stand
where an SDK or a client wants an API key or the command that prints one.

With --from the agent acts for another one: its token then allows no more than
both may do, and ends with the other's. --from is an agent's name, an access
token, or - for one on standard input.

--only, --action, --calls, --usd and --depth narrow the token further; what they
say together is one of its authorization_details. --details takes them whole, as
JSON (docs/identity.md).`,
		Example: `  export OPENAI_API_KEY=$(callgate token support-bot --ttl 15m)
  curl -H "Authorization: Bearer $(callgate token support-bot)" http://127.0.0.1:8700/v1/models
  callgate token --for clerk --from support-bot --only 'tool:shop/*' --calls 5`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 && (len(args) != 0 || child == "") || len(args) == 1 && child != "" {
				return usageError{errors.New("want the agent's name, once (callgate token --help shows examples)")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if child == "" {
				child = args[0]
			}
			if ttl != 0 {
				n.TTL = ttl.String()
			}
			if n.From == "-" {
				text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 64<<10))
				if err != nil {
					return err
				}
				n.From = strings.TrimSpace(string(text))
			}
			if n.Details, err = narrow.details(details); err != nil {
				return usageError{err}
			}
			var t console.Token
			if err := p.ask(cmd, http.MethodPost, "/agents/"+url.PathEscape(child)+"/token", n, &t); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(t)
			}
			_, err = fmt.Fprintln(p.out, t.AccessToken)
			return err
		},
	}
	f := cmd.Flags()
	f.DurationVar(&ttl, "ttl", 0, "its life, up to the agent's maximum (default: identity.ttl of the gate, 5m)")
	f.StringVar(&child, "for", "", "the agent's name, instead of NAME")
	f.StringVar(&n.From, "from", "", "for whom it acts: an agent's name, an access token, or - for one on standard input")
	f.StringVar(&n.Scope, "scope", "", "mcp:SERVER and model:PROVIDER, several with spaces")
	f.StringVar(&n.Resource, "resource", "", "the only URL of the gate that it is for: http://127.0.0.1:8700/mcp/shop")
	f.StringVar(&n.Run, "run", "", "the only run that it is for")
	f.StringArrayVar(&narrow.only, "only", nil, "an object that it is for: tool:shop/refund, model:openai/*; may be given several times")
	f.StringArrayVar(&narrow.actions, "action", nil, "an action that it is for: call, generate, read…; may be given several times")
	f.Int64Var(&narrow.calls, "calls", 0, "how many calls it allows")
	f.Float64Var(&narrow.usd, "usd", 0, "how many US dollars of models it allows")
	f.IntVar(&narrow.depth, "depth", -1, "how often it may be delegated further (default as often as the other's)")
	f.StringVar(&details, "details", "", "authorization_details, as JSON")
	return p.withJSON(cmd)
}

// A narrowing is one cap in flags.
type narrowing struct {
	only, actions []string
	calls         int64
	usd           float64
	depth         int
}

// details is n as authorization_details, or those that were given whole.
func (n *narrowing) details(given string) (json.RawMessage, error) {
	limits := identity.Limits{Calls: n.calls, CostMicroUSD: int64(math.Round(n.usd * 1e6))}
	if n.depth >= 0 {
		limits.Depth = &n.depth
	}
	if len(n.only) == 0 && len(n.actions) == 0 && limits == (identity.Limits{}) {
		return json.RawMessage(given), nil
	}
	switch {
	case given != "":
		return nil, errors.New("give either --details or the flags that stand for them")
	case len(n.only) == 0:
		return nil, errors.New("say with --only what --action, --calls, --usd and --depth are about: --only 'tool:*'")
	}
	return json.Marshal([]identity.Cap{{Type: identity.CapType, Actions: n.actions, Locations: n.only, Limits: limits}})
}
