package mcp

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"callgate/firewall"
)

// led is where a canonical path that m allows leads when the links on this machine's
// disk are followed, as far as it exists, in the words of the directories that m
// names. It errs where that is not in one of them.
//
// The disk of a server that is reached by a URL is another one's; where this machine
// has the directory, too, its links count all the same.
func (m Mark) led(s *Server, clean string) (string, error) {
	dirs := m.Within
	local := len(s.cfg.Command) > 0
	if len(dirs) == 0 || !path.IsAbs(clean) {
		if !local {
			return clean, nil
		}
		if len(dirs) == 0 && !path.IsAbs(clean) {
			dirs = []string{"."}
		}
	}
	found, err := real(s.onDisk(clean))
	if err != nil {
		return "", errLink
	}
	to, inside := "", false
	for _, dir := range dirs {
		if path.IsAbs(dir) != path.IsAbs(clean) {
			continue
		}
		root, err := filepath.EvalSymlinks(s.onDisk(dir))
		if os.IsNotExist(err) && below(clean, dir) {
			return clean, nil // there is no such directory here
		}
		if err != nil {
			continue
		}
		if root, err = filepath.Abs(root); err != nil || !below(filepath.ToSlash(found), filepath.ToSlash(root)) {
			continue
		}
		rest, err := filepath.Rel(root, found)
		if err != nil {
			continue
		}
		at := path.Join(dir, filepath.ToSlash(rest))
		if at == clean {
			return clean, nil
		}
		if !inside {
			to, inside = at, true
		}
	}
	switch {
	case inside:
		return to, nil
	case len(m.Within) > 0:
		return "", errLink
	}
	return filepath.ToSlash(found), nil
}

var errLink = firewall.Refuse(firewall.Denied, "a link on the way leads out of the directories that are allowed, or to nothing")

// onDisk is where a path of the server is on this machine, where it is.
func (s *Server) onDisk(clean string) string {
	if !path.IsAbs(clean) {
		clean = path.Join(filepath.ToSlash(s.cfg.Dir), clean)
	}
	return filepath.FromSlash(clean)
}

// real is a path without links, absolute. What is not there yet stays as it is; a
// link to what is not there has no real path.
func real(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	there := name
	for {
		_, err := os.Lstat(there)
		if err == nil {
			break
		}
		up := filepath.Dir(there)
		if !os.IsNotExist(err) && !errors.Is(err, syscall.ENOTDIR) || up == there {
			return "", err
		}
		there = up
	}
	found, err := filepath.EvalSymlinks(there)
	if err != nil {
		return "", err
	}
	return filepath.Join(found, strings.TrimPrefix(name, there)), nil
}
