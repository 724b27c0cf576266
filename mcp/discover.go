package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/tidwall/gjson"
)

const (
	modernVersion = mcpgo.ProtocolVersion20260728
	legacyVersion = mcpgo.ProtocolVersion20251125 // that initialize asks for

	probeTime    = 5 * time.Second // silence after which a server counts as legacy
	discoverTime = 2 * time.Minute // for all of it: a first start may have to install the server
)

// isModern says whether version has no handshake, but metadata on each request.
func isModern(version string) bool { return version >= modernVersion }

// errForeign is an answer by something that is not a server of the era asked for.
var errForeign = errors.New("not an answer of MCP")

// ask puts one question to a server that is not discovered yet. Its error is
// errForeign, or that of ctx, or says why the server cannot be reached.
type ask func(ctx context.Context, version, method string, params []byte) (Message, error)

// discover finds out of which era a server is, and what it says of itself. It
// asks as modern clients do, and then, if what comes back is not the answer of a
// modern server, or nothing, as legacy ones do.
func (s *Server) discover(ctx context.Context, ask ask) (Info, error) {
	short, cancel := context.WithTimeout(ctx, probeTime)
	info, err := s.probe(short, ask)
	silent := err != nil && short.Err() != nil
	cancel()
	if err == nil || !silent && !errors.Is(err, errForeign) {
		return info, err
	}
	info, err = s.initialize(ctx, ask, nil)
	if silent && errors.Is(err, errForeign) { // a modern server that was slow to start
		return s.probe(ctx, ask)
	}
	return info, err
}

// probe asks as a modern client.
func (s *Server) probe(ctx context.Context, ask ask) (Info, error) {
	params := []byte(`{"_meta":{"` + metaVersion + `":"` + modernVersion + `","` + metaClient + `":` + s.about + `,"` + metaCapabilities + `":{}}}`)
	m, err := ask(ctx, modernVersion, "server/discover", params)
	if err != nil {
		return Info{}, err
	}
	said := parsed(m.Result)
	versions := said.Get("supportedVersions")
	if m.Error != nil {
		said = parsed(m.Error)
		if said.Get("code").Int() != mcpgo.UNSUPPORTED_PROTOCOL_VERSION {
			return Info{}, errForeign
		}
		versions = said.Get("data.supported")
	}
	if !offers(versions, modernVersion) {
		if offers(versions, legacyVersions()...) || !versions.IsArray() {
			return Info{}, errForeign
		}
		return Info{}, s.unavailable("speaks no protocol version that callgate speaks", nil)
	}
	if m.Error != nil {
		return Info{}, s.unavailable("refuses the protocol version that it offers", nil)
	}
	serverInfo := said.Get(`_meta.` + gjson.Escape(metaServer))
	if !serverInfo.Exists() {
		serverInfo = said.Get("serverInfo")
	}
	return Info{
		Version:      modernVersion,
		Modern:       true,
		Capabilities: object(said.Get("capabilities")),
		ServerInfo:   object(serverInfo),
		Instructions: said.Get("instructions").String(),
	}, nil
}

// initialize begins a session as a legacy client that can do what client can.
func (s *Server) initialize(ctx context.Context, ask ask, client *Client) (Info, error) {
	can := able(client.can(), true, false) // the tasks of this era are not those of the extension
	if can == "" {
		can = "{}"
	}
	params := []byte(`{"protocolVersion":"` + legacyVersion + `","capabilities":` + can + `,"clientInfo":` + s.about + `}`)
	m, err := ask(ctx, legacyVersion, "initialize", params)
	if err != nil {
		return Info{}, err
	}
	if m.Error != nil {
		return Info{}, fmt.Errorf("initialize was refused with code %d: %w", parsed(m.Error).Get("code").Int(), errForeign)
	}
	said := parsed(m.Result)
	version := said.Get("protocolVersion").String()
	if !slices.Contains(legacyVersions(), version) {
		return Info{}, s.unavailable("speaks no protocol version that callgate speaks", nil)
	}
	return Info{
		Version:      version,
		Capabilities: object(said.Get("capabilities")),
		ServerInfo:   object(said.Get("serverInfo")),
		Instructions: said.Get("instructions").String(),
	}, nil
}

func legacyVersions() []string { return mcpgo.LegacyProtocolVersions() }

// offers says whether versions, a JSON array, holds one of wanted.
func offers(versions gjson.Result, wanted ...string) bool {
	for _, v := range versions.Array() {
		if v.Type == gjson.String && slices.Contains(wanted, v.Str) {
			return true
		}
	}
	return false
}

// object is a part of a message as it came, an empty object if it is none.
func object(part gjson.Result) json.RawMessage {
	if !part.IsObject() {
		return json.RawMessage("{}")
	}
	return json.RawMessage(part.Raw)
}

// has says whether the server declared a capability.
func (i *Info) has(capability string) bool {
	return parsed(i.Capabilities).Get(strings.ReplaceAll(capability, ".", `\.`)).Exists()
}
