package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

const kindsHelp = `What can be ended:
  token JTI       one access token
  grant GR_ID     what one delegation gave, and all that came of it
  chain TXN       everything that one root token began
  run ID          a run, by its id or the name that its client gives it
  object OBJECT   a tool, model, resource or prompt, whoever calls it: tool:shop/refund
  label LABEL     every run that has read such text: untrusted, private or secret

It takes effect at once: the next call fails, and what is under way is cut off.
The ids stand in the record: callgate audit show CALL. An agent is ended by
callgate agent revoke NAME.`

func (p *program) revoke() *cobra.Command {
	cmd := p.revocation("revoke KIND ID", "end a token, a delegation, a chain or a run, or stop a tool, at once", "revoked", http.MethodPost, `  callgate revoke token 0nJVmR0hN2kz3l7yKs0b1A
  callgate revoke object tool:shop/refund
  callgate revoke list`)
	cmd.Long = cmd.Short + ".\n\n" + kindsHelp
	cmd.AddCommand(p.revocations())
	return cmd
}

func (p *program) restore() *cobra.Command {
	cmd := p.revocation("restore KIND ID", "let a run, an object or a label that was stopped go on", "restored", http.MethodDelete, "  callgate restore object tool:shop/refund")
	cmd.Long = cmd.Short + ".\n\nCredentials that were revoked do not come back: issue new ones."
	return cmd
}

func (p *program) revocation(use, short, did, method, example string) *cobra.Command {
	var n console.NewRevocation
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: exactly(2, "a kind and an id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Kind, n.ID = args[0], args[1]
			if err := p.ask(cmd, method, "/revocations", n, &n); err != nil {
				return err
			}
			if p.json {
				return p.printJSON(n)
			}
			_, err := fmt.Fprintf(p.out, "%s %s is %s\n", n.Kind, n.ID, did)
			return err
		},
	}
	cmd.Flags().StringVar(&n.By, "as", "", "who says so, for the record: user:ana (default admin)")
	return p.withJSON(cmd)
}

func (p *program) revocations() *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: "list", Short: "list what is revoked or stopped", Example: "  callgate revoke list", Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var raw json.RawMessage
			if err := p.ask(cmd, http.MethodGet, "/revocations", nil, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var list []console.Revocation
			if err := json.Unmarshal(raw, &list); err != nil {
				return err
			}
			if len(list) == 0 {
				fmt.Fprintln(p.err, "Nothing is revoked or stopped.")
				return nil
			}
			rows := [][]string{{"KIND", "ID", "BY", "AT", "UNTIL"}}
			for _, r := range list {
				until := "restored"
				if r.Until != nil {
					until = local(*r.Until)
				}
				rows = append(rows, []string{r.Kind, r.ID, r.By, local(r.At), until})
			}
			return p.table(rows)
		},
	})
}
