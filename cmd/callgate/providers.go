package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"callgate/providers"

	"github.com/spf13/cobra"
)

// A listedKind is a kind of providers as it is printed.
type listedKind struct {
	Name string `json:"kind"`
	*providers.Kind
}

func (p *program) providers() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use: "providers [KIND]", Short: "list the kinds of model providers that callgate knows",
		Long: `List the kinds of model providers that callgate knows: where they are, how they are
told who calls, where their keys usually are, and what they can be asked. What stands
under KIND is what callgate.yaml says as kind:. With --catalog, those of files that
callgate.yaml would name with catalog: are among them; what is wrong with these is told.`,
		Example: "  callgate providers\n  callgate providers vertex-claude\n  callgate providers --catalog more.yaml --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("want one kind at most (%s --help shows examples)", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			kinds := providers.BuiltIn()
			for _, name := range files {
				text, err := readFile(name)
				if err != nil {
					return err
				}
				if kinds, err = kinds.With(name, text); err != nil {
					return err
				}
			}
			if len(args) == 1 {
				return p.showKind(kinds, args[0])
			}
			return p.listKinds(kinds)
		},
	}
	cmd.Flags().StringArrayVar(&files, "catalog", nil, "file with more kinds, as callgate.yaml names it; may be repeated")
	return p.withJSON(cmd)
}

func (p *program) listKinds(kinds *providers.Kinds) error {
	var list []listedKind
	rows := [][]string{{"KIND", "TITLE", "AUTH", "KEY", "BASE URL", "ENDPOINTS"}}
	for _, name := range kinds.Names() {
		k := kinds.Get(name)
		list = append(list, listedKind{name, k})
		rows = append(rows, []string{name, k.Title, k.Auth, keyOf(k), k.Base, endpointsOf(k)})
	}
	if p.json {
		return p.printJSON(list)
	}
	return p.table(rows)
}

func (p *program) showKind(kinds *providers.Kinds, name string) error {
	k := kinds.Get(name)
	if k == nil {
		hint := ""
		if near := closest(name, kinds.Names()); near != "" {
			hint = "; did you mean " + near + "?"
		}
		return fmt.Errorf("there is no kind %q%s (callgate providers lists them)", name, hint)
	}
	if p.json {
		return p.printJSON(listedKind{name, k})
	}
	rows := [][]string{{"kind", name}, {"title", k.Title}, {"base_url", k.Base}}
	for _, param := range slices.Sorted(maps.Keys(k.Params)) {
		text := k.Params[param]
		if v := k.Defaults[param]; v != "" {
			text += " (" + v + ")"
		}
		rows = append(rows, []string{"params." + param, text})
	}
	rows = append(rows, []string{"auth", k.Auth}, []string{"key", keyOf(k)})
	for _, method := range slices.Sorted(maps.Keys(k.Paths)) {
		rows = append(rows, []string{method, k.Paths[method]})
	}
	rows = append(rows, []string{"asked at", k.Asked}, []string{"documented", k.Source}, []string{"checked", k.Checked})
	return p.table(rows)
}

// keyOf is where the key of a kind usually is.
func keyOf(k *providers.Kind) string {
	switch key := strings.Join(k.Env, " "); {
	case k.Auth == "none":
		return "none"
	case k.Keyless && key == "":
		return "optional"
	case k.Keyless:
		return key + " (optional)"
	default:
		return key
	}
}

func endpointsOf(k *providers.Kind) string {
	var list []string
	for _, method := range slices.Sorted(maps.Keys(k.Paths)) {
		if !strings.HasSuffix(method, "_stream") {
			list = append(list, method)
		}
	}
	return strings.Join(list, " ")
}
