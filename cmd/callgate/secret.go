package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) secret() *cobra.Command {
	return group("secret", "keep credentials for providers and servers, sealed",
		p.secretPut(), p.secretList(), p.secretShow(), p.secretRotate(), p.secretScope(), p.secretRemove())
}

func (p *program) secretPut() *cobra.Command {
	var n console.NewSecret
	var file string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "put NAME",
		Short: "keep a new secret; its value comes from standard input or a file",
		Long: `Keep a new secret, sealed. callgate.yaml refers to it as secret:NAME wherever a
provider or an MCP server takes a secret. It is shown nowhere and to nobody again;
calls that it was used for have its name and version on record.

--for says where it may be sent, --agents on whose behalf; both may be given several
times. Without them it is for all. The value is never an argument: others on this
machine could read it there.`,
		Example: `  callgate secret put openai --for provider:openai < key.txt
  pass show github/mcp | callgate secret put github --for server:github --agents role:dev
  callgate secret put crm --from-file crm.key --agents group:sales --expires 2160h`,
		Args: exactly(1, "the secret's name"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			n.Name = args[0]
			if expires != 0 {
				n.Expires = expires.String()
			}
			if n.Value, err = p.value(file); err != nil {
				return err
			}
			return p.toldSecret(cmd, http.MethodPost, "/secrets", n, "kept")
		},
	}
	p.valueFlags(cmd, &file, &expires)
	scopeFlags(cmd, &n.For, &n.Agents)
	return p.withJSON(cmd)
}

func (p *program) secretRotate() *cobra.Command {
	var n console.NewValue
	var file string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "give a secret another value, which counts from the next call on",
		Example: `  callgate secret rotate openai < new-key.txt
  callgate secret rotate crm --from-file crm.key --expires 2160h`,
		Args: exactly(1, "the secret's name"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if expires != 0 {
				n.Expires = expires.String()
			}
			if n.Value, err = p.value(file); err != nil {
				return err
			}
			return p.toldSecret(cmd, http.MethodPost, "/secrets/"+url.PathEscape(args[0])+"/rotate", n, "rotated")
		},
	}
	p.valueFlags(cmd, &file, &expires)
	return p.withJSON(cmd)
}

func (p *program) secretScope() *cobra.Command {
	var n console.NewScope
	cmd := &cobra.Command{
		Use:   "scope NAME",
		Short: "say anew where a secret may be sent, and on whose behalf",
		Long:  "Say anew where a secret may be sent, and on whose behalf. What is not said is for all.",
		Example: `  callgate secret scope github --for server:github --agents role:dev --agents role:ops
  callgate secret scope openai --for provider:openai`,
		Args: exactly(1, "the secret's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.toldSecret(cmd, http.MethodPost, "/secrets/"+url.PathEscape(args[0])+"/scope", n, "scoped")
		},
	}
	scopeFlags(cmd, &n.For, &n.Agents)
	return p.withJSON(cmd)
}

func (p *program) secretList() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "list", Short: "list the secrets, without their values", Example: "  callgate secret list", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/secrets", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var secrets []console.Secret
			if err := json.Unmarshal(raw, &secrets); err != nil {
				return err
			}
			if len(secrets) == 0 {
				fmt.Fprintln(p.err, "No secrets yet: callgate secret put NAME --for provider:NAME < FILE")
				return nil
			}
			rows := [][]string{{"NAME", "VERSION", "FOR", "AGENTS", "ROTATED", "EXPIRES"}}
			for _, s := range secrets {
				rows = append(rows, []string{s.Name, strconv.Itoa(s.Version), all(s.For), all(s.Agents), local(s.Rotated), expiry(&s)})
			}
			return p.table(rows)
		},
	})
}

func (p *program) secretShow() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "show NAME", Short: "show what is known of a secret, but not its value",
		Example: "  callgate secret show openai\n  callgate audit query --credential secret:openai", Args: exactly(1, "the secret's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.toldSecret(cmd, http.MethodGet, "/secrets/"+url.PathEscape(args[0]), nil, "")
		},
	})
}

func (p *program) secretRemove() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "rm NAME", Short: "remove a secret: calls that need it fail from now on",
		Example: "  callgate secret rm openai", Args: exactly(1, "the secret's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodDelete, "/secrets/"+url.PathEscape(args[0]), nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			_, err := fmt.Fprintf(p.out, "%s is removed: calls that need it fail from now on\n", args[0])
			return err
		},
	})
}

// toldSecret makes a request that a secret is the answer to, and prints that.
func (p *program) toldSecret(cmd *cobra.Command, method, path string, in any, done string) error {
	var raw json.RawMessage
	if err := p.ask(cmd, method, path, in, &raw); err != nil {
		return err
	}
	if p.json {
		return p.printRaw(raw)
	}
	var s console.Secret
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if done != "" {
		fmt.Fprintf(p.out, "secret:%s is %s\n", s.Name, done)
	}
	return p.table([][]string{
		{"name", s.Name}, {"version", strconv.Itoa(s.Version)}, {"for", all(s.For)}, {"agents", all(s.Agents)},
		{"created", local(s.Created)}, {"rotated", local(s.Rotated)}, {"expires", expiry(&s)},
	})
}

func all(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, " ")
}

func expiry(s *console.Secret) string {
	switch {
	case s.Expires == nil:
		return "never"
	case s.Expired:
		return local(*s.Expires) + " (over)"
	}
	return local(*s.Expires)
}

func (p *program) valueFlags(cmd *cobra.Command, file *string, expires *time.Duration) {
	cmd.Flags().StringVar(file, "from-file", "", "file with the value (default: standard input)")
	cmd.Flags().DurationVar(expires, "expires", 0, "how long it is good, such as 2160h (default: until it is rotated or removed)")
}

func scopeFlags(cmd *cobra.Command, targets, agents *[]string) {
	cmd.Flags().StringArrayVar(targets, "for", nil, "where it may be sent: provider:NAME or server:NAME; may be given several times")
	cmd.Flags().StringArrayVar(agents, "agents", nil, "on whose behalf: agent:NAME, role:NAME, group:NAME or user:NAME; may be given several times")
}

const maxValue = 48 << 10 // bytes

// value is a secret from a file, or from standard input, without its last line
// breaks.
func (p *program) value(file string) (string, error) {
	in := p.in
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the value: %w", err)
		}
		defer f.Close()
		in = f
	} else if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return "", usageError{errors.New("the value comes from standard input, which is a terminal that would show it: write < FILE, or --from-file FILE")}
		}
	}
	text, err := readAtMost(io.Reader(in), maxValue)
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return "", errors.New("the value is empty")
	}
	return value, nil
}
