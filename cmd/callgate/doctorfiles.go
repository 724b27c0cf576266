package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
