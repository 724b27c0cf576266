package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"
	"callgate/cmd/callgate/internal/store"
	"callgate/firewall"
	"callgate/firewall/guards"
	"callgate/firewall/policy"
	"callgate/identity"
	"callgate/mcp"
	"callgate/providers"
)

// A house is everything that one process of callgate runs: the gate, who may come
// to it, what stands behind it, and the record of it all.
type house struct {
	log       *slog.Logger
	reread    func() (Config, *policy.Policy, error) // reads the configuration again
	started   time.Time
	public    BaseURL // what agents call the gate
	ledger    *audit.Ledger
	sealer    *audit.Sealer
	db        *store.DB
	redis     *store.Redis // nil where replies are kept in memory
	index     *store.Index
	payloads  *audit.Payloads
	holds     *audit.Holds
	registry  *identity.Registry
	revoked   *identity.Revocations
	authority *identity.Authority

	secured    *atomic.Pointer[tls.Config] // what agents' connections are made with
	adminToken identity.Secret             // by which commands and the console come in, and user:admin logs in
	gate       *firewall.Gate
	guards     []firewall.Guard
	pii        *guards.Watch                                  // one of them
	client     atomic.Pointer[map[string]firewall.ClientTool] // what is said of tools that are not behind the gate
	shadow     *policy.Shadow
	versions   *policy.Versions
	traces     atomic.Bool                      // the policy asks from where values come
	rehearsal  atomic.Pointer[policy.Rehearsal] // of a candidate, if there is one
	runs       *firewall.Runs
	budgets    *firewall.Budgets
	approvals  *firewall.Approvals
	toolbook   *toolbook
	pins       *mcp.Pins
	vault      *mcp.Vault // of tokens for servers
	secrets    *identity.Vault
	sources    *identity.Sources  // of credentials
	unreach    context.CancelFunc // ends what tends the token for HashiCorp Vault; nil: nothing does
	models     *providers.Handler
	tools      *mcp.Handler
	alerts     *alerts // of drift
	asking     *alerts // of calls that wait for people
	outlook    outlook
	working    sync.WaitGroup     // the index, and the policy's shadow
	rest       context.CancelFunc // ends their work

	mu      sync.Mutex // held by a reload; guards what follows
	cfg     Config
	servers map[string]*mcp.Server
	exports exports
	retired sync.WaitGroup // servers that a reload took out of use
}

// open builds a house that lives by cfg and law and is known to agents as public.
func open(ctx context.Context, cfg Config, public BaseURL, law *policy.Policy, log *slog.Logger) (_ *house, err error) {
	h := &house{log: log, started: time.Now(), public: public, cfg: cfg, rest: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.closeFiles())
		}
	}()
	data := string(cfg.Data)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	h.toolbook = openToolbook(data)
	if h.ledger, err = audit.Open(filepath.Join(data, "ledger"), audit.Config{Logger: log, Patience: time.Duration(cfg.Audit.Window)}); err != nil {
		return nil, err
	}
	if h.db, err = store.Open(ctx, filepath.Join(data, "callgate.db"), cfg.Database.Secret.Reveal()); err != nil {
		return nil, err
	}
	if h.registry, err = identity.OpenRegistry(ctx, h.db.Agents()); err != nil {
		return nil, err
	}
	keys, err := h.openKeys(ctx, filepath.Join(data, "keys"))
	if err != nil {
		return nil, err
	}
	if h.revoked, err = identity.OpenRevocations(ctx, h.db.Revocations(), maxDuration, time.Now, h.changed); err != nil {
		return nil, err
	}
	if h.adminToken, err = adminToken(filepath.Join(data, tokenFile)); err != nil {
		return nil, err
	}
	h.authority = identity.New(identity.Config{
		Issuer: string(public), TTL: time.Duration(cfg.Identity.TTL), Alg: string(cfg.Identity.Alg), Rotate: time.Duration(cfg.Identity.Rotate), Now: time.Now, Logger: log,
		Record: h.changed, Grants: h.db.Grants(), Revocations: h.revoked, Uses: h.db.Uses(), Nonce: bool(cfg.Identity.DPoPNonce), Certificates: len(cfg.TLS.ClientCA.Text) > 0,
		Front: cfg.oauthFront(h.adminToken, h.db.Vouchers()),
		Delegate: func(ctx context.Context, from *identity.Principal, to string) error {
			return h.gate.Delegate(ctx, from, to)
		},
	}, keys, h.registry)
	if h.vault, err = mcp.OpenVault(ctx, mcp.VaultConfig{
		PublicURL: string(public), Store: h.db.Tokens(keys.Seal()), Assert: h.authority.Assert, Record: h.changed, Logger: log,
	}); err != nil {
		return nil, err
	}
	if h.sealer, err = openSealer(h.ledger, filepath.Join(data, "keys", "ledger.key"), audit.SealerConfig{Logger: log, Copy: cfg.Audit.copyOf(h.ledger)}); err != nil {
		return nil, err
	}
	h.index = store.NewIndex(h.db, h.ledger, log)
	if h.holds, err = audit.OpenHolds(filepath.Join(data, "holds.json")); err != nil {
		return nil, err
	}
	if h.payloads, err = openPayloads(filepath.Join(data, "payloads"), keys.Seal(), time.Duration(cfg.Audit.Keep), h.heldOf, log); err != nil {
		return nil, err
	}
	if err := h.openSources(ctx, &cfg, keys.Seal()); err != nil {
		return nil, err
	}
	h.pii = guards.NewWatch(guards.PII{})
	h.pii.Set(cfg.Guards.PII.settings())
	h.guards = []firewall.Guard{guards.Hidden{}, guards.NewSecrets(), h.pii} // a secret may be broken up by what is hidden
	h.client.Store(new(cfg.clientTools()))
	h.shadow = policy.NewShadow(func(p *policy.Policy, how string) {
		log.Error("the policy's index did not answer as Casbin does; this is a fault of callgate, please report it", "policy", p.Digest(), "how", how)
		h.changed("policy.differs", "system", p.Digest(), how)
	})
	h.budgets = firewall.NewBudgets(time.Now)
	if err := h.budgets.Restore(ctx, h.db.Counts()); err != nil {
		return nil, err
	}
	h.approvals = firewall.NewApprovals(h.db.Approvals(), time.Duration(cfg.Approvals.TTL), time.Now)
	h.approvals.Tell(h.askedPeople)
	if err := h.approvals.Restore(ctx); err != nil {
		return nil, err
	}
	h.runs = firewall.NewRuns(time.Duration(cfg.Runs.Idle), h.db.Runs(), time.Now)
	if err := h.runs.Restore(ctx); err != nil {
		return nil, err
	}
	h.gate = firewall.New(firewall.Config{
		Verify: h.verify, Log: h.ledger, Runs: h.runs,
		Budgets: h.budgets, Approvals: h.approvals, Patience: time.Duration(cfg.Approvals.Wait), Stops: h.revoked, Now: time.Now, Logger: log, Person: h.registry.Person,
		Tools:    func(caller *identity.Principal, w firewall.Want) []firewall.Meaning { return h.tools.Meant(caller, w) },
		Payloads: h.payloads, Redactors: h.guards, Window: cfg.Audit.Window > 0,
		Drifted: h.drifted, Suspend: h.suspend,
	}, h.lawOf(law, nil))
	h.gate.SetKeep(cfg.Audit.rules())
	h.alerts, h.asking = newAlerts(h.changed), newAlerts(h.changed)
	h.expect(&cfg)
	replies, err := h.replies(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	h.models = providers.New(providers.Config{Cache: replies, Challenge: h.authority.Challenge, Properties: h.db.Properties(), Logger: log}, h.gate)
	h.tools = mcp.New(mcp.Config{PublicURL: string(public), Challenge: h.authority.Challenge, Version: thisVersion().Version, Logger: log}, h.gate)
	if h.pins, err = mcp.OpenPins(ctx, mcp.PinsConfig{Store: h.db.Pins(), Record: h.note, Changed: h.tools.Changed, Now: time.Now}); err != nil {
		return nil, err
	}
	if err := h.furnish(ctx, &cfg); err != nil {
		return nil, err
	}
	if err := h.note("gate.started", "system", thisVersion().Version, "public_url "+string(public)); err != nil {
		return nil, err
	}
	h.versions, err = policy.OpenVersions(ctx, policy.VersionsConfig{
		Store: h.db.Policies(), Record: h.note, Now: time.Now,
		Enforce: func(active, candidate *policy.Policy) {
			h.gate.SetLaw(h.lawOf(active, candidate))
			h.tools.Changed()
		},
	})
	if err != nil {
		return nil, err
	}
	if _, err := h.versions.Configure(ctx, law, "config"); err != nil {
		return nil, err
	}
	h.warn(&cfg)
	h.connect(&cfg)
	if err := h.startExports(cfg.Audit.Export, data); err != nil {
		return nil, err
	}
	working, rest := context.WithCancel(context.Background())
	h.rest = rest
	h.working.Go(func() { h.index.Run(working) })
	h.working.Go(func() { h.shadow.Run(working) })
	h.working.Go(func() { h.keep(working) })
	h.working.Go(func() { h.learn(working) })
	h.working.Go(func() { h.retain(working) })
	h.working.Go(func() { h.alerts.run(working) })
	h.working.Go(func() { h.asking.run(working) })
	if h.db.IsShared() {
		h.working.Go(func() {
			h.revoked.Follow(working, func(err error) {
				h.log.Error("what other replicas revoke is not known: no token is taken", "error", err)
			})
		})
	}
	return h, nil
}

// verify proves who comes, and then the connection is no stranger's any more.
func (h *house) verify(ctx context.Context, token, route string) (identity.Principal, error) {
	p, err := h.authority.Verify(ctx, token, route)
	if err == nil {
		known(ctx)
	}
	return p, err
}

// lawOf is the law of a policy, with everything that judges besides.
func (h *house) lawOf(p, candidate *policy.Policy) *firewall.Law {
	law := &firewall.Law{Policy: h.shadow.Of(p), Guards: h.guards, Client: *h.client.Load(), Trace: p.Traces() || candidate != nil && candidate.Traces()}
	h.traces.Store(law.Trace)
	if candidate == nil {
		h.rehearsal.Store(nil)
		return law
	}
	r := policy.NewRehearsal(candidate)
	h.rehearsal.Store(r)
	law.Policy = r.Of(law.Policy)
	return law
}

// keep stores what limits have counted, once a second: more than that is not lost
// when the process is killed. It forgets runs that have ended.
func (h *house) keep(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
			if err := h.budgets.Save(ctx, h.db.Counts()); err != nil {
				h.log.Error("what limits have counted is not stored", "error", err)
			}
			if n%10 == 0 {
				if err := h.registry.SaveSeen(ctx); err != nil {
					h.log.Warn("when agents were last seen is not stored", "error", err)
				}
			}
			if n%600 == 0 {
				if err := h.db.Properties().DropProperties(ctx, time.Now()); err != nil {
					h.log.Warn("what providers have forgotten is still stored", "error", err)
				}
			}
			if err := h.runs.Tidy(ctx); err != nil {
				h.log.Warn("runs that have ended are still stored", "error", err)
			}
			if err := h.authority.Tidy(ctx); err != nil {
				h.log.Warn("grants and revocations that are over are still stored", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// openKeys opens the signing keys: those of this process alone are in a folder.
func (h *house) openKeys(ctx context.Context, dir string) (*identity.Keys, error) {
	if h.db.IsShared() {
		return identity.OpenSharedKeys(ctx, h.db.Keys(), dir, h.cfg.Identity.SealKey.Secret)
	}
	return identity.OpenKeys(dir, h.cfg.Identity.SealKey.Secret)
}

// furnish puts the agents and providers of cfg in place of those there are, or
// changes nothing.
func (h *house) furnish(ctx context.Context, cfg *Config) error {
	if err := h.people(ctx, cfg); err != nil {
		return err
	}
	if err := h.furnished(ctx, cfg); err != nil {
		return errors.Join(err, h.people(ctx, &h.cfg))
	}
	return nil
}

func (h *house) furnished(ctx context.Context, cfg *Config) error {
	if err := h.registry.Configure(ctx, registered(cfg.Agents)); errors.Is(err, identity.ErrInvalid) || errors.Is(err, identity.ErrTaken) {
		return Mistakes{{Text: err.Error()}}
	} else if err != nil {
		return err // of the store: the config is not to blame
	}
	err := h.federate(cfg)
	if err == nil {
		if err = h.models.SetProviders(h.upstreams(cfg), cfg.logical()); err == nil {
			return nil
		}
		err = errors.Join(Mistakes{{Text: err.Error()}}, h.federate(&h.cfg))
	}
	return errors.Join(err, h.registry.Configure(ctx, registered(h.cfg.Agents)))
}

// connect puts the servers of cfg in place of those there are. A server whose
// entry is as it was keeps running.
func (h *house) connect(cfg *Config) {
	h.trust(cfg)
	servers := make(map[string]*mcp.Server, len(cfg.MCP.Servers))
	for name, s := range cfg.MCP.Servers {
		if running, ok := h.servers[name]; ok && reflect.DeepEqual(s, h.cfg.MCP.Servers[name]) && (!s.Process.boxed() || slices.Equal(cfg.hidden(), h.cfg.hidden())) {
			servers[name] = running
			running.Forget() // so that it is judged by the trust and the lock file of cfg
			continue
		}
		reached := cfg.reached(name, h.log, h.lend)
		reached.Pins, reached.Guess = h.pins, h.traces.Load
		reached.Seen = func(list []mcp.Definition) {
			if err := h.toolbook.seen(name, list); err != nil {
				h.log.Warn("what a server lists is not written down", "server", name, "error", err)
			}
		}
		if reached.OAuth != nil {
			reached.OAuth.Vault = h.vault
		}
		servers[name] = mcp.NewServer(reached)
		servers[name].Start()
	}
	old := h.servers
	h.servers = servers
	h.tools.SetServers(servers)
	for name, s := range old {
		if servers[name] != s {
			h.retired.Go(func() { h.retire(s) })
		}
	}
}

// warn says that rows of the policy may not do what their author meant, or that it
// is another's policy that is in force.
func (h *house) warn(cfg *Config) {
	switch s := h.versions.Standing(); {
	case s.Broken != nil:
		h.log.Error("the policy that should be in force cannot be loaded, so that every call is denied; activate another one", "version", s.Version, "error", s.Broken)
	case !s.Files:
		h.log.Warn("the policy in force is not the one of the configuration's files: it was activated after them", "version", s.Version, "policy", s.Active.Digest(), "by", s.By)
	}
	if _, yes := h.versions.Standing().Active.ByCasbin(); yes {
		h.log.Warn("the policy has a model of its own: Casbin itself decides about every call, which costs more with each row", "policy", h.versions.Standing().Active.Digest())
	}
	h.warnOfSecrets(cfg)
	if problems := policy.Check(cfg.sources()...); len(problems) > 0 {
		h.log.Warn("the policy has warnings; callgate policy check shows them", "count", len(problems), "first", problems[0].String())
	}
}

// retire closes a server that nothing leads to any more, once its calls are over.
func (h *house) retire(s *mcp.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), defaultShutdown)
	defer cancel()
	s.Close(ctx)
}

// reload reads the configuration again and lives by it, or by the old one as
// before. A change that cannot be put on record is not made.
func (h *house) reload(ctx context.Context, by string) (console.Reloaded, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadTimeout) // whoever asked may be gone
	defer cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	done := console.Reloaded{Changes: []string{}, Restart: []string{}}
	cfg, law, err := h.reread()
	if err != nil {
		h.refused(by, err)
		return done, err
	}
	done.Restart = append(done.Restart, h.cfg.restarts(&cfg)...)
	cfg.keep(&h.cfg)
	if err := h.furnish(ctx, &cfg); err != nil {
		h.refused(by, err)
		return done, err
	}
	done.Changes = append(done.Changes, differences(&h.cfg, &cfg)...)
	changes, err := h.versions.Configure(ctx, law, by)
	done.Changes = append(done.Changes, changes...)
	if err == nil {
		err = h.note("config.reloaded", by, "", strings.Join(done.Changes, "; "))
	}
	if err != nil {
		return done, errors.Join(err, h.furnish(ctx, &h.cfg))
	}
	if !reflect.DeepEqual(h.cfg.Vault, cfg.Vault) {
		err = h.reach(&cfg)
	}
	if h.secure(&cfg) {
		done.Restart = append(done.Restart, "tls")
	}
	h.connect(&cfg)
	fresh, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	h.sources.Refresh(fresh)
	old := h.cfg
	h.cfg = cfg
	h.expect(&cfg)
	h.gate.SetKeep(cfg.Audit.rules())
	h.pii.Set(cfg.Guards.PII.settings())
	h.client.Store(new(cfg.clientTools()))
	h.versions.Again()
	if !reflect.DeepEqual(old.Audit.Export, cfg.Audit.Export) {
		err = errors.Join(err, h.startExports(cfg.Audit.Export, string(cfg.Data)))
	}
	h.warn(&cfg)
	h.log.Info("configuration reloaded", "by", by, "changes", done.Changes, "restart", done.Restart)
	return done, err
}

func (h *house) refused(by string, err error) {
	h.log.Error("configuration refused, the old one stays in force", "error", err)
	h.changed("config.refused", by, "", err.Error())
}

// changed puts a change of state on record. A record that fails is logged, and the
// caller may go by the error.
func (h *house) changed(what, by, name, state string) error {
	err := h.note(what, by, name, state)
	if err != nil {
		h.log.Error("a change is not on record", "what", what, "name", name, "error", err)
	}
	return err
}

const (
	maxState       = 2 << 10          // bytes of a state in a record
	noteTimeout    = 10 * time.Second // for a record to become durable
	reloadTimeout  = time.Minute
	refreshTimeout = 5 * time.Second // of a reload, for credentials that are asked for anew
)

// note puts a change of state on record, durably.
func (h *house) note(what, by, name, state string) error {
	ctx, cancel := context.WithTimeout(context.Background(), noteTimeout)
	defer cancel()
	r := audit.Record{Type: audit.Changed, At: time.Now().UnixMicro(), What: what, By: by, Name: name, State: state[:min(len(state), maxState)]}
	if err := h.ledger.Append(&r).Wait(ctx); err != nil {
		return fmt.Errorf("record %s: %w", what, err)
	}
	return nil
}

// close ends what runs, in the order in which nothing is lost: who still calls a
// server must be gone, and the last record must be written before the ledger ends.
func (h *house) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tools.Close()
	for _, s := range h.servers {
		h.retired.Go(func() { h.retire(s) })
	}
	h.retired.Wait()
	h.changed("gate.stopped", "system", thisVersion().Version, "")
	return h.closeFiles()
}

func (h *house) closeFiles() error {
	h.rest()
	if h.exports.stop != nil {
		h.exports.stop()
	}
	if h.unreach != nil {
		h.unreach()
	}
	h.working.Wait()
	if h.sources != nil {
		h.sources.Close()
	}
	var errs []error
	if h.vault != nil {
		h.vault.Close()
	}
	if h.registry != nil {
		errs = append(errs, h.registry.SaveSeen(context.Background()))
	}
	if h.budgets != nil {
		errs = append(errs, h.budgets.Save(context.Background(), h.db.Counts()))
	}
	if h.sealer != nil {
		errs = append(errs, h.sealer.Close())
	}
	if h.ledger != nil {
		errs = append(errs, h.ledger.Close())
	}
	if h.payloads != nil {
		errs = append(errs, h.payloads.Close())
	}
	if h.redis != nil {
		errs = append(errs, h.redis.Close())
	}
	if h.db != nil {
		errs = append(errs, h.db.Close())
	}
	return errors.Join(errs...)
}
