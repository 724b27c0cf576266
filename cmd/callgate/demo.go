package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"callgate/audit"
	"callgate/cmd/callgate/internal/demo"
	"callgate/firewall"
	"callgate/firewall/packs"
	"callgate/firewall/policy"
	"callgate/identity"

	"github.com/spf13/cobra"
)

const demoPolicy = `# the clerk may ask the model, look things up, and pay out up to 100 euros
p, role:clerk, *, model:demo/*,            generate, true,                     allow, MODEL
p, role:clerk, *, tool:shop/search_orders, call,     true,                     allow, LOOK-UP
p, role:clerk, *, tool:shop/read_messages, call,     true,                     allow, LOOK-UP-TOO
p, role:clerk, *, tool:shop/pay_out,       call,     r.env.args.amount <= 100, allow, SMALL-SUMS
p, role:clerk, *, tool:shop/refund,        call,     r.env.args.amount <= 100, allow, SMALL-REFUNDS
`

func (p *program) demo() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "see all of it at work: an agent, a model and tools through a real gate, on this machine",
		Long: `See all of it at work, with nothing to set up and no network: an agent gets a
token, asks a model, calls a tool whose result holds a secret, reads a message that
orders it to pay a thief, and obeys; then it tries to pay back more than its policy
allows, through a real gate on loopback. The model and the tools follow a script;
everything between them is what serve runs.`,
		Example: "  callgate demo\n  callgate demo --keep",
		Args:    exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return p.show(ctx, keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "go on serving, and print commands to try")
	return cmd
}

// show runs the demo.
func (p *program) show(ctx context.Context, keep bool) (err error) {
	dir := p.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "callgate-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	key := rand.Text()
	model, err := aside(demo.Model(key))
	if err != nil {
		return err
	}
	defer model.Close()
	shop, err := aside(demo.Shop())
	if err != nil {
		return err
	}
	defer shop.Close()

	cfg := defaults()
	cfg.Listen, cfg.Admin.Listen, cfg.Data = "127.0.0.1:0", "127.0.0.1:0", Folder(dir)
	cfg.Providers = map[string]Provider{"demo": {
		Kind: "openai", BaseURL: ServerURL("http://" + model.Addr + "/v1"), APIKey: ProviderKeys{{Key: Credential{Text: identity.NewSecret(key)}}}, Models: []string{"clerk-1"}}}
	cfg.MCP.Servers = map[string]Server{"shop": {URL: ServerURL("http://" + shop.Addr + "/mcp"), Tools: map[string]Tool{
		"read_messages": {Reads: OwnLabels{Given: true, Labels: Labels(firewall.Untrusted)}},
		"pay_out":       {Acts: true, To: []string{"to"}},
	}}}
	strict, _ := packs.Rows("strict") // it is built in
	law, err := policy.Load(policy.Source{Name: packs.Prefix + "strict", Text: strict}, policy.Source{Name: "policy.csv", Text: []byte(demoPolicy)})
	if err != nil {
		return err
	}
	reread := func() (Config, *policy.Policy, error) { return cfg, law, nil }
	s, err := start(ctx, cfg, law, reread, slog.New(slog.NewTextHandler(p.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	p.say("A gate runs at %s; behind it are a model API and an MCP server that follow a script.", s.public())
	p.say("Its policy is pack:strict, and these rows; anybody may have written what read_messages answers:\n\n%s", demoPolicy)
	name, secret, err := s.hire(ctx)
	if err != nil {
		return err
	}
	agent := demo.Agent{Gate: s.public(), Name: name, Secret: secret.Reveal(), Model: "demo/clerk-1", Say: func(format string, args ...any) {
		fmt.Fprintf(p.out, "  "+format+"\n", args...)
	}}
	last, err := agent.Run(ctx, "Ana's order was delivered broken. Look after it.")
	if err != nil {
		return fmt.Errorf("the demo's agent: %w", err)
	}
	agent.Say("model: %q", last)

	chain, err := s.house.chainOf(ctx, "agent:"+name)
	if err != nil {
		return err
	}
	p.say("\nWhat is on record of it (callgate audit chain %s):\n", chain.Calls[0].Run)
	if err := p.printChain(&chain); err != nil {
		return err
	}
	p.say(`
The payment key in the tool's result was masked before the agent could see it. The
message was read, and the model obeyed it; but the account that it named stands in what
anybody could have written, and nowhere else, so that the payment waits for a person.
The refund above 100 never reached the agent: not by the model's good will, but by policy.
`)
	if !keep {
		p.say("Next: callgate demo --keep goes on serving, with commands to try; callgate serve --help begins a gate of your own.")
		return nil
	}
	p.say(`It goes on serving until Ctrl-C. In another terminal:

  export CALLGATE_DATA=%[1]s
  TOKEN=$(callgate token %[2]s)
  curl %[3]s/v1/chat/completions -H "Authorization: Bearer $TOKEN" -d '{"model":"demo/clerk-1","messages":[{"role":"user","content":"hello"}]}'
  curl %[3]s/v1/models -H "Authorization: Bearer $TOKEN"
  callgate mcp list --tools
  callgate audit query --effect deny
  callgate audit tail -f
  callgate agent revoke %[2]s     and the same curl again`, dir, name, s.public())
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

func (p *program) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// public is what agents call the gate.
func (s *serving) public() string { return string(s.house.public) }

// hire registers the demo's agent. A name is never used twice, and a data folder
// may be, so the name is a new one each time.
func (s *serving) hire(ctx context.Context) (string, identity.Secret, error) {
	a, secret, err := s.house.registry.Create(ctx, identity.Agent{
		Name: "clerk-" + strings.ToLower(rand.Text()[:4]), Roles: []string{"clerk"}, Owner: "user:ana", Purpose: "looks after broken deliveries"})
	return a.Name, secret, err
}

// chainOf is the chain of the agent's latest call.
func (h *house) chainOf(ctx context.Context, agent string) (audit.Chain, error) {
	if _, _, err := h.index.Sync(ctx); err != nil {
		return audit.Chain{}, err
	}
	calls, err := h.index.Calls(ctx, audit.Filter{Agent: agent, Limit: 1})
	if err == nil && len(calls) == 0 {
		err = fmt.Errorf("no call of %s is on record", agent)
	}
	if err != nil {
		return audit.Chain{}, err
	}
	return h.index.Chain(ctx, calls[0].Run)
}

// aside serves h on loopback until it is closed.
func aside(h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Addr: l.Addr().String(), Handler: h, ReadHeaderTimeout: headerTimeout}
	go s.Serve(l) // until Close
	return s, nil
}
