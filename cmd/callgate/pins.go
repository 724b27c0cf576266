package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"callgate/cmd/callgate/internal/console"
	"callgate/mcp"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// trust tells the pins which servers there are, how far each is trusted, and what
// stands in the lock file.
func (h *house) trust(cfg *Config) {
	trust := make(map[string]mcp.Trust, len(cfg.MCP.Servers))
	for name, s := range cfg.MCP.Servers {
		trust[name] = cmp.Or(mcp.Trust(s.Trust), mcp.TrustFirstUse)
	}
	h.pins.Configure(trust, cfg.MCP.Lock.lock)
}

// pinned is what servers are held to. They are asked first what they say now; one
// that does not answer in time is told of as it was.
func (h *house) pinned(ctx context.Context, server string) ([]mcp.Pin, error) {
	h.mu.Lock()
	servers := maps.Clone(h.servers)
	h.mu.Unlock()
	if server != "" {
		if servers[server] == nil {
			return nil, fmt.Errorf("there is no MCP server %.40q: callgate mcp list shows those that there are", server)
		}
		maps.DeleteFunc(servers, func(name string, _ *mcp.Server) bool { return name != server })
	}
	short, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var all sync.WaitGroup
	for name, s := range servers {
		all.Go(func() {
			s.Forget()
			_, err := s.Info(short)
			for _, method := range []string{"tools/list", "prompts/list", "resources/templates/list"} {
				if err == nil {
					_, err = s.List(short, nil, method)
				}
			}
			if err != nil {
				h.log.WarnContext(ctx, "a server does not say what it has", "server", name, "error", err)
			}
		})
	}
	all.Wait()
	return h.pins.List(server), nil
}

// accept lets a person's word about a definition count.
func (h *house) accept(ctx context.Context, a mcp.Acceptance) (mcp.Pin, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout) // whoever asked may be gone
	defer cancel()
	p, err := h.pins.Accept(ctx, a)
	if err != nil {
		return p, err
	}
	h.mu.Lock()
	s := h.servers[a.Server]
	h.mu.Unlock()
	if s != nil {
		s.Forget()
	}
	h.tools.Changed()
	return p, nil
}

func (p *program) mcpPins() *cobra.Command {
	var lock string
	cmd := &cobra.Command{
		Use: "pins [SERVER]", Short: "show what MCP servers are held to, and what they changed since",
		Long: `Show what MCP servers are held to: their tools, prompts, resource templates and
instructions, as they were when they were accepted. What a server says otherwise now
is withheld from agents, and shown here with what is different: compare it, and then
accept it with callgate mcp approve, or leave it.`,
		Example: "  callgate mcp pins\n  callgate mcp pins shop\n  callgate mcp pins --lock callgate.lock",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("want at most one server (%s --help shows examples)", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, pins, err := p.pins(cmd, strings.Join(args, ""))
			switch {
			case err != nil:
				return err
			case lock != "":
				return p.writeLock(lock, pins)
			case p.json:
				return p.printRaw(visible(raw))
			case len(pins) == 0:
				fmt.Fprintln(p.err, "Nothing is pinned: no MCP server has said yet what it has")
				return nil
			}
			return p.showPins(pins)
		},
	}
	cmd.Flags().StringVar(&lock, "lock", "", "write what is accepted into a file, for mcp.lock of the configuration")
	return p.withJSON(cmd)
}

// pins asks the gate what servers are held to.
func (p *program) pins(cmd *cobra.Command, server string) (raw json.RawMessage, pins []console.Pin, err error) {
	path := "/mcp/pins"
	if server != "" {
		path += "?server=" + url.QueryEscape(server)
	}
	if err = p.ask(cmd, http.MethodGet, path, nil, &raw); err == nil {
		err = json.Unmarshal(raw, &pins)
	}
	return raw, pins, err
}

// visible is JSON in which characters that a terminal would not show as they are
// are escaped.
func visible(doc []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(doc) {
		switch {
		case r == '\n' || !wild(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

func (p *program) writeLock(file string, pins []console.Pin) error {
	var list []mcp.Pin
	waiting := 0
	for _, pin := range pins {
		if pin.SHA256 != "" {
			list = append(list, mcp.Pin{Server: pin.Server, Kind: pin.Kind, Name: pin.Name, Accepted: &mcp.Said{SHA256: pin.SHA256}})
		}
		if pin.Pending != nil {
			waiting++
		}
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(mcp.FormatLock(list))
	if err == nil {
		err = f.Chmod(0o644) // it holds no secret, and others read it
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	fmt.Fprintf(p.out, "%s: %d definitions\n", file, len(list))
	if waiting > 0 {
		fmt.Fprintf(p.err, "%d wait for approval and are not in it as they are now\n", waiting)
	}
	return nil
}

func (p *program) showPins(pins []console.Pin) error {
	rows := [][]string{{"SERVER", "KIND", "NAME", "STATE", "SINCE", "BY"}}
	for _, pin := range pins {
		since, by := "", pin.By
		if pin.Since != nil {
			since = local(*pin.Since)
		}
		if s := pin.Pending; s != nil {
			since, by = local(s.Seen), ""
		}
		rows = append(rows, []string{pin.Server, pin.Kind, brief(pin.Name), pin.State, since, by})
	}
	if err := p.table(rows); err != nil {
		return err
	}
	for i := range pins {
		switch {
		case pins[i].Pending != nil:
			p.showPending(&pins[i])
			p.showCommand(&pins[i])
		case len(pins[i].Findings) > 0:
			fmt.Fprintf(p.out, "\n%s was accepted by %s, although\n", target(&pins[i]), pins[i].By)
			p.showFindings(pins[i].Findings)
		}
	}
	return nil
}

// target is how approve names a pin.
func target(pin *console.Pin) string {
	if pin.Kind == mcp.PinInstructions {
		return pin.Server + " (instructions)"
	}
	return tame(pin.Server+"/"+pin.Name) + " (" + pin.Kind + ")"
}

// showPending prints what waits: how it differs, or, where nothing was accepted,
// all of it.
func (p *program) showPending(pin *console.Pin) {
	s := pin.Pending
	what := map[string]string{
		mcp.WaitsChanged: "changed", mcp.WaitsNew: "is new", mcp.WaitsFound: "is withheld for what was found in it", mcp.WaitsUnlocked: "does not stand in the lock file",
	}[s.Why]
	fmt.Fprintf(p.out, "\n%s %s: grade %s, seen %s\n", target(pin), what, p.colour(colours[s.Grade], s.Grade.String()), local(s.Seen))
	if s.Like != "" {
		fmt.Fprintf(p.out, "  like %s, which is gone, but for its name\n", tame(s.Like))
	}
	for _, c := range s.Changes {
		fmt.Fprintf(p.out, "  %-6s  %s\n", c.Grade, tame(c.Text))
		p.showText("-", red, c.Old)
		p.showText("+", green, c.New)
	}
	p.showFindings(s.Findings)
	if pin.SHA256 == "" {
		p.showText("+", green, s.Definition)
	}
}

// showCommand prints how to accept exactly what was shown.
func (p *program) showCommand(pin *console.Pin) {
	name := pin.Server
	if pin.Kind != mcp.PinInstructions {
		name += "/" + pin.Name
	}
	fmt.Fprintf(p.out, "  accept it:  callgate mcp approve %s --kind %s\n", quoted(name+"@"+pin.Pending.SHA256), pin.Kind)
}

var colours = map[mcp.Grade]paint{mcp.Low: dim, mcp.Medium: amber, mcp.High: red}

func (p *program) showFindings(list []mcp.Finding) {
	for _, f := range list {
		at := ""
		if f.At != "" {
			at = " (" + f.At + ")"
		}
		fmt.Fprintf(p.out, "  %-6s  found: %s%s\n", f.Grade, tame(f.Text), tame(at))
	}
}

const maxShownLines = 60 // of a text

// showText prints a text line by line behind a sign.
func (p *program) showText(sign string, c paint, text string) {
	if text == "" {
		return
	}
	lines := strings.Split(text, "\n")
	for _, line := range lines[:min(len(lines), maxShownLines)] {
		fmt.Fprintln(p.out, "          "+p.colour(c, sign+" "+tame(shortened(line, 2000))))
	}
	if n := len(lines) - maxShownLines; n > 0 {
		fmt.Fprintf(p.out, "          … %d more lines; --json shows all\n", n)
	}
}

// quoted is a word as a shell takes it, tamed: what is not plain is shown and
// cannot be pasted without a thought.
func quoted(word string) string {
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(tame(word), "'", `'\''`) + "'"
}

func (p *program) mcpApprove() *cobra.Command {
	var who author
	var kind, sum string
	var yes bool
	cmd := &cobra.Command{
		Use: "approve SERVER/ITEM[@SHA256] | SERVER", Short: "accept a definition that a server changed or added",
		Long: `Accept a definition that a server changed or added: it may be used as it is now,
whatever the scan found in it. SERVER alone accepts all that waits of the server.

With @SHA256, as callgate mcp pins prints it, exactly what you saw is accepted: if it
has changed since, nothing is. Without it, what waits is shown, then accepted as it was
shown; on a terminal you are asked first.`,
		Example: "  callgate mcp approve shop/refund -m 'read the change'\n  callgate mcp approve shop/refund@3f9a1c44d0b2…  (all 64 digits)\n  callgate mcp approve shop --kind instructions",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 2 {
				return usageError{fmt.Errorf("want SERVER/ITEM, or SERVER (%s --help shows examples)", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			said := strings.Join(args, "/")
			_, pins, err := p.pins(cmd, serverOf(said))
			if err != nil {
				return err
			}
			waiting, exact, err := waitingOf(said, kind, sum, pins)
			switch {
			case err != nil:
				return err
			case !p.json:
				for i := range waiting {
					p.showPending(&waiting[i])
					fmt.Fprintf(p.out, "  sha256 %s\n", waiting[i].Pending.SHA256)
				}
			}
			in, terminal := cmd.InOrStdin().(*os.File)
			if !yes && !exact && terminal && isatty.IsTerminal(in.Fd()) {
				fmt.Fprintf(p.err, "accept what is shown? [y/N] ")
				answer, _ := bufio.NewReader(io.LimitReader(in, 100)).ReadString('\n')
				if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
					return errors.New("nothing was accepted")
				}
			}
			return p.acceptAll(cmd, waiting, &who)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "tool, prompt, template, resource or instructions")
	cmd.Flags().StringVar(&sum, "sha256", "", "the hash of the definition, as after @")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return p.withJSON(who.flags(cmd))
}

// minSum is how many digits of a hash say which definition is meant: who writes
// two of them can choose that they begin alike, so that fewer would say nothing.
const minSum = 2 * sha256.Size

// hashed is a name without the hash behind its last @, and whether it has one.
func hashed(said string) (name string, has bool) {
	at := strings.LastIndexByte(said, '@')
	if at < 0 || len(said)-at-1 < 8 || strings.Trim(said[at+1:], "0123456789abcdef") != "" {
		return said, false
	}
	return said[:at], true
}

func serverOf(said string) string {
	server, _, one := strings.Cut(said, "/")
	if !one { // else the @ is of the item
		server, _ = hashed(server)
	}
	return server
}

// waitingOf is which of pins said means, which a person wrote, and that wait. It is
// exact where that says by its hash what is meant.
func waitingOf(said, kind, sum string, pins []console.Pin) (waiting []console.Pin, exact bool, err error) {
	_, name, one := strings.Cut(said, "/")
	named := func(name string) bool {
		return slices.ContainsFunc(pins, func(pin console.Pin) bool { return pin.Name == name })
	}
	if plain, has := hashed(said); has && (len(said)-len(plain)-1 == minSum || !named(name)) { // a whole hash is one, whatever servers call their tools
		_, name, _ = strings.Cut(plain, "/")
		if digits := said[len(plain)+1:]; sum == "" || sum == digits {
			sum = digits
		} else {
			return nil, false, errors.New("two hashes that differ were given")
		}
	}
	if sum != "" && len(sum) != minSum {
		return nil, false, fmt.Errorf("the hash has %d digits of %d: give all, since a server can choose definitions that begin alike", len(sum), minSum)
	}
	asked := slices.DeleteFunc(slices.Clone(pins), func(pin console.Pin) bool {
		return one && pin.Name != name || kind != "" && pin.Kind != kind
	})
	if len(asked) == 0 {
		return nil, false, fmt.Errorf("%s: there is no such definition; callgate mcp pins lists them", tame(said))
	}
	waiting = slices.DeleteFunc(asked, func(pin console.Pin) bool { return pin.Pending == nil })
	if len(waiting) == 0 {
		return nil, false, fmt.Errorf("%s: nothing waits to be approved", tame(said))
	}
	if sum != "" {
		if waiting = slices.DeleteFunc(waiting, func(pin console.Pin) bool { return pin.Pending.SHA256 != sum }); len(waiting) == 0 {
			return nil, false, fmt.Errorf("%s: what waits has another sha256: it changed again; callgate mcp pins shows what waits", tame(said))
		}
	}
	if one && slices.ContainsFunc(waiting, func(pin console.Pin) bool { return pin.Kind != waiting[0].Kind }) {
		return nil, false, fmt.Errorf("%s is more than one thing: say --kind %s or --kind %s", tame(said), waiting[0].Kind, waiting[len(waiting)-1].Kind)
	}
	return waiting, sum != "", nil
}

// acceptAll accepts definitions as they were just shown.
func (p *program) acceptAll(cmd *cobra.Command, waiting []console.Pin, who *author) error {
	done := []console.Pin{}
	seen := make(map[console.NewAcceptance]bool) // by several views
	for _, pin := range waiting {
		a := console.NewAcceptance{Server: pin.Server, Kind: pin.Kind, Name: pin.Name, SHA256: pin.Pending.SHA256, By: who.name(), Note: who.comment}
		if seen[a] {
			continue
		}
		seen[a] = true
		var now console.Pin
		if err := p.ask(cmd, http.MethodPost, "/mcp/pins", a, &now); err != nil {
			return fmt.Errorf("%s: %w", target(&pin), err)
		}
		if done = append(done, now); p.json {
			continue
		}
		if now.State == "unusable" {
			fmt.Fprintf(p.out, "approved: %s by %s (sha256 %s), but it cannot be called: callgate cannot judge by its schema\n", target(&pin), now.By, now.SHA256)
			continue
		}
		fmt.Fprintf(p.out, "approved: %s may be used as it is now, by %s (sha256 %s)\n", target(&pin), now.By, now.SHA256)
	}
	if p.json {
		doc, err := json.Marshal(done)
		if err != nil {
			return err
		}
		return p.printRaw(visible(doc))
	}
	return nil
}
