package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// ask makes one request of the admin API.
func (p *program) ask(cmd *cobra.Command, method, path string, in, out any) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	return c.call(cmd.Context(), method, path, in, out)
}

func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printRaw prints the gate's own JSON, so that nothing of it is lost.
func (p *program) printRaw(doc []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, doc, "", "  "); err != nil {
		return fmt.Errorf("read the gate's answer: %w", err)
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(p.out)
	return err
}

// table prints rows in columns, the first row as a heading if it is in capitals.
func (p *program) table(rows [][]string) error {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(tame(cell)))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = tame(cell)
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(p.out, b.String())
	return err
}

// tame makes a recorded text safe to print: what models and tools wrote must not
// move the cursor, recolour the screen or reorder what stands beside it.
func tame(s string) string {
	if !strings.ContainsFunc(s, wild) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if wild(r) {
			return '�'
		}
		return r
	}, s)
}

func wild(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || // controls
		r == 0xad || r == 0x61c || r == 0x180e || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f ||
		r == 0xfeff || r >= 0xfff9 && r <= 0xfffb || r >= 0xe0000 && r <= 0xe0fff // invisible, and direction
}

// shortened is s with at most n letters.
func shortened(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// A paint colours text for a terminal; the empty one leaves it as it is.
type paint string

const (
	red   paint = "31"
	green paint = "32"
	amber paint = "33"
	dim   paint = "2"
	bold  paint = "1"
)

// colour paints text if the output is a terminal and NO_COLOR is not set.
func (p *program) colour(c paint, text string) string {
	if !p.terminal() || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

func (p *program) terminal() bool {
	if v, _ := p.env("NO_COLOR"); v != "" {
		return false
	}
	if v, _ := p.env("TERM"); v == "dumb" {
		return false
	}
	f, ok := p.out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
