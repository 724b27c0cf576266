package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"callgate/audit"
	"callgate/cmd/callgate/internal/console"
	"callgate/cmd/callgate/internal/export"

	"github.com/spf13/cobra"
)

func (p *program) auditExport() *cobra.Command {
	var since time.Duration
	var format, filter, file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "write calls into a file for other tools: JSON lines, OCSF, CSV",
		Long: `Write all calls that fit, the newest first, for other tools: as callgate's own JSON, a
call to a line (jsonl); as events of OCSF, one to a line (ocsf); or as a table (csv).
docs/export.md has the columns and what stands where. To have another system told of
each call as it ends, write audit.export into the configuration instead.`,
		Example: `  callgate audit export --format csv --since 720h -o calls.csv
  callgate audit export --format ocsf --filter 'effect = deny' >denials.jsonl`,
		Args: exactly(0, "no arguments; flags say what to write"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			out := p.out
			if file != "" {
				f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
				if err != nil {
					return err
				}
				defer func() {
					if closed := f.Close(); err == nil {
						err = closed
					}
				}()
				out = f
			}
			buffered := bufio.NewWriterSize(out, 64<<10)
			write, err := callWriter(format, buffered)
			if err != nil {
				return err
			}
			q := url.Values{"limit": {"1000"}}
			if since != 0 {
				q.Set("since", time.Now().Add(-since).UTC().Format(time.RFC3339Nano))
			}
			if filter != "" {
				q.Set("filter", filter)
			}
			for n := 0; ; {
				var page console.Calls
				if err := p.ask(cmd, http.MethodGet, "/calls?"+q.Encode(), nil, &page); err != nil {
					return err
				}
				for i := range page.Calls {
					if err := write(&page.Calls[i]); err != nil {
						return err
					}
				}
				if err := buffered.Flush(); err != nil {
					return err
				}
				if n += len(page.Calls); page.Next == "" {
					fmt.Fprintln(p.err, n, "calls")
					return nil
				}
				if n > 0 && n%100_000 < len(page.Calls) {
					fmt.Fprintln(p.err, n, "calls so far, down to", local(time.UnixMicro(page.Calls[len(page.Calls)-1].At)))
				}
				q.Set("page_token", page.Next)
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "jsonl", "jsonl, ocsf or csv")
	f.StringVar(&filter, "filter", "", "in the filter language: 'agent = bot AND effect = deny' (docs/filter.md)")
	f.DurationVar(&since, "since", 0, "not older than: 24h, 720h")
	f.StringVarP(&file, "output", "o", "", "a file, made with mode 0600; standard output without it")
	return cmd
}

// callWriter writes calls in a format. What it has written is out when out is flushed.
func callWriter(format string, out io.Writer) (func(*audit.Call) error, error) {
	switch format {
	case "jsonl":
		e := json.NewEncoder(out)
		return func(c *audit.Call) error { return e.Encode(c) }, nil
	case "ocsf":
		e := json.NewEncoder(out)
		version := thisVersion().Version
		return func(c *audit.Call) error { return e.Encode(export.OCSF(export.Item{Seq: c.Seq, Call: c}, version)) }, nil
	case "csv":
		table := csv.NewWriter(out)
		if err := table.Write(export.Columns); err != nil {
			return nil, err
		}
		return func(c *audit.Call) error {
			err := table.Write(export.Row(c))
			table.Flush()
			return err
		}, nil
	}
	return nil, fmt.Errorf("--format %s: write jsonl, ocsf or csv", format)
}
