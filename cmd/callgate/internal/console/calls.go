package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"callgate/audit"
)

const (
	queryTimeout = 20 * time.Second // of a question, waiting for the index included
	maxWait      = 30 * time.Second // of a request that waits for news
	maxRecords   = 1000             // in one answer
	maxPage      = 8 << 20          // bytes of them, about
)

// caughtUp waits until the index has everything that is in the ledger now, so
// that an answer is never older than its question. Where that takes too long it
// has answered how far the index is.
func (c *Console) caughtUp(ctx context.Context, w http.ResponseWriter) bool {
	indexed, head, err := c.cfg.Index.Sync(ctx)
	if err != nil {
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, "unavailable", "the index has %d of %d records so far; ask again: %v", indexed, head, err)
	}
	return err == nil
}

// callParameters are those of a question for calls.
var callParameters = []string{"filter", "agent", "kind", "target", "resource", "effect", "otherwise", "outcome", "credential", "run", "chain", "args_hash", "since", "until", "before", "limit", "page_token"}

// filter reads the parameters of a question.
func filter(q url.Values) (audit.Filter, error) {
	var f audit.Filter
	texts := map[string]*string{
		"agent": &f.Agent, "run": &f.Run, "chain": &f.Chain, "kind": &f.Kind, "target": &f.Target, "resource": &f.Resource,
		"args_hash": &f.ArgsHash, "effect": &f.Effect, "otherwise": &f.Otherwise, "outcome": &f.Outcome, "credential": &f.Credential,
	}
	times := map[string]*time.Time{"since": &f.Since, "until": &f.Until}
	for name, values := range q {
		value := values[0]
		var err error
		switch {
		case name == "page_token":
		case name == "filter":
			f.Where, err = audit.ParseWhere(value, time.Now())
		case texts[name] != nil:
			*texts[name] = value
		case times[name] != nil:
			*times[name], err = time.Parse(time.RFC3339Nano, value)
		case name == "limit":
			f.Limit, err = strconv.Atoi(value)
			if err == nil && (f.Limit < 1 || f.Limit > maxRecords) {
				err = fmt.Errorf("want 1 to %d", maxRecords)
			}
		case name == "before":
			f.Before, err = strconv.ParseUint(value, 10, 64)
		default:
			err = errors.New("is not known here; docs/api.md lists the parameters")
		}
		if err != nil {
			return f, fmt.Errorf("parameter %.40q: %w", name, err)
		}
	}
	f.Agent = agentNamed(f.Agent)
	return f, nil
}

// Records is a page of the ledger, as it stands there.
type Records struct {
	Records []json.RawMessage `json:"records"` // each with its seq
	Next    uint64            `json:"next"`    // to ask for what comes after
	Gaps    []Gap             `json:"gaps,omitempty"`
}

// A Gap is records that cannot be read.
type Gap struct {
	First  uint64 `json:"first"` // seq
	Last   uint64 `json:"last"`
	Reason string `json:"reason"`
}

// records reads the ledger itself: the last ones, or those from a position on;
// with wait it answers as soon as there is one.
func (c *Console) records(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"from", "last", "wait"}, name) {
			refuse(w, http.StatusBadRequest, "invalid", "parameter %.40q is not known here; want from, last, wait", name)
			return
		}
	}
	from, errFrom := number(q.Get("from"), 1)
	last, errLast := number(q.Get("last"), 0)
	wait, ok := duration(w, "wait", q.Get("wait"))
	if !ok {
		return
	}
	if err := errors.Join(errFrom, errLast); err != nil {
		refuse(w, http.StatusBadRequest, "invalid", "from and last are numbers: %v", err)
		return
	}
	head := c.cfg.Ledger.Head()
	if last > 0 {
		from = head + 1 - min(head, last, maxRecords)
	}
	from = max(from, 1)
	if wait > 0 && from > head {
		ctx, cancel := context.WithTimeout(r.Context(), min(wait, maxWait))
		err := c.cfg.Ledger.Wait(ctx, from-1)
		waited := ctx.Err() != nil
		cancel()
		if err != nil && !waited {
			refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
			return
		}
	}
	size := 0
	page := Records{Records: []json.RawMessage{}, Next: from}
	for e, err := range c.cfg.Ledger.Entries(from) {
		var lost *audit.Unreadable
		if errors.As(err, &lost) {
			page.Gaps = append(page.Gaps, Gap{lost.First, lost.Last, lost.Err.Error()})
			page.Next = lost.Last + 1
			continue
		}
		page.Records = append(page.Records, numbered(e.Seq, e.JSON))
		page.Next = e.Seq + 1
		size += len(e.JSON)
		if len(page.Records) == maxRecords || size > maxPage {
			break
		}
	}
	answer(w, http.StatusOK, page)
}

// numbered is a record with its position put in front.
func numbered(seq uint64, record []byte) json.RawMessage {
	out := make([]byte, 0, len(record)+24)
	out = append(out, `{"seq":`...)
	out = strconv.AppendUint(out, seq, 10)
	if rest := bytes.TrimPrefix(record, []byte("{")); len(rest) > 1 {
		out = append(append(out, ','), rest...)
		return out
	}
	return append(out, '}')
}

func number(text string, otherwise uint64) (uint64, error) {
	if text == "" {
		return otherwise, nil
	}
	return strconv.ParseUint(text, 10, 64)
}
