package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode"

	"callgate/firewall"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

// A Definition is what a server says of one tool, prompt, resource or resource
// template.
type Definition struct {
	Name    string          // name, uri or uriTemplate
	Raw     json.RawMessage // the item, as it came
	Impact  firewall.Impact // of a tool, where the operator trusts the server's word; else unknown
	Headers []ParamHeader   // of a tool: arguments that are mirrored in headers (x-mcp-header)
	Held    string          // why it is withheld from agents, in words for them; "" if it is not. See [Pins].

	shape *shape // of a tool: what goes in and what comes out
}

const (
	listTTL      = time.Minute // how long a list is believed when the server does not say
	minListTTL   = time.Second // also where the server says less, so that each call does not ask again
	maxListTTL   = 10 * time.Minute
	maxPages     = 1000
	maxItems     = 10_000
	maxListBytes = 16 << 20
	maxName      = 1024 // bytes of a name
)

// A list is one of the four kinds of things that servers list.
type list struct {
	method     string
	items      string // member of the result that holds the items
	name       string // member of an item that names it
	capability string // of servers that have the list
}

func listOf(method string) (list, bool) {
	switch method {
	case "tools/list":
		return list{method, "tools", "name", "tools"}, true
	case "prompts/list":
		return list{method, "prompts", "name", "prompts"}, true
	case "resources/list":
		return list{method, "resources", "uri", "resources"}, true
	case "resources/templates/list":
		return list{method, "resourceTemplates", "uriTemplate", "resources"}, true
	}
	return list{}, false
}

// listing is what a server lists, all pages. It is never changed once made.
type listing struct {
	defs   []Definition
	byName map[string]int
	bytes  int  // of the items
	public bool // every caller gets the same
	until  time.Time

	withheld []string // items, and why
}

// List is all that the server has of one kind for client, over all pages:
// method is tools/list, prompts/list, resources/list or resources/templates/list.
// It is cached until the server says that it changed, or for as long as the
// server says, or else for a minute. The answer is shared and must not be changed.
func (s *Server) List(ctx context.Context, client *Client, method string) ([]Definition, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	l, err := s.listing(ctx, client, method)
	if err != nil {
		return nil, err
	}
	return l.defs, nil
}

// Find is what [Server.List] has under a name, and whether it has it.
func (s *Server) Find(ctx context.Context, client *Client, method, name string) (Definition, bool, error) {
	if err := s.enter(); err != nil {
		return Definition{}, false, err
	}
	defer s.leave()
	l, err := s.listing(ctx, client, method)
	if err != nil {
		return Definition{}, false, err
	}
	i, ok := l.byName[name]
	if !ok {
		return Definition{}, false, nil
	}
	return l.defs[i], true, nil
}

func (s *Server) listing(ctx context.Context, client *Client, method string) (*listing, error) {
	which, ok := listOf(method)
	if !ok {
		return nil, firewall.Refuse(firewall.Invalid, "%q is not a list", method)
	}
	info, err := s.wire.info(ctx, client)
	if err != nil {
		if l := s.stillKnown(client, method); l != nil {
			return l, nil
		}
		return nil, s.explain(ctx, err)
	}
	s.last.Store(info)
	if !info.has(which.capability) {
		return &listing{}, nil
	}
	client = client.seenBy(s, info)
	key := listKey{method, client.key()}
	f, mine := s.lists.take(key, time.Now())
	if mine {
		s.work.Go(func() {
			ctx, cancel := context.WithTimeout(s.life, discoverTime)
			defer cancel()
			l, err := s.fetch(ctx, client, which)
			s.lists.put(key, f, l, err)
			if err == nil && s.cfg.Seen != nil && method == "tools/list" {
				s.cfg.Seen(usableOf(l.defs))
			}
		})
	}
	l, err := f.wait(ctx)
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return l, nil
}

// fetch asks for all pages of a list.
func (s *Server) fetch(ctx context.Context, client *Client, which list) (*listing, error) {
	info, err := s.wire.info(ctx, client)
	if err != nil {
		return nil, err
	}
	mirrored := info.Modern && s.cfg.URL != ""
	l := &listing{byName: make(map[string]int), public: true}
	ttl, cursor := maxListTTL, ""
	for range maxPages {
		req := Request{Method: which.method}
		if cursor != "" {
			req.Params = json.RawMessage(`{"cursor":` + cursor + `}`)
		}
		m, err := s.one(ctx, client, req)
		if err != nil {
			return nil, err
		}
		if m.Error != nil {
			if parsed(m.Error).Get("code").Int() == mcpgo.METHOD_NOT_FOUND {
				l.until = time.Now().Add(listTTL)
				return l, s.judge(ctx, client, info, which, l)
			}
			return nil, s.unavailable("refused to say what it has: "+which.method, nil)
		}
		page := parsed(m.Result)
		if err := s.add(l, which, page, mirrored); err != nil {
			return nil, err
		}
		ttl = min(ttl, lifetime(page))
		l.public = l.public && page.Get("cacheScope").String() == "public"
		next := page.Get("nextCursor")
		if next.Type != gjson.String {
			if n := len(l.withheld); n > 0 {
				s.cfg.Logger.Warn("items of a server withheld", "list", which.method, "count", n, "items", l.withheld[:min(n, 10)])
			}
			l.withheld, l.until = nil, time.Now().Add(ttl)
			return l, s.judge(ctx, client, info, which, l)
		}
		if next.Raw == cursor {
			return nil, s.unavailable("lists the same page again and again: "+which.method, nil)
		}
		cursor = next.Raw
	}
	return nil, s.unavailable("lists more pages than callgate takes: "+which.method, nil)
}

// one is the response to a request that is callgate's own idea.
func (s *Server) one(ctx context.Context, client *Client, req Request) (Message, error) {
	var last Message
	req.own = true
	err := s.run(ctx, client, req, func(m Message) bool {
		last = m
		return true
	})
	return last, err
}

// lifetime is how long a page is to be believed.
func lifetime(page gjson.Result) time.Duration {
	said := page.Get("ttlMs")
	if said.Type != gjson.Number {
		return listTTL
	}
	ms := min(max(said.Num, 0), float64(maxListTTL.Milliseconds()))
	return max(time.Duration(ms)*time.Millisecond, minListTTL)
}

// add takes the items of a page into l. An item that has no name of its own
// cannot be judged, and is withheld; so is, as MCP demands where arguments are
// mirrored in headers, one whose annotations for that are not valid.
func (s *Server) add(l *listing, which list, page gjson.Result, mirrored bool) error {
	items := page.Get(which.items)
	if !items.IsArray() {
		return s.unavailable("answered "+which.method+" without "+which.items, nil)
	}
	var err error
	items.ForEach(func(_, item gjson.Result) bool {
		l.bytes += len(item.Raw)
		if len(l.defs)+len(l.withheld) >= maxItems || l.bytes > maxListBytes {
			err = s.unavailable("lists more than callgate takes: "+which.method, nil)
			return false
		}
		d, why := s.define(which, item)
		if why == errParamHeader && !mirrored {
			why = nil
		}
		if _, twice := l.byName[d.Name]; why == nil && twice {
			why = errors.New("its name stands twice in the list")
		}
		if why != nil {
			l.withheld = append(l.withheld, strconv.Quote(d.Name)+": "+why.Error())
			return true
		}
		l.byName[d.Name] = len(l.defs)
		l.defs = append(l.defs, d)
		return true
	})
	return err
}

// define reads what callgate must know of an item.
func (s *Server) define(which list, item gjson.Result) (Definition, error) {
	d := Definition{Raw: json.RawMessage(item.Raw)}
	if !item.IsObject() {
		return d, errors.New("it is not an object")
	}
	var err error
	item.ForEach(func(key, value gjson.Result) bool {
		if key.Str == which.name && value.Type == gjson.String {
			d.Name = value.Str
		}
		err = exactly(key.Str, which.name)
		return err == nil
	})
	if err != nil {
		return d, err
	}
	if !usable(d.Name) {
		d.Name = ""
		return d, errors.New("it has no usable " + which.name)
	}
	if which.method == "tools/list" {
		if s.cfg.Trusted {
			d.Impact = impact(item.Get("annotations"))
		}
		d.Headers, err = paramHeaders(item.Get("inputSchema"))
		d.shape = &shape{def: d.Raw, known: &s.known}
	}
	return d, err
}

// usable says whether a name can be shown, judged and recorded.
func usable(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, unicode.IsControl)
}

// impact is what a server says of a tool. Hints that are left out have the
// defaults of MCP, which are the careful ones.
func impact(annotations gjson.Result) firewall.Impact {
	if !annotations.IsObject() {
		return 0
	}
	i := firewall.Declared
	if annotations.Get("readOnlyHint").Type == gjson.True {
		i |= firewall.ReadOnly
	} else if annotations.Get("destructiveHint").Type != gjson.False {
		i |= firewall.Destructive
	}
	if annotations.Get("idempotentHint").Type == gjson.True {
		i |= firewall.Idempotent
	}
	if annotations.Get("openWorldHint").Type != gjson.False {
		i |= firewall.OpenWorld
	}
	return i
}
