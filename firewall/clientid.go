package firewall

import (
	"strings"

	"github.com/tidwall/gjson"
)

// A ClientID is where a client says which of its sessions, conversations or tool calls a
// request belongs to. What clients say can be forged: it sharpens how calls are joined, and
// decides about nothing.
type ClientID struct {
	Client string
	Kind   Kind   // [Model]: in a header of a model call; [Tool]: in _meta of a tool call
	Name   string // of the header or the member; what stands in JSON there is behind a |
	Is     IDKind
}

// An IDKind says what a [ClientID] names.
type IDKind uint8

// The kinds of ids.
const (
	IDSession IDKind = iota // the client's session
	IDThread                // a conversation in it
	IDParent                // the conversation that set this one to work
	IDToolUse               // the tool call that a model asked for
)

// ClientIDsOf is the date on which the table of [ClientIDs] was last held against what
// clients send.
const ClientIDsOf = "2026-11-24"

// ClientIDs is what clients are known to send, the most telling of a kind first.
func ClientIDs() []ClientID { return clientIDs[:] }

var clientIDs = [...]ClientID{
	{"claude-code", Model, "X-Claude-Code-Session-Id", IDSession},
	{"claude-code", Model, "X-Claude-Code-Agent-Id", IDThread},
	{"claude-code", Tool, "claudecode/toolUseId", IDToolUse},
	{"codex", Model, "Session-Id", IDSession},
	{"codex", Model, "Session_id", IDSession},
	{"codex", Model, "Thread-Id", IDThread},
	{"codex", Model, "X-Codex-Turn-Metadata|thread_id", IDThread},
	{"codex", Model, "X-Codex-Parent-Thread-Id", IDParent},
	{"codex", Tool, "callId", IDToolUse},
	{"codex", Tool, "threadId", IDThread},
	{"codex", Tool, "x-codex-turn-metadata|thread_id", IDThread},
	{"codex", Tool, "x-codex-turn-metadata|session_id", IDSession},
	{"vscode", Tool, "vscode.conversationId", IDSession},
	{"opencode", Tool, "sessionID", IDSession},
	{"antigravity", Tool, "antigravity.google/conversation_id", IDSession},
	{"copilot", Tool, "copilot/toolCallId", IDToolUse},
}

const maxClientID = 256 // bytes

// FromHeaders takes what the headers of a model call say.
func (h *Hints) FromHeaders(get func(name string) string) {
	for i := range clientIDs {
		c := &clientIDs[i]
		if c.Kind != Model {
			continue
		}
		name, at, nested := strings.Cut(c.Name, "|")
		said := get(name)
		if said == "" {
			continue
		}
		if nested {
			if len(said) > 4<<10 || !gjson.Valid(said) {
				continue
			}
			said = gjson.Get(said, at).Str
		}
		h.take(c.Is, said)
	}
}

// FromMeta takes what a member of _meta of a tool call says.
func (h *Hints) FromMeta(name string, value gjson.Result) {
	for i := range clientIDs {
		c := &clientIDs[i]
		if c.Kind != Tool || !strings.HasPrefix(c.Name, name) {
			continue
		}
		at := c.Name[len(name):]
		switch {
		case at == "" && value.Type == gjson.String:
			h.take(c.Is, value.Str)
		case at == "" || at[0] != '|':
		case value.IsObject():
			h.take(c.Is, value.Get(at[1:]).Str)
		case value.Type == gjson.String && len(value.Str) <= 4<<10 && gjson.Valid(value.Str):
			h.take(c.Is, gjson.Get(value.Str, at[1:]).Str)
		}
	}
}

// take notes an id, if it is short and plain; the first of its kind stays.
func (h *Hints) take(is IDKind, said string) {
	if said == "" || len(said) > maxClientID {
		return
	}
	for i := range len(said) {
		if said[i] < ' ' || said[i] > '~' {
			return
		}
	}
	to := [...]*string{IDSession: &h.Client, IDThread: &h.Thread, IDParent: &h.Parent, IDToolUse: &h.ToolUse}[is]
	if *to == "" {
		*to = strings.Clone(said)
	}
}
