package main

import (
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"
)

// reached says how a server of c is reached.
func (c *Config) reached(name string, log *slog.Logger, lend func(c Credential, target string) identity.Credential) mcp.ServerConfig {
	s := c.MCP.Servers[name]
	reached := s.reached(name, log, lend)
	reached.Confine.Private, reached.Confine.Hidden = c.private(), c.hidden()
	return reached
}

// private is folders of which a sandbox shows what the operator names, and no more.
func (c *Config) private() []string {
	if c.file == "" {
		return nil
	}
	dir := absolute([]Folder{Folder(filepath.Dir(c.file))})
	return slices.DeleteFunc(dir, func(path string) bool { return path == "/" })
}

// hidden is what no sandbox shows: keys, the admin's token, the ledger, and all that
// secrets may stand in.
func (c *Config) hidden() []string {
	list := []Folder{c.Data}
	if c.file != "" {
		list = append(list, Folder(c.file))
	}
	for _, f := range c.MCP.Import {
		list = append(list, Folder(f.Path))
	}
	for _, path := range append([]string{c.Vault.Kubernetes.JWT}, c.secrets...) {
		if path != "" {
			list = append(list, Folder(path))
		}
	}
	return absolute(list)
}

// reached says how the server is reached. lend is a credential for it.
func (s *Server) reached(name string, log *slog.Logger, lend func(c Credential, target string) identity.Credential) mcp.ServerConfig {
	c := mcp.ServerConfig{
		Name: name, Command: s.Command, Dir: string(s.Dir), URL: string(s.URL), Timeout: time.Duration(s.Timeout), Trusted: s.Trusted,
		Shared: s.Shared, Opens: s.Opens,
		Prefix: s.Prefix, Concurrency: int(s.Concurrency), Confine: s.Process.confinement(),
		Labels: firewall.Labels(s.Reads), Tools: make(map[string]mcp.ToolConfig), Limits: firewall.Limits{Bytes: int(s.MaxReply)},
		Version: thisVersion().Version, Logger: log.With("server", name),
		Env: make(map[string]string), Secrets: make(map[string]identity.Credential), Headers: make(map[string]identity.Credential),
	}
	for name, t := range s.Tools {
		tool := mcp.ToolConfig{Timeout: time.Duration(t.Timeout), Arguments: make(map[string]mcp.Mark)}
		tool.Trusted = t.Trusted
		if t.Acts || len(t.To) > 0 || len(t.Object) > 0 {
			tool.Acting = &firewall.Acting{To: t.To, Object: t.Object}
		}
		if t.Reads.Given {
			tool.Labels = new(firewall.Labels(t.Reads.Labels))
		}
		for path, a := range t.Arguments {
			tool.Arguments[path] = mcp.Mark{Class: mcp.Class(a.Class), Within: a.Within, Windows: a.Windows, Hosts: a.Hosts, Private: a.Private}
		}
		c.Tools[name] = tool
	}
	for k, v := range s.Env {
		if v.Ref == "" {
			c.Env[k] = v.Text.Reveal()
			continue
		}
		c.Secrets[k] = lend(v.Credential, "server:"+c.Name)
	}
	for k, v := range s.Headers {
		c.Headers[k] = lend(v.Credential, "server:"+c.Name)
	}
	if o := s.OAuth; o.given {
		c.OAuth = &mcp.OAuthConfig{Grant: o.Grant, Per: o.Per, Issuer: o.Issuer, ClientID: o.ClientID, Scopes: o.Scopes}
		if o.ClientSecret.Ref != "" {
			c.OAuth.ClientSecret = lend(o.ClientSecret, "server:"+c.Name)
		}
	}
	return c
}

// confinement is p as package mcp takes it. Paths are those of the process, which
// may start elsewhere.
func (p *Process) confinement() mcp.Confinement {
	return mcp.Confinement{
		User: p.User, Nice: int(p.Nice), Memory: int64(p.Memory), OpenFiles: int(p.OpenFiles), Processes: int(p.Processes),
		Sandbox: mcp.Sandbox(p.Sandbox), Offline: p.Network.off(), Readable: absolute(p.Readable), Writable: absolute(p.Writable),
		Home: home(p.Home),
	}
}

// boxed says whether p asks for a sandbox.
func (p *Process) boxed() bool { return p.Sandbox != "" && mcp.Sandbox(p.Sandbox) != mcp.SandboxOff }

func home(f Folder) string {
	if f == "" {
		return ""
	}
	return absolute([]Folder{f})[0]
}

func absolute(list []Folder) []string {
	var paths []string
	for _, f := range list {
		path, err := filepath.Abs(string(f))
		if err != nil {
			path = string(f) // which the check refuses
		}
		paths = append(paths, path)
	}
	return paths
}
