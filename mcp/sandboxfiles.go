package mcp

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// systemPaths are in each sandbox, where the machine has them: programs and what
// they need, and nothing that is somebody's own.
var systemPaths = []string{
	"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/opt", "/nix/store",
	"/etc/alternatives", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/fonts", "/etc/gai.conf", "/etc/group", "/etc/host.conf", "/etc/hosts",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd",
	"/etc/pki/ca-trust", "/etc/pki/tls/cert.pem", "/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/protocols", "/etc/resolv.conf", "/etc/services",
	"/etc/ssl/cert.pem", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/timezone",
}

// runPaths are what is left of /run: where /etc/resolv.conf may lead, and where
// NixOS has its programs.
var runPaths = []string{"/run/current-system", "/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf", "/run/resolvconf/resolv.conf", "/run/NetworkManager/resolv.conf"}

// homePaths are people's own: the sandbox has nothing of them but what the
// operator names.
var homePaths = []string{"/home", "/root", "/Users"}

// rootsPaths are what only root may read: a process that runs as root in a sandbox
// is the owner still.
var rootsPaths = []string{
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssh", "/etc/ssl/private", "/etc/pki/tls/private",
	"/etc/kubernetes", "/etc/docker", "/etc/wireguard", "/etc/letsencrypt", "/etc/krb5.keytab", "/var/lib/kubelet", "/var/lib/docker", "/var/lib/containerd",
	"/var/lib/rancher", "/var/spool/cron", "/var/backups", "/boot",
}

const (
	boxTemp = "/tmp"
	boxHome = "/tmp/home" // where no other home is named
)

// A box is a command in a sandbox.
type box struct {
	argv []string
	home string // what HOME is there
}

// A mount is a part of a sandbox's files.
type mount struct {
	from string // of the machine, without symbolic links
	at   string // in the sandbox
	kind string // option of bubblewrap
	rank int    // which of two at one path counts
}

// Ranks of mounts.
const (
	ofSystem = iota
	ofNobody // empty, or made anew
	ofServer // its program and working directory
	isReadable
	isWritable
	isHidden // whatever else is said of it
)

// binds says whether m shows something that the machine has.
func (m *mount) binds() bool { return strings.Contains(m.kind, "bind") && m.from != os.DevNull }

// A layout is the files of a sandbox as they are laid out.
type layout struct {
	whole  bool // the machine is there, but for what is laid over it
	mounts []mount
}

// sandbox is argv, run as who in a sandbox.
func (c *ServerConfig) sandbox(argv []string, who *systemUser) (*box, error) {
	bwrap, err := bubblewrap()
	if err != nil {
		return nil, err
	}
	l := layout{whole: len(c.Confine.Readable) == 0}
	l.ground()
	if l.whole {
		l.withhold(c.Confine.Private, who)
	}
	program, err := filepath.Abs(argv[0])
	if err != nil {
		return nil, err
	}
	l.bind(program, "--ro-bind", ofServer)
	l.bind(resolved(program), "--ro-bind", ofServer)
	dir := boxTemp
	if c.Dir != "" {
		if dir, err = filepath.Abs(c.Dir); err != nil {
			return nil, err
		}
		if own := c.Confine.hides(dir); own != "" {
			return nil, fmt.Errorf("its sandbox: dir %s is in %s, which is callgate's own: use another folder", dir, own)
		}
		if l.whole {
			dir = resolved(dir)
		}
		if dir != "/" { // else all of the machine
			l.bind(dir, "--ro-bind", ofServer)
		}
	}
	for _, path := range c.Confine.Readable {
		l.bind(path, "--ro-bind", isReadable)
	}
	for _, path := range c.Confine.Writable {
		l.bind(path, "--bind", isWritable)
	}
	if c.Confine.Home != "" {
		l.bind(c.Confine.Home, "--bind", isWritable)
	}
	l.hide(c.Confine.Hidden, who)
	options, err := l.options()
	if err != nil {
		return nil, err
	}
	home := c.Confine.Home
	switch temp := l.at(boxTemp); {
	case home != "":
	case temp == nil || temp.kind == "--tmpfs":
		home = boxHome
		options = append(options, "--dir", boxHome)
	default:
		home = boxTemp // the operator's own, perhaps not to be changed
	}
	out := append(append(c.walls(bwrap), options...), "--chdir", dir, "--", program)
	return &box{argv: append(out, argv[1:]...), home: home}, nil
}

// ground lays what each sandbox has.
func (l *layout) ground() {
	if !l.whole {
		for _, path := range systemPaths {
			l.mounts = append(l.mounts, mount{path, path, "--ro-bind-try", ofSystem})
		}
	}
	l.mounts = append(l.mounts, mount{"", "/dev", "--dev", ofNobody}, mount{"", "/proc", "--proc", ofNobody}, mount{"", boxTemp, "--tmpfs", ofNobody})
	if !l.whole {
		return
	}
	l.mounts = append(l.mounts, mount{"", "/run", "--tmpfs", ofNobody}) // the sockets there lead out of any sandbox
	for _, path := range runPaths {
		if there(path) {
			l.mounts = append(l.mounts, mount{path, path, "--ro-bind", ofServer})
		}
	}
}

// privatePaths is what is somebody's own, where who runs the server.
func privatePaths(private []string, who *systemUser) []string {
	paths := slices.Clone(homePaths)
	own := append(slices.Clone(private), os.Getenv("HOME"))
	if who != nil {
		own = append(own, who.home)
	}
	for _, path := range own {
		if filepath.IsAbs(path) && !ofTheSystem(resolved(path)) { // the home of bin is /bin, and a file may be in /etc
			paths = append(paths, path)
		}
	}
	return paths
}

// withhold empties what is somebody's own.
func (l *layout) withhold(private []string, who *systemUser) {
	for _, path := range slices.Concat(rootsPaths, privatePaths(private, who)) {
		l.cover(who.stop(resolved(path)), ofNobody)
	}
}

// withheld is the private folder that a program is in, of which the sandbox shows
// nothing else; "" if it is in none.
func (c *ServerConfig) withheld(program string, who *systemUser) string {
	program = resolved(program)
	named := slices.Concat(c.Confine.Readable, c.Confine.Writable, []string{c.Dir, c.Confine.Home})
	if len(c.Confine.Readable) > 0 || slices.ContainsFunc(named, func(path string) bool { return path != "" && inside(program, resolved(path)) }) {
		return "" // with readable nothing but what is named is there anyway
	}
	for _, path := range privatePaths(c.Confine.Private, who) {
		if inside(program, resolved(path)) {
			return path
		}
	}
	return ""
}

// ofTheSystem says whether programs are in path, or path is among them.
func ofTheSystem(path string) bool {
	return path == "/" || slices.ContainsFunc(systemPaths, func(s string) bool {
		s = resolved(s)
		return inside(path, s) || inside(s, path)
	})
}

// bind shows a path of the machine.
func (l *layout) bind(path, kind string, rank int) {
	m := mount{resolved(path), path, kind, rank}
	if l.whole {
		m.at = m.from // the links that lead there are there
	}
	l.mounts = append(l.mounts, m)
}

// cover lays nothing over a path of the sandbox, if the machine has something there.
func (l *layout) cover(path string, rank int) {
	switch info, err := os.Stat(path); {
	case err != nil || path == "/":
	case info.IsDir():
		l.mounts = append(l.mounts, mount{"", path, "--tmpfs", rank})
	default:
		l.mounts = append(l.mounts, mount{os.DevNull, path, "--ro-bind", rank})
	}
}

// hide covers paths of the machine wherever the sandbox would show them.
func (l *layout) hide(paths []string, who *systemUser) {
	shown := slices.Clone(l.mounts)
	if l.whole {
		shown = append(shown, mount{"/", "/", "--ro-bind", ofSystem})
	}
	for _, path := range paths {
		path = who.stop(resolved(path))
		for _, m := range shown {
			if m.binds() && inside(path, m.from) {
				before := len(l.mounts)
				l.cover(path, isHidden)
				for i := before; i < len(l.mounts); i++ {
					l.mounts[i].at = filepath.Join(m.at, strings.TrimPrefix(path, m.from))
				}
			}
		}
	}
}

// options is the layout as bubblewrap is told it: what is within another comes
// after it, or would be hidden by it.
func (l *layout) options() ([]string, error) {
	slices.SortStableFunc(l.mounts, func(a, b mount) int {
		return cmp.Or(strings.Compare(a.at, b.at), b.rank-a.rank)
	})
	l.mounts = slices.CompactFunc(l.mounts, func(a, b mount) bool { return a.at == b.at })
	var out []string
	if l.whole {
		out = append(out, "--ro-bind", "/", "/")
	}
	for i, m := range l.mounts {
		shows := l.shows(i)
		switch {
		case (m.rank == ofSystem || m.rank == ofServer) && shows: // another mount has it already, perhaps to be changed
		case (m.rank == isHidden || m.rank == ofNobody && l.whole) && !shows: // it is not there
		case m.from == "":
			out = append(out, m.kind, m.at)
		case m.rank > ofSystem && !there(m.from):
			return nil, fmt.Errorf("its sandbox: %s is not there", m.at)
		default:
			out = append(out, m.kind, m.from, m.at)
		}
	}
	return out, nil
}

// shows says whether the innermost mount that the i-th is within shows its path as
// the machine has it.
func (l *layout) shows(i int) bool {
	for _, m := range slices.Backward(l.mounts[:i]) {
		if inside(l.mounts[i].at, m.at) {
			return m.binds()
		}
	}
	return l.whole
}

// at is the mount at a path, nil if there is none.
func (l *layout) at(path string) *mount {
	for i := range l.mounts {
		if l.mounts[i].at == path {
			return &l.mounts[i]
		}
	}
	return nil
}

// stop is how far who comes on the way to path: path, or a folder before it that who
// may not enter. Beyond it bubblewrap, which runs as who, could lay nothing.
func (who *systemUser) stop(path string) string {
	if who == nil || who.ids.UID == 0 {
		return path
	}
	for i, c := range path {
		if c != '/' || i == 0 {
			continue
		}
		if info, err := os.Stat(path[:i]); err == nil && !who.enters(info) {
			return path[:i]
		}
	}
	return path
}

// inside says whether path is dir, or in it.
func inside(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// resolved is path without symbolic links, or as it is where it leads nowhere.
func resolved(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
