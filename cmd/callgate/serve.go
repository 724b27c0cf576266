package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"callgate/cmd/callgate/internal/console"
	"callgate/firewall"
	"callgate/firewall/policy"
	"callgate/identity"

	"github.com/spf13/cobra"
)

const defaultConfig = "callgate.yaml"

// ballastSize is bytes that are never touched, so that they take no memory. The
// garbage collector, which runs when the heap has doubled, counts them: without
// them a gate under load, which keeps next to nothing, would run it 70 times a
// second.
const ballastSize = 16 << 20

func (p *program) serve() *cobra.Command {
	var file string
	var over Overrides
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "run the gate",
		Long: `Run the gate, until it gets SIGINT or SIGTERM: then calls in flight may finish
(shutdown_timeout, 30s by default). A second signal ends it at once. SIGHUP makes
it read its configuration again, as callgate reload does.

With no configuration it serves this machine alone and denies everything. A small
callgate.yaml:

  mcp:
    servers:
      files: {command: [npx, -y, "@modelcontextprotocol/server-filesystem", /srv/docs]}
  providers:
    openai: {api_key: "env:OPENAI_API_KEY"}
  policy: [policy.csv]

and the policy.csv beside it:

  p, role:dev, *, tool:files/read_text_file, call,     true, allow, R1
  p, role:dev, *, model:openai/*,            generate, true, allow, R2`,
		Example: `  callgate serve
  callgate serve -c /etc/callgate.yaml --data /var/lib/callgate
  callgate serve --mcp-config .mcp.json`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			over.Data = p.data
			if over.Data == "" {
				over.Data, _ = p.env("CALLGATE_DATA")
			}
			return p.runGate(cmd.Context(), file, over)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration (default ./"+defaultConfig+" if it is there)")
	f.StringVar(&over.Listen, "listen", "", "address for agents (default "+defaultListen+")")
	f.StringVar(&over.AdminListen, "admin-listen", "", "address for the admin API (default "+defaultAdminListen+")")
	f.StringSliceVar(&over.Shadow, "shadow", nil, "a candidate for the policy: asked about live calls, without effect")
	f.StringVar(&over.Import, "mcp-config", "", "a file with the mcpServers JSON of MCP clients, besides the configuration")
	return cmd
}

// runGate serves until a signal ends it.
func (p *program) runGate(ctx context.Context, file string, over Overrides) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	ballast := make([]byte, ballastSize)
	defer runtime.KeepAlive(ballast)

	log := slog.New(slog.NewTextHandler(p.err, nil))
	reread := func() (Config, *policy.Policy, error) { return readAll(file, over, p.env) }
	cfg, law, err := reread()
	if err != nil {
		return err
	}
	s, err := start(ctx, cfg, law, reread, log)
	if err != nil {
		return err
	}
	if err := s.house.rehearse(ctx, over.Shadow); err != nil {
		return errors.Join(err, s.stop())
	}
	p.greet(s)
	for {
		select {
		case err := <-s.failed:
			return errors.Join(err, s.stop())
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				s.house.reload(ctx, "signal") // which logs what came of it
				continue
			}
			log.Info("stopping; a second signal ends this at once", "signal", sig.String())
			stopped := make(chan error, 1)
			go func() { stopped <- s.stop() }()
			for {
				select {
				case err := <-stopped:
					return err
				case sig := <-signals:
					if sig != syscall.SIGHUP {
						return errors.New("ended by a second signal; calls in flight have no record of their end")
					}
				}
			}
		}
	}
}

// readAll reads the configuration, or the one that is here if none was named,
// and the policy. The error is [Mistakes].
func readAll(file string, over Overrides, env func(string) (string, bool)) (Config, *policy.Policy, error) {
	if file == "" {
		if _, err := os.Stat(defaultConfig); err == nil || !errors.Is(err, fs.ErrNotExist) {
			file = defaultConfig
		}
	}
	cfg, err := readConfig(file, over, env)
	var wrong Mistakes
	errors.As(err, &wrong)
	law, err := policy.Load(cfg.sources()...)
	var problems policy.Problems
	if errors.As(err, &problems) {
		for _, x := range problems {
			wrong = append(wrong, Mistake{File: x.File, Line: x.Line, Text: x.Text})
		}
	} else if err != nil {
		wrong = append(wrong, Mistake{Text: err.Error()})
	}
	if len(wrong) > 0 {
		return cfg, nil, wrong
	}
	return cfg, law, nil
}

// sources is the policy files that could be read.
func (c *Config) sources() []policy.Source {
	var sources []policy.Source
	for _, f := range c.Policy {
		if f.Text != nil {
			sources = append(sources, policy.Source{Name: f.Path, Text: f.Text})
		}
	}
	return sources
}

// serving is a house with its doors open.
type serving struct {
	house          *house
	agents, people *front
	failed         chan error // of a door that cannot go on
	signs          []string   // files that say where people and agents come in
}

// start opens the house and then its doors. The commands find it by files in
// the data folder.
func start(ctx context.Context, cfg Config, law *policy.Policy, reread func() (Config, *policy.Policy, error), log *slog.Logger) (_ *serving, err error) {
	agents, err := listen(ctx, "listen", cfg.Listen)
	if err != nil {
		return nil, err
	}
	people, err := listen(ctx, "admin.listen", cfg.Admin.Listen)
	if err != nil {
		return nil, errors.Join(err, agents.Close())
	}
	s := &serving{failed: make(chan error, 2)}
	defer func() {
		if err == nil {
			return
		}
		err = errors.Join(err, agents.Close(), people.Close())
		if s.house != nil {
			err = errors.Join(err, s.house.close())
		}
	}()
	if !cfg.Admin.Listen.loopback() {
		log.Warn("the admin API can be reached from other machines, and has no TLS of its own", "admin_listen", people.Addr())
	}
	public := cfg.PublicURL
	if public == "" {
		public = BaseURL(cfg.scheme() + agents.Addr().String())
	}
	h, err := open(ctx, cfg, public, law, log)
	if err != nil {
		return nil, err
	}
	s.house, h.reread = h, reread
	for file, text := range map[string]string{addrFile: near(people.Addr()), gateFile: cfg.nearURL(agents.Addr(), public)} {
		file = filepath.Join(string(cfg.Data), file)
		if err := writeFile(file, text+"\n"); err != nil {
			return nil, err
		}
		s.signs = append(s.signs, file)
	}
	c := console.New(console.Config{
		Token: h.adminToken, Registry: h.registry, Authority: h.authority, Secrets: h.secrets, Revoked: h.revoked, Ledger: h.ledger, Index: h.index, Payloads: h.payloads, Sealer: h.sealer, Holds: h.holds, Record: h.note, Lineage: h.lineage, Travels: h.travels, Flows: h.flows, Expected: h.expected, Policies: h.versions, Approvals: h.approvals, Approve: h.approve,
		Pins: h.pinned, Accept: h.accept,
		Reload:  func(ctx context.Context) (console.Reloaded, error) { return h.reload(ctx, "admin") },
		Servers: h.states, Status: h.status, Providers: h.models.States,
		BeginLogin: h.beginLogin, Login: h.login, Logins: h.logins, EndLogin: h.endLogin,
	})
	bound := newStrangers(agents, int(cfg.Strangers), func(from string, e *firewall.Error) error {
		return h.gate.Refuse(context.Background(), &firewall.Call{Kind: firewall.Session, Method: "CONNECT", Route: "/", From: from}, e)
	})
	s.agents = newFront(bound, newDoorman(public, h.gate, h.authority.Prove(routes(h.models, h.tools, h.authority.Handler(), h.vault.Handler()))), log)
	secured, err := cfg.TLS.config()
	if err != nil {
		return nil, err
	}
	h.secured = &s.agents.secured
	h.secured.Store(secured)
	s.people = newFront(people, c.Handler(), log)
	for _, f := range []*front{s.people, s.agents} {
		go func() {
			if err := f.serve(); err != nil {
				s.failed <- fmt.Errorf("serve at %s: %w", f.addr(), err)
			}
		}()
	}
	return s, nil
}

// near is where this machine itself reaches addr.
func near(addr net.Addr) string {
	a, err := netip.ParseAddrPort(addr.String())
	if err != nil || !a.Addr().IsUnspecified() {
		return addr.String()
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()).String()
}

// scheme is what the gate's own URL begins with.
func (c *Config) scheme() string {
	if c.TLS.on() {
		return "https://"
	}
	return "http://"
}

// nearURL is where an agent on this machine reaches the gate: directly where it
// listens to this machine, else as all others do, because it answers to no other
// name, and its certificate has no other.
func (c *Config) nearURL(addr net.Addr, public BaseURL) string {
	if at := near(addr); Address(at).loopback() && !c.TLS.on() {
		return "http://" + at
	}
	return string(public)
}

// stop closes the doors, the agents' first, and then the house.
func (s *serving) stop() error {
	h := s.house
	h.mu.Lock()
	timeout := time.Duration(h.cfg.ShutdownTimeout)
	h.mu.Unlock()
	if !s.agents.stop(timeout) {
		h.log.Warn("calls were cut off", "after", timeout)
	}
	var errs []error
	for _, file := range s.signs {
		errs = append(errs, os.Remove(file))
	}
	s.people.stop(cutTimeout)
	return errors.Join(append(errs, h.close())...)
}

func listen(ctx context.Context, key string, a Address) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", string(a))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is in use already; stop what uses it, or choose another address", key, a)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

// adminToken is the token in file, which is made if it is not there. A file that
// others could read is as good as published: it gets a new one.
func adminToken(file string) (identity.Secret, error) {
	info, err := os.Stat(file)
	if err == nil && info.Mode().Perm()&0o077 == 0 {
		text, err := os.ReadFile(file)
		if token := strings.TrimSpace(string(text)); err == nil && len(token) == 64 {
			return identity.NewSecret(token), nil
		}
	}
	random := make([]byte, 32)
	rand.Read(random) // never fails
	token := hex.EncodeToString(random)
	if err := writeFile(file, token+"\n"); err != nil {
		return identity.Secret{}, err
	}
	return identity.NewSecret(token), nil
}

// writeFile puts text into a file that only its owner can read, whole or not at all.
func writeFile(file, text string) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// greet says where the gate is, and what is worth doing next.
func (p *program) greet(s *serving) {
	h := s.house
	h.mu.Lock()
	cfg := h.cfg // the doors are open: a reload may have come in
	h.mu.Unlock()
	standing := h.versions.Standing()
	file, rules := cfg.file, standing.Active.Digest()
	if standing.Version > 0 {
		rules += fmt.Sprintf(", version %d, activated by %s", standing.Version, standing.By)
	}
	if file == "" {
		file = "none: there is no " + defaultConfig + " here"
	}
	if _, yes := standing.Active.ByCasbin(); yes {
		rules += "; under a model of its own: Casbin itself decides about every call"
	}
	if len(cfg.Policy) == 0 && standing.Version == 0 {
		rules = "none: this gate denies everything"
	}
	fmt.Fprintf(p.out, `callgate %s is ready
  agents  http://%s  (MCP at /mcp, model APIs at /v1, tokens at /oauth/token)
  people  http://%s  (admin API; its token is in %s)
  config  %s
  policy  %s
`, thisVersion().Version, s.agents.addr(), s.people.addr(), filepath.Join(string(cfg.Data), tokenFile), file, rules)
	if len(cfg.Policy) > 0 || standing.Version > 0 {
		return
	}
	fmt.Fprint(p.out, `
What to do next:
  1. Write callgate.yaml: your MCP servers, your model providers  (callgate serve --help shows a small one)
  2. Write policy.csv: who may do what, and name it in callgate.yaml:  policy: [policy.csv]
  3. callgate reload                        puts both in force, or shows each mistake
  4. callgate agent create bot --role dev   registers an agent; callgate token bot gives it a token
  5. callgate audit tail -f                 shows what is allowed and denied, and why
`)
}
