package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// A Confinement bounds what the process of a server may take of this machine, and
// what it sees of it. The zero Confinement bounds nothing. It works on Linux.
//
// callgate starts itself again as a helper, which sets the limits and then becomes
// the server: see [Confine]. So they hold from the server's first instruction on,
// and for all that it starts.
type Confinement struct {
	User      string   // whom it runs as; "" is callgate's own user. Another one needs callgate to be root.
	Nice      int      // 1 to 19: how far it gives way to other processes; 0 leaves that as it is
	Memory    int64    // bytes of memory of its own that each of its processes may have; 0 is no limit
	OpenFiles int      // that each of its processes may have; 0 is callgate's own limit
	Processes int      // processes and threads that its user may have altogether; 0 is no limit. The kernel does not count root's.
	Sandbox   Sandbox  // whether bubblewrap shuts it in
	Offline   bool     // there is no network in the sandbox but its own loopback
	Readable  []string // absolute paths: the sandbox has them and the system's programs; none is the machine without what is private
	Writable  []string // absolute paths that may be changed in the sandbox
	Home      string   // absolute path of its home, which may be changed; "" is the user's, in the sandbox an empty one that is gone with it
	Private   []string // folders that the sandbox shows no more of than Readable, Writable, Home and the working directory name
	Hidden    []string // files and folders that no sandbox shows, whatever else is said: callgate's own
}

// A Sandbox says whether a process runs in one.
type Sandbox string

// Values of [Sandbox]. The empty one is SandboxOff.
const (
	SandboxOff      Sandbox = "off"
	SandboxAuto     Sandbox = "auto"     // where the machine allows it, else without, and the log says so
	SandboxRequired Sandbox = "required" // or not at all
)

func (s Sandbox) off() bool { return s == "" || s == SandboxOff }

const (
	maxNice      = 19
	minMemory    = 16 << 20
	maxMemory    = 1 << 47 // all there is
	minOpenFiles = 16
	maxOpenFiles = 1 << 20
	minProcesses = 8 // threads count: node starts with 7
	maxProcesses = 1 << 20
)

// none says whether c bounds nothing.
func (c *Confinement) none() bool {
	return reflect.DeepEqual(*c, Confinement{Private: c.Private, Hidden: c.Hidden})
}

// asks says what c asks for that only a sandbox can keep, "" for nothing.
func (c *Confinement) asks() string {
	switch {
	case c.Offline:
		return "network: false"
	case len(c.Readable) > 0:
		return "readable"
	case len(c.Writable) > 0:
		return "writable"
	}
	return ""
}

// check says what is wrong with c.
func (c *Confinement) check() error {
	if c.none() {
		return nil
	}
	errs := []error{confinable()}
	bounds := func(what string, n, least, most int64) {
		if n != 0 && (n < least || n > most) {
			errs = append(errs, fmt.Errorf("%s: want %d to %d", what, least, most))
		}
	}
	bounds("nice", int64(c.Nice), 1, maxNice)
	bounds("memory", c.Memory, minMemory, maxMemory)
	bounds("open_files", int64(c.OpenFiles), minOpenFiles, maxOpenFiles)
	bounds("processes", int64(c.Processes), minProcesses, maxProcesses)
	who, err := accountOf(c.User)
	if err != nil {
		errs = append(errs, err)
	} else if c.Processes > 0 && (who == nil && os.Getuid() == 0 || who != nil && who.ids.UID == 0) {
		errs = append(errs, errors.New("processes: the kernel does not count those of root: write user: with another one"))
	}
	switch c.Sandbox {
	case "", SandboxOff:
		if what := c.asks(); what != "" {
			errs = append(errs, fmt.Errorf("%s has no effect without a sandbox: write sandbox: required", what))
		}
	case SandboxAuto, SandboxRequired:
	default:
		errs = append(errs, fmt.Errorf("sandbox %q: use off, auto or required", c.Sandbox))
	}
	named := slices.Concat(c.Readable, c.Writable)
	if c.Home != "" {
		named = append(named, c.Home)
	}
	for _, path := range slices.Concat(named, c.Private, c.Hidden) {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			errs = append(errs, fmt.Errorf("path %q: use an absolute path of something below /", path))
		}
	}
	for _, path := range named {
		if own := c.hides(path); own != "" {
			errs = append(errs, fmt.Errorf("path %q: %s is callgate's own, and in no sandbox: use another folder", path, own))
		}
	}
	return errors.Join(errs...)
}

// hides says which of the hidden paths a path is, or is in, "" for none.
func (c *Confinement) hides(path string) string {
	for _, own := range c.Hidden {
		if inside(resolved(path), resolved(own)) {
			return own
		}
	}
	return ""
}

// A systemUser is the user that a process runs as.
type systemUser struct {
	name, home string
	ids        ids
}

type ids struct {
	UID    int   `json:"uid"`
	GID    int   `json:"gid"`
	Groups []int `json:"groups"`
}

// accountOf looks a user up. It is nil for callgate's own user.
func accountOf(name string) (*systemUser, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("user: there is no user %s on this machine", name)
	}
	if u.Uid == strconv.Itoa(os.Getuid()) {
		return nil, nil
	}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("user: callgate must run as root to start a server as %s", name)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user: the groups of %s: %w", name, err)
	}
	a := &systemUser{name: u.Username, home: u.HomeDir}
	for i, id := range append([]string{u.Uid, u.Gid}, groups...) {
		n, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("user: %s has the id %q", name, id)
		}
		switch i {
		case 0:
			a.ids.UID = n
		case 1:
			a.ids.GID = n
		default:
			a.ids.Groups = append(a.ids.Groups, n)
		}
	}
	return a, nil
}

// limits is what the helper is told.
type limits struct {
	Nice      int    `json:"nice,omitempty"`
	Memory    uint64 `json:"memory,omitempty"`
	OpenFiles uint64 `json:"open_files,omitempty"`
	Processes uint64 `json:"processes,omitempty"`
	User      *ids   `json:"user,omitempty"`
	Boxed     bool   `json:"boxed,omitempty"` // bubblewrap itself takes the right to gain rights
	Keep      bool   `json:"keep,omitempty"`  // it is to be the keeper, and nothing else of this
	Look      bool   `json:"look,omitempty"`  // it is to see, as User, whether a program can be started in a folder
}

// command is what is to be run for a server: its program, or the helper that sets
// limits and then becomes the program. No shell is among it: each argument stays
// one, as it stands in c. boxed says whether it is in a sandbox.
func (c *ServerConfig) command(ctx context.Context, tried *atomic.Bool) (cmd *exec.Cmd, boxed bool, err error) {
	if c.Confine.none() {
		cmd = exec.Command(c.Command[0], c.Command[1:]...)
		cmd.Dir, cmd.Env = c.Dir, environment(c.Env)
		return cmd, false, nil
	}
	who, err := accountOf(c.Confine.User)
	if err != nil {
		return nil, false, fmt.Errorf("process.%w", err)
	}
	argv := append([]string(nil), c.Command...)
	if argv[0], err = exec.LookPath(argv[0]); err != nil {
		return nil, false, err
	}
	dir, home := c.Dir, c.Confine.Home
	if dir == "" && who != nil {
		dir = "/" // callgate's own may be closed to the user
	}
	boxed, err = c.box(ctx, who, tried)
	if err != nil {
		return nil, false, err
	}
	if boxed {
		box, err := c.sandbox(argv, who)
		if err != nil {
			return nil, false, err
		}
		if from := c.withheld(argv[0], who); from != "" {
			c.Logger.Warn("the sandbox shows nothing of the folder that the server's program is in; name where it is installed in process.readable", "program", argv[0], "folder", from)
		}
		argv, home, dir = box.argv, box.home, "/"
	}
	env := environment(as(who, home, c.Env))
	if boxed {
		env = unset(env, "TMPDIR")
	}
	cmd, err = c.helped(who, boxed, argv)
	if err != nil {
		return nil, false, err
	}
	cmd.Dir, cmd.Env = dir, env
	return cmd, boxed, nil
}

// box says whether the process runs in a sandbox. It fails if there can be none and
// the operator asked for something that only a sandbox keeps. tried is set once a
// sandbox was made here: the machine can.
func (c *ServerConfig) box(ctx context.Context, who *systemUser, tried *atomic.Bool) (bool, error) {
	if c.Confine.Sandbox.off() {
		return false, nil
	}
	if tried.Load() {
		return true, nil
	}
	err := c.trySandbox(ctx, who)
	if err == nil {
		tried.Store(true)
		return true, nil
	}
	if c.Confine.Sandbox == SandboxRequired {
		return false, fmt.Errorf("its sandbox is required: %w", err)
	}
	if what := c.Confine.asks(); what != "" {
		return false, fmt.Errorf("process.%s cannot be kept without a sandbox: %w", what, err)
	}
	c.Logger.Warn("server runs without a sandbox", "error", err)
	return false, nil
}

// helped is a command that runs argv within the limits.
func (c *ServerConfig) helped(who *systemUser, boxed bool, argv []string) (*exec.Cmd, error) {
	return c.help(limits{
		Nice: c.Confine.Nice, Memory: uint64(c.Confine.Memory), OpenFiles: uint64(c.Confine.OpenFiles), Processes: uint64(c.Confine.Processes),
		User: who.idsOf(), Boxed: boxed,
	}, argv)
}

// help is a command that has the helper run argv.
func (c *ServerConfig) help(l limits, argv []string) (*exec.Cmd, error) {
	if len(os.Args) > 1 && os.Args[1] == ConfineWord { // else it would start itself again without end
		return nil, errors.New("this program was started as the helper of a server, and does not call mcp.Confine first")
	}
	doc, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	helper := c.Helper
	if len(helper) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		if there(selfPath) {
			exe = selfPath // though another version was put in its place
		}
		helper = []string{exe, ConfineWord}
	}
	return exec.Command(helper[0], slices.Concat(helper[1:], []string{string(doc), "--"}, argv)...), nil
}

// selfPath is the program that runs, on systems with such a path.
const selfPath = "/proc/self/exe"

// idsOf is those of who, nil for callgate's own user.
func (who *systemUser) idsOf() *ids {
	if who == nil {
		return nil
	}
	return &who.ids
}

// as is the variables of a process that runs as who, at home: its own home and name,
// but for what the operator says of them. No home is that of who.
func as(who *systemUser, home string, more map[string]string) map[string]string {
	env := make(map[string]string, len(more)+3)
	if who != nil {
		env["HOME"], env["USER"], env["TMPDIR"] = who.home, who.name, "/tmp"
	}
	if home != "" {
		env["HOME"] = home
	}
	maps.Copy(env, more)
	return env
}

// unset is env without a variable.
func unset(env []string, name string) []string {
	return slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

// ConfineWord is the first argument by which a program knows that it was started
// as the helper, or the keeper: callgate __confine JSON -- program argument…
const ConfineWord = "__confine"

// Confine makes this process another program within limits, or the keeper of one
// until both end: args are those of the command line behind [ConfineWord]. It
// returns only if that failed, and then the process must end.
func Confine(args []string) error {
	var l limits
	if len(args) < 3 || args[1] != "--" || json.Unmarshal([]byte(args[0]), &l) != nil {
		return errors.New(ConfineWord + " is for callgate's own use")
	}
	switch {
	case l.Look:
		if err := look(l.User, args[2:]); err != nil {
			return err
		}
		os.Exit(0)
	case l.Keep:
		status, err := keep(args[2:])
		if err == nil {
			os.Exit(status)
		}
		return err
	}
	return become(l, args[2:])
}
