package main

import (
	"encoding/json"
	"net/http"
	"net/url"

	"callgate/cmd/callgate/internal/console"

	"github.com/spf13/cobra"
)

func (p *program) keys() *cobra.Command {
	var rotation console.NewRotation
	rotate := p.keysCommand("rotate", "make a new signing key, which signs in six minutes, when everybody knows it", "  callgate keys rotate\n  callgate keys rotate --now", exactly(0, "no arguments"),
		func([]string) (string, string, any) { return http.MethodPost, "/keys/rotate", rotation })
	rotate.Flags().BoolVar(&rotation.Now, "now", false, "let it sign at once: who verifies tokens elsewhere, and keeps our keys for five minutes, may refuse the new ones")
	rotate.Flags().StringVar(&rotation.By, "as", "", "who says so, for the record: user:ana (default admin)")

	var dropped console.DroppedKey
	drop := p.keysCommand("drop KID", "take a signing key away at once: all its tokens end, and a new one signs", "  callgate keys drop 3xylpPCQqNABidbDNXKV_nNpmFn_CY82lCF_HUpuo", exactly(1, "the key's id (callgate keys list)"),
		func(args []string) (string, string, any) {
			return http.MethodDelete, "/keys/" + url.PathEscape(args[0]), dropped
		})
	drop.Flags().StringVar(&dropped.By, "as", "", "who says so, for the record: user:ana (default admin)")

	list := p.keysCommand("list", "list the keys that tokens are signed and verified with", "  callgate keys list", exactly(0, "no arguments"),
		func([]string) (string, string, any) { return http.MethodGet, "/keys", nil })
	return group("keys", "the keys that tokens are signed with: list, rotate, drop", list, rotate, drop)
}

// keysCommand is a command after which the keys are as it shows.
func (p *program) keysCommand(use, short, example string, args cobra.PositionalArgs, request func(args []string) (method, path string, in any)) *cobra.Command {
	return p.withJSON(&cobra.Command{
		Use: use, Short: short, Example: example, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			method, path, in := request(args)
			var raw json.RawMessage
			if err := p.ask(cmd, method, path, in, &raw); err != nil {
				return err
			}
			if p.json {
				return p.printRaw(raw)
			}
			var keys []console.SigningKey
			if err := json.Unmarshal(raw, &keys); err != nil {
				return err
			}
			rows := [][]string{{"KID", "ALG", "STATE", "SINCE", "UNTIL"}}
			for _, k := range keys {
				until := ""
				if k.Until != nil {
					until = local(*k.Until)
				}
				rows = append(rows, []string{k.ID, k.Alg, k.State, local(k.Since), until})
			}
			return p.table(rows)
		},
	})
}
