package providers

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

const (
	pageSize = 100
	maxPages = 50 // that one list is looked for in
)

// shown lists the objects of a kind that are the caller's: the provider has those of all
// agents, and tells them page by page. It is the call's [firewall.Upstream].
type shown struct {
	h    *Handler
	x    *exchange
	kind string
}

// Read implements [firewall.Upstream].
func (s *shown) Read(ev *firewall.Event) {
	if ev.Mark&markError != 0 {
		s.x.Read(ev)
	}
}

// Forward implements [firewall.Upstream].
func (s *shown) Forward(ctx context.Context, call *firewall.Call) firewall.Events {
	return func(yield func(firewall.Event, error) bool) {
		ev, err := s.list(ctx, call)
		yield(ev, err)
	}
}

// list gathers the caller's objects, from the place that the client has come to.
func (s *shown) list(ctx context.Context, call *firewall.Call) (firewall.Event, error) {
	query, err := url.ParseQuery(s.x.query)
	if err != nil {
		return firewall.Event{}, firewall.Refuse(firewall.Invalid, "the query cannot be read")
	}
	wanted := pageSize
	if said := query.Get("limit"); said != "" {
		if wanted, err = strconv.Atoi(said); err != nil || wanted < 1 {
			return firewall.Event{}, firewall.Refuse(firewall.Invalid, "limit must be a number from 1")
		}
	}
	wanted = min(wanted, 10*pageSize)
	if after := query.Get("after"); after != "" {
		if _, err := s.h.owned(ctx, call, s.kind, after); err != nil {
			return firewall.Event{}, err
		}
	}
	query.Set("limit", strconv.Itoa(pageSize))
	var found [][]byte
	more := false
	for page := 0; ; page++ {
		s.x.query = query.Encode()
		ev, err := s.page(ctx, call)
		if err != nil || ev.Mark&markError != 0 {
			return ev, err
		}
		last := ""
		for _, item := range gjson.GetBytes(ev.Body.JSON, "data").Array() {
			last = item.Get("id").Str
			_, err := s.h.owned(ctx, call, s.kind, last)
			if e := asRefused(err); e != nil && e.Code != firewall.NotFound {
				return firewall.Event{}, err
			}
			if err != nil {
				continue
			}
			if len(found) == wanted {
				more = true
				break
			}
			found = append(found, []byte(item.Raw))
		}
		if more || !gjson.GetBytes(ev.Body.JSON, "has_more").Bool() || last == "" {
			break
		}
		if page+1 == maxPages {
			return firewall.Event{}, firewall.Refuse(firewall.Unavailable, "the provider has more of other agents than callgate looks through: ask for one by its id")
		}
		query.Set("after", last)
	}
	doc := append([]byte(`{"object":"list","data":[`), bytes.Join(found, []byte{','})...)
	first, last := "null", "null"
	if len(found) > 0 {
		first, last = gjson.GetBytes(found[0], "id").Raw, gjson.GetBytes(found[len(found)-1], "id").Raw
	}
	doc = append(doc, `],"first_id":`+first+`,"last_id":`+last+`,"has_more":`+strconv.FormatBool(more)+`}`...)
	body, err := firewall.ParseBody(doc, firewall.Limits{Bytes: len(doc)})
	s.x.back.status = http.StatusOK
	return firewall.Event{Body: body, Last: true, Mark: markPlain}, err
}

// page is one page of the provider's.
func (s *shown) page(ctx context.Context, call *firewall.Call) (firewall.Event, error) {
	for ev, err := range s.x.Forward(ctx, call) {
		return ev, err
	}
	return firewall.Event{}, s.x.unavailable("answered with nothing", nil)
}
