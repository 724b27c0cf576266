package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"callgate/audit"
	"callgate/firewall"
	"callgate/firewall/guards"
)

const (
	othersWrite = 0o022
	others      = 0o077
)

// checkFiles looks at who can change the files that the gate lives by, and read
// those that are secrets.
func checkFiles(_ context.Context, x *patient) []symptom {
	c := &x.cfg
	var list []symptom
	seen := make(map[string]bool)
	changed := func(path, why string) {
		if path == "" || seen[path] {
			return
		}
		seen[path] = true
		for _, p := range [...]string{path, filepath.Dir(path)} { // in which it could be replaced
			info, err := os.Stat(p)
			if err != nil {
				return // the configuration's check tells what cannot be read
			}
			if info.Mode().Perm()&othersWrite != 0 && info.Mode()&fs.ModeSticky == 0 {
				list = append(list, symptom{State: failed, What: "others can change " + p, Why: why, Mend: "chmod go-w " + p})
				return
			}
		}
	}
	changed(c.file, "who can change the configuration can have callgate start any program")
	for _, f := range c.Policy {
		changed(f.Path, "who can change the policy can allow everything")
	}
	for _, f := range c.MCP.Import {
		changed(f.Path, "who can change it can have callgate start any program")
	}
	changed(c.MCP.Lock.Path, "who can change it can have any definition of a tool taken")
	for _, path := range c.secrets {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&others != 0 {
			list = append(list, symptom{State: failed, What: "others can read " + path, Why: "it holds a secret", Mend: "chmod 600 " + path})
		}
	}
	return well(list, "others can change none of the files, and read no secret")
}

// checkSecrets looks for secrets that stand in the configuration instead of where it
// could refer to them.
func checkSecrets(ctx context.Context, x *patient) []symptom {
	c := &x.cfg
	guard := guards.NewSecrets()
	var list []symptom
	look := func(key, name, text string) {
		if text == "" || !secretive.MatchString(name) && !looksSecret(ctx, guard, name, text) {
			return
		}
		list = append(list, symptom{State: failed, What: key + " holds a secret", Why: "configurations are copied, shown and put under version control", Mend: "put it into an environment variable or a file, and write env:NAME or file:/path"})
	}
	for _, server := range slices.Sorted(maps.Keys(c.MCP.Servers)) {
		s := c.MCP.Servers[server]
		key := "mcp.servers." + server
		for what, values := range map[string]map[string]Value{"env": s.Env, "headers": s.Headers} {
			for _, name := range slices.Sorted(maps.Keys(values)) {
				if v := values[name]; !v.Referred {
					look(key+"."+what+"."+name, name, v.Text.Reveal())
				}
			}
		}
		for i, arg := range s.Command {
			look(fmt.Sprintf("%s.command[%d]", key, i), "", arg)
		}
		look(key+".url", "", string(s.URL))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		look("providers."+name+".base_url", "", string(c.Providers[name].BaseURL))
	}
	return well(list, "none stands in the configuration")
}

// looksSecret says whether the guard that masks secrets would mask text.
func looksSecret(ctx context.Context, guard *guards.Secrets, name, text string) bool {
	doc, err := json.Marshal(map[string]string{name: text})
	if err != nil {
		return true
	}
	body, err := firewall.ParseBody(doc, firewall.Limits{})
	if err != nil {
		return false // too large to be one
	}
	call := &firewall.Call{Kind: firewall.Tool, Body: body}
	if _, err := guard.Request(ctx, call); err != nil {
		return true
	}
	return slices.ContainsFunc(call.Findings, func(f audit.Finding) bool { return f.Guard == guard.Name() })
}

// checkData looks at who can read what the gate keeps.
func checkData(_ context.Context, x *patient) []symptom {
	dir := string(x.cfg.Data)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []symptom{{State: skipped, What: dir + " is not there yet; callgate serve makes it"}}
	case err != nil:
		return []symptom{{State: failed, What: dir + ": " + plain(err), Mend: "run callgate as the user that the folder belongs to"}}
	case !info.IsDir():
		return []symptom{{State: failed, What: dir + " is not a folder", Mend: "name another one with data"}}
	}
	const why = "it holds the keys that sign tokens, the admin's token and the record"
	var list []symptom
	closed := info.Mode().Perm()&others == 0
	if !closed {
		list = append(list, symptom{State: failed, What: "others can look into " + dir, Why: why, Mend: "chmod 700 " + dir})
	}
	for _, name := range [...]string{tokenFile, "keys", "ledger", "callgate.db", toolbookFile} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			list = append(list, symptom{State: failed, What: path + ": " + plain(err), Mend: "run callgate as the user that the folder belongs to"})
		case !closed && info.Mode().Perm()&others != 0:
			list = append(list, symptom{State: failed, What: "others can read " + path, Why: why, Mend: "chmod go= " + path})
		}
	}
	keys, _ := filepath.Glob(filepath.Join(dir, "keys", "*"))
	for _, path := range keys {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&others != 0 {
			list = append(list, symptom{State: failed, What: "others can read " + path, Why: "who has it can sign tokens, or read what is sealed", Mend: "chmod 600 " + path})
		}
	}
	for p := filepath.Dir(absolute([]Folder{x.cfg.Data})[0]); p != "/" && p != "."; p = filepath.Dir(p) {
		if info, err := os.Stat(p); err == nil && info.Mode().Perm()&othersWrite != 0 && info.Mode()&fs.ModeSticky == 0 {
			list = append(list, symptom{State: failed, What: "others can change " + p + ", in which the data folder is", Why: "they can put another one in its place", Mend: "chmod go-w " + p})
			break
		}
	}
	if f, err := os.CreateTemp(dir, "doctor-*"); err != nil {
		list = append(list, symptom{State: failed, What: "nothing can be written in " + dir + ": " + plain(err), Why: "what cannot be recorded is refused", Mend: "run callgate as the user that the folder belongs to, or make room"})
	} else if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		list = append(list, symptom{State: failed, What: dir + ": " + plain(err)})
	}
	return well(list, "%s is for its owner alone", strings.TrimSuffix(dir, "/"))
}
