package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"callgate/firewall"
	"callgate/identity"

	"github.com/tidwall/gjson"
)

// importServers adds the servers of the mcpServers JSON files that MCP clients
// use: {"mcpServers": {name: {command, args, env, cwd} or {type, url, headers}}}.
// What else stands in such a file is the client's own business.
func (c *Config) importServers(r *reader) {
	for _, f := range c.MCP.Import {
		if f.Text == nil {
			continue // noted already
		}
		i := importer{file: f.Path, text: f.Text, env: r.env}
		for name, s := range i.servers() {
			if _, taken := c.MCP.Servers[name]; taken {
				i.note(i.at[name], "server %s is configured already; take one of the two out", name)
				continue
			}
			if c.MCP.Servers == nil {
				c.MCP.Servers = make(map[string]Server)
			}
			c.MCP.Servers[name] = s
		}
		r.mistakes = append(r.mistakes, i.mistakes...)
	}
}

// An importer reads one mcpServers file.
type importer struct {
	file     string
	text     []byte
	env      func(string) (string, bool)
	at       map[string]int // offset of each server's name
	mistakes Mistakes
}

// note puts a mistake at a byte of the file on the list.
func (i *importer) note(offset int, format string, args ...any) {
	before := i.text[:min(offset, len(i.text))]
	i.mistakes = append(i.mistakes, Mistake{
		File: i.file,
		Line: 1 + bytes.Count(before, []byte("\n")),
		Col:  len(before) - bytes.LastIndexByte(before, '\n'),
		Text: fmt.Sprintf(format, args...),
	})
}

func (i *importer) servers() map[string]Server {
	if _, err := firewall.ParseBody(i.text, firewall.Limits{Depth: 64}); err != nil {
		i.mistakes = append(i.mistakes, Mistake{File: i.file, Text: "not valid JSON: " + err.Error()})
		return nil
	}
	list := gjson.GetBytes(i.text, "mcpServers")
	if !list.IsObject() {
		i.note(0, `no servers here: want {"mcpServers": {"name": {"command": "program"}}}`)
		return nil
	}
	servers := make(map[string]Server)
	i.at = make(map[string]int)
	list.ForEach(func(key, entry gjson.Result) bool {
		name := key.String()
		i.at[name] = key.Index
		if !serverName.MatchString(name) || len(name) > 32 {
			i.note(key.Index, "server %q: a name has 1 to 32 of a-z 0-9 and single -; write %s", name, fitting(name))
			return true
		}
		if !entry.IsObject() {
			i.note(entry.Index, "server %s: want an object with command or url", name)
			return true
		}
		if !entry.Get("disabled").Bool() {
			servers[name] = i.server(name, key.Index, entry)
		}
		return true
	})
	return servers
}

// server reads one entry.
func (i *importer) server(name string, at int, entry gjson.Result) Server {
	var s Server
	entry.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "type":
			switch v.Str {
			case "", "stdio", "http", "streamable-http", "streamableHttp":
			default:
				i.note(v.Index, "server %s: type %q is not supported; callgate speaks stdio and streamable http", name, v.String())
			}
		case "command":
			s.Command = append([]string{i.string(name, key.Str, v)}, s.Command...)
		case "args":
			v.ForEach(func(_, arg gjson.Result) bool {
				s.Command = append(s.Command, i.string(name, key.Str, arg))
				return true
			})
		case "cwd":
			if dir := i.string(name, key.Str, v); dir != "" {
				s.Dir = Folder(dir)
				if !filepath.IsAbs(dir) {
					s.Dir = Folder(filepath.Join(filepath.Dir(i.file), dir))
				}
			}
		case "url":
			s.URL = ServerURL(i.string(name, key.Str, v))
			if why := s.URL.wrong(); why != "" {
				i.note(v.Index, "server %s: url: %s", name, why)
			}
		case "env":
			s.Env = i.values(name, key.Str, v)
		case "headers":
			s.Headers = i.values(name, key.Str, v)
		}
		return true
	})
	switch program := entry.Get("command").Exists(); {
	case program && s.URL != "":
		i.note(at, "server %s: has both command and url; keep one of them", name)
	case !program && s.URL == "":
		i.note(at, "server %s: want command or url", name)
	}
	if s.URL != "" {
		s.Env = nil // clients write an empty one beside a url
	}
	return s
}

func (i *importer) values(name, key string, v gjson.Result) map[string]Value {
	m := make(map[string]Value)
	v.ForEach(func(k, v gjson.Result) bool {
		text := i.string(name, key+"."+k.Str, v)
		m[k.String()] = Value{Credential{Text: identity.NewSecret(text)}}
		return true
	})
	return m
}

// string is a text with ${NAME} and ${NAME:-default} put in from the environment.
func (i *importer) string(name, key string, v gjson.Result) string {
	if v.Type != gjson.String {
		i.note(v.Index, "server %s: %s: want a string", name, key)
		return ""
	}
	var b strings.Builder
	rest := v.Str
	for {
		before, after, found := strings.Cut(rest, "${")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		variable, tail, closed := strings.Cut(after, "}")
		if !closed {
			i.note(v.Index, "server %s: %s: ${ without }", name, key)
			return ""
		}
		variable, fallback, has := strings.Cut(variable, ":-")
		value, set := i.env(variable)
		switch {
		case set && (value != "" || !has):
			b.WriteString(value)
		case has:
			b.WriteString(fallback)
		default:
			i.note(v.Index, "server %s: %s: %s is not set in the environment of callgate; set it, or write ${%s:-default}", name, key, variable, variable)
		}
		rest = tail
	}
}
