package main

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
)

// differences says in words what of the reloadable keys differs.
func differences(a, b *Config) []string {
	var list []string
	list = append(list, different("mcp server", a.MCP.Servers, b.MCP.Servers)...)
	if !bytes.Equal(a.MCP.Lock.Text, b.MCP.Lock.Text) {
		list = append(list, "mcp lock is changed")
	}
	list = append(list, different("client tool", a.Client.Tools, b.Client.Tools)...)
	if !reflect.DeepEqual(a.TLS, b.TLS) {
		list = append(list, "tls is changed")
	}
	if !reflect.DeepEqual(a.Catalog, b.Catalog) {
		list = append(list, "catalog is changed")
	}
	list = append(list, different("provider", a.Providers, b.Providers)...)
	list = append(list, different("model", a.Models, b.Models)...)
	if !reflect.DeepEqual(a.Vault, b.Vault) {
		list = append(list, "vault is changed")
	}
	list = append(list, different("agent", byName(a.Agents), byName(b.Agents))...)
	list = append(list, different("user", byName(a.Users), byName(b.Users))...)
	list = append(list, different("group", byName(a.Groups), byName(b.Groups))...)
	if !reflect.DeepEqual(a.Identity.Clients, b.Identity.Clients) {
		list = append(list, "identity.clients is changed")
	}
	if !reflect.DeepEqual(a.Identity.Federation, b.Identity.Federation) {
		list = append(list, "identity.federation is changed")
	}
	if !reflect.DeepEqual(a.Audit.Export, b.Audit.Export) {
		list = append(list, "audit.export is changed")
	}
	if a.Audit.Retention != b.Audit.Retention {
		list = append(list, "audit.retention is "+b.Audit.Retention.String())
	}
	if !reflect.DeepEqual(a.Drift, b.Drift) {
		list = append(list, "drift is changed")
	}
	if a.ShutdownTimeout != b.ShutdownTimeout {
		list = append(list, "shutdown_timeout is "+b.ShutdownTimeout.String())
	}
	return list
}

func byName[V interface{ name() string }](list []V) map[string]V {
	m := make(map[string]V, len(list))
	for _, v := range list {
		m[v.name()] = v
	}
	return m
}

func different[V any](what string, a, b map[string]V) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if old, ok := a[name]; !ok {
			list = append(list, what+" "+name+" is new")
		} else if !reflect.DeepEqual(old, b[name]) {
			list = append(list, what+" "+name+" is changed")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if _, ok := b[name]; !ok {
			list = append(list, what+" "+name+" is gone")
		}
	}
	return list
}
