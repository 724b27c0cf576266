package console

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"callgate/audit"
)

// Calls is a page of calls.
type Calls struct {
	Calls []audit.Call `json:"calls"`
	Next  string       `json:"next_page_token,omitempty"` // to ask for more with; none: that was all
	Note  string       `json:"note,omitempty"`            // why there are fewer than were asked for
}

// Timeline is a page of a run.
type Timeline struct {
	audit.Timeline
	Next string `json:"next_page_token,omitempty"`
}

// A question is one that somebody asks of the record: it waits for the index, and is
// itself put on record.
type question func(ctx context.Context, q url.Values, r *http.Request) (answer any, rows int, err error)

// errNothing is that there is nothing of that name.
type errNothing string

func (e errNothing) Error() string { return string(e) }

// errAsked is that a question is not one.
type errAsked struct{ error }

// ask serves a question that is asked with some parameters.
func (c *Console) ask(verb string, parameters []string, ask question) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for name, values := range q {
			switch {
			case !slices.Contains(parameters, name):
				refuse(w, http.StatusBadRequest, "invalid", "parameter %.40q is not known here; docs/api.md lists the parameters: %s", name, strings.Join(parameters, ", "))
				return
			case len(values) > 1:
				refuse(w, http.StatusBadRequest, "invalid", "parameter %.40q: is there more than once", name)
				return
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
		defer cancel()
		if !c.caughtUp(ctx, w) {
			return
		}
		found, rows, err := ask(ctx, q, r)
		var wrong errAsked
		var nothing errNothing
		switch {
		case errors.As(err, &wrong), errors.Is(err, audit.ErrFilter):
			refuse(w, http.StatusBadRequest, "invalid", "%v", err)
		case errors.As(err, &nothing):
			c.queried(verb, r, 0)
			refuse(w, http.StatusNotFound, "not_found", "%v", err)
		case err != nil:
			refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
		default:
			c.queried(verb, r, rows)
			answer(w, http.StatusOK, found)
		}
	}
}

// queried puts on record that the record was asked. That it cannot be is logged, and
// keeps nobody from an answer: what is there must be readable when the disk is full.
func (c *Console) queried(verb string, r *http.Request, rows int) {
	asked, err := url.QueryUnescape(r.URL.RawQuery)
	if err != nil {
		asked = r.URL.RawQuery
	}
	for _, name := range []string{"id", "run"} {
		if v := r.PathValue(name); v != "" {
			asked = strings.TrimSpace(v + " " + asked)
		}
	}
	if len(asked) > maxAsked {
		asked = strings.ToValidUTF8(asked[:maxAsked], "") + "…"
	}
	_ = c.cfg.Record("audit.queried", "admin", verb, fmt.Sprintf("%d rows: %s", rows, asked)) // which logs what is wrong
}

const maxAsked = 1500 // bytes of a question on record

// calls answers with a page of calls.
func (c *Console) calls(ctx context.Context, q url.Values, r *http.Request) (any, int, error) {
	f, err := filter(q)
	if err != nil {
		return nil, 0, errAsked{err}
	}
	before, err := opened(q)
	if err != nil {
		return nil, 0, errAsked{err}
	}
	if before > 0 {
		f.Before = before
	}
	page, err := c.cfg.Index.Page(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	found := Calls{Calls: page.Calls, Note: page.Note}
	if found.Calls == nil {
		found.Calls = []audit.Call{}
	}
	if page.Next > 0 {
		found.Next = token(q, page.Next)
	}
	return found, len(page.Calls), nil
}

// token is where to go on with the question q.
func token(q url.Values, at uint64) string {
	b := binary.AppendUvarint(sealOf(q), at)
	return base64.RawURLEncoding.EncodeToString(b)
}

// opened is where the page token of q says to go on, 0 if it has none.
func opened(q url.Values) (uint64, error) {
	text := q.Get("page_token")
	if text == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 9 {
		return 0, errors.New(`parameter "page_token": want a next_page_token as it was answered`)
	}
	at, n := binary.Uvarint(b[8:])
	if n <= 0 || n != len(b)-8 {
		return 0, errors.New(`parameter "page_token": want a next_page_token as it was answered`)
	}
	if string(b[:8]) != string(sealOf(q)) {
		return 0, errors.New(`parameter "page_token": it belongs to another question; repeat the parameters that it was answered to`)
	}
	return at, nil
}

// sealOf stands for a question, but for where it goes on and how many it wants.
func sealOf(q url.Values) []byte {
	same := url.Values{}
	for name, v := range q {
		if name != "page_token" && name != "limit" {
			same[name] = v
		}
	}
	sum := sha256.Sum256([]byte(same.Encode()))
	return sum[:8]
}

func (c *Console) call(ctx context.Context, _ url.Values, r *http.Request) (any, int, error) {
	found, ok, err := c.cfg.Index.Call(ctx, r.PathValue("id"))
	if err == nil && !ok {
		err = errNothing(fmt.Sprintf("no call %.80q is on record", r.PathValue("id")))
	}
	return found, 1, err
}

// chainOf answers with the calls that find finds.
func chainOf(find func(ctx context.Context, id string) (audit.Chain, error)) question {
	return func(ctx context.Context, _ url.Values, r *http.Request) (any, int, error) {
		found, err := find(ctx, r.PathValue("id"))
		if err == nil && len(found.Calls) == 0 {
			err = errNothing(fmt.Sprintf("no call, run or chain %.80q is on record", r.PathValue("id")))
		}
		return found, len(found.Calls), err
	}
}

func (c *Console) timeline(ctx context.Context, q url.Values, r *http.Request) (any, int, error) {
	after, err := opened(q)
	if err != nil {
		return nil, 0, errAsked{err}
	}
	limit, err := count(q)
	if err != nil {
		return nil, 0, errAsked{err}
	}
	t, err := c.cfg.Index.Timeline(ctx, r.PathValue("run"), after, limit)
	if err == nil && len(t.Calls) == 0 && after == 0 {
		err = errNothing(fmt.Sprintf("no run %.80q is on record", r.PathValue("run")))
	}
	found := Timeline{Timeline: t}
	if t.Next > 0 {
		found.Next = token(q, t.Next)
	}
	return found, len(t.Calls), err
}

func (c *Console) rollup(ctx context.Context, q url.Values, _ *http.Request) (any, int, error) {
	var f audit.RollupFilter
	var err error
	if by := q.Get("by"); by != "" {
		f.By = strings.Split(by, ",")
	}
	if f.Since, f.Until, err = times(q); err == nil {
		f.Limit, err = count(q)
	}
	if err == nil {
		f.Where, err = audit.ParseWhere(q.Get("filter"), time.Now())
	}
	if err != nil {
		return nil, 0, errAsked{err}
	}
	list, err := c.cfg.Index.Rollup(ctx, f)
	return list, len(list), err
}

func (c *Console) coverage(ctx context.Context, q url.Values, _ *http.Request) (any, int, error) {
	since, until, err := times(q)
	if err != nil {
		return nil, 0, errAsked{err}
	}
	list, err := c.cfg.Index.Coverage(ctx, agentNamed(q.Get("agent")), since, until)
	return list, len(list), err
}

func (c *Console) unlike(ctx context.Context, q url.Values, _ *http.Request) (any, int, error) {
	since, until, err := times(q)
	limit, bad := count(q)
	if err = errors.Join(err, bad); err != nil {
		return nil, 0, errAsked{err}
	}
	list, err := c.cfg.Index.Unlike(ctx, agentNamed(q.Get("agent")), since, until)
	if limit == 0 {
		limit = 100
	}
	list = list[:min(len(list), limit)]
	return list, len(list), err
}

func (c *Console) diff(ctx context.Context, q url.Values, _ *http.Request) (any, int, error) {
	after, before := q.Get("after"), q.Get("before")
	if after == "" {
		return nil, 0, errAsked{errors.New(`parameter "after": want the id of a call or a run`)}
	}
	found, ok, err := c.cfg.Index.Diff(ctx, before, after)
	if err == nil && !ok {
		err = errNothing(fmt.Sprintf("there is no call or run %.80q, or %.80q is not of the same kind", after, before))
	}
	return found, len(found.Differs), err
}

func (c *Console) who(ctx context.Context, _ url.Values, r *http.Request) (any, int, error) {
	w, ok, err := c.cfg.Index.Who(ctx, r.PathValue("id"))
	if err != nil {
		return nil, 0, err
	}
	if !ok {
		return nil, 0, errNothing(fmt.Sprintf("no call %.80q is on record", r.PathValue("id")))
	}
	if a, known := c.cfg.Registry.Get(strings.TrimPrefix(w.Agent, "agent:")); known && strings.HasPrefix(w.Agent, "agent:") {
		w.Owner = a.Owner
		if w.Human == "" && strings.HasPrefix(a.Owner, "user:") {
			w.Human, w.How = a.Owner, "no person is in the delegation chain: this one answers for the agent, by the registry as it is now"
		}
	}
	return w, 1, nil
}

// times are the bounds that q names.
func times(q url.Values) (since, until time.Time, err error) {
	for _, p := range []struct {
		name string
		t    *time.Time
	}{{"since", &since}, {"until", &until}} {
		if text := q.Get(p.name); text != "" && err == nil {
			if *p.t, err = time.Parse(time.RFC3339Nano, text); err != nil {
				err = fmt.Errorf("parameter %q: %w", p.name, err)
			}
		}
	}
	return since, until, err
}

// count is the limit that q names, 0 if it names none.
func count(q url.Values) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxRecords {
		return 0, fmt.Errorf("parameter %q: want 1 to %d", "limit", maxRecords)
	}
	return n, nil
}

func agentNamed(s string) string {
	if s != "" && !strings.Contains(s, ":") {
		return "agent:" + s
	}
	return s
}
