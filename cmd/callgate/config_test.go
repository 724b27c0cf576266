package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"callgate/firewall"
	"callgate/mcp"

	"github.com/google/go-cmp/cmp"
)

// in writes files into a new folder and says where that is.
func in(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func environment(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestConfigSaysEveryMistake(t *testing.T) {
	for _, test := range []struct {
		name string
		yaml string
		want []string
	}{
		{"an empty file is all defaults", "", nil},
		{"a file of comments is all defaults", "# nothing\n", nil},
		{"keys with nothing behind them are defaults", "mcp:\nproviders:\nagents:\npolicy:\n", nil},
		{"several mistakes are told together and in order", "listen: here\nlitsen: 1\nagents:\n  - {name: Bot}\n  - {roles: [a]}\nruns: {idle: 5}\n", []string{
			`1:9: listen: "here" is no address; write an IP address and a port: 127.0.0.1:8700`,
			`2:1: unknown key litsen; did you mean listen?`,
			`4:12: agents: a name has 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit`,
			`5:6: agents: an agent needs a name`,
			`6:14: runs.idle: a duration needs a unit: 500ms, 30s, 15m, 1h`,
		}},
		{"an unknown key with none near lists what is known", "admin: {bananas: 1}\n", []string{
			"1:9: unknown key admin.bananas; known here: listen"}},
		{"a guard that makes no sense", "guards: {pii: {action: hide, kinds: [shoes], rules: [{side: up, action: ask}]}}\n", []string{
			"1:16: guards.pii: ask needs somebody who is asked; write approvers: group:NAME",
			`1:24: guards.pii.action: "hide"; write off, record, mask, ask or deny`,
			"1:37: guards.pii.kinds: \"shoes\" is none of email, phone, iban, card, national_id",
			"1:53: guards.pii.rules.side: \"up\"; write request or reply, or leave it away"}},
		{"what is kept of payloads", "audit: {payloads: some, durability: strict, window: 5ms, rules: [{sample: 200}]}\n", []string{
			`1:19: audit.payloads: "some"; write full, redacted, digests or none`,
			"1:53: audit.window: durability is strict, so that nothing may be lost; take one of them out",
			"1:75: audit.rules.sample: want a part of 100, as 10 or 0.5"}},
		{"a key that stands twice", "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", []string{"2:1: listen stands here twice"}},
		{"broken YAML", "listen: [1\n", []string{"1:9: not valid YAML: sequence end token ']' not found"}},
		{"a list where keys belong", "- a\n", []string{"1:1: the file: want keys and values, one a line: key: value"}},
		{"two documents", "listen: 127.0.0.1:1\n---\ndata: x\n", []string{"3:1: a second document: write all in one, without ---"}},
		{"anchors, aliases and tags", "data: &x a\nlisten: *x\npublic_url: !!str b\n", []string{
			"1:7: data: anchors, aliases and tags are not read here; write the value itself",
			"2:9: listen: anchors, aliases and tags are not read here; write the value itself",
			"3:13: public_url: anchors, aliases and tags are not read here; write the value itself"}},
		{"a merge key", "<<: {data: x}\n", []string{"1:1: <<: a key must be a plain word"}},
		{"wrong types", "data: 3\npolicy: p.csv\nmcp: {servers: {a: {command: [x], trusted: yes}}}\nproviders: [a]\n", []string{
			"1:7: data: want a text; put it in quotes",
			"2:9: policy: want a list: [one, two]",
			"3:44: mcp.servers.a.trusted: want true or false",
			"4:12: providers: want keys and values, one a line: key: value"}},
		{"headers that are callgate's own to set", "mcp: {servers: {a: {url: 'https://a.example', headers: {Host: b, Mcp-Name: c}}}}\n", []string{
			`1:21: mcp.servers.a: header "Host" is callgate's own to set; header "Mcp-Name" cannot be set`}},
		{"identities that make no sense", "agents:\n  - {name: a, models: ['*'], servers: [A], status: revoked, expires: soon}\nusers:\n  - {name: 'agent:x'}\n  - {name: ana, groups: [ok, 'role:x']}\ngroups:\n  - {name: everyone}\n  - {name: ops, members: [Ana]}\n", []string{
			`2:23: agents.models: "*": write PROVIDER/MODEL or PROVIDER/*, as openai/gpt-5`,
			`2:39: agents.servers: "A": write the name of an MCP server`,
			`2:52: agents.status: want suspended or retired, or leave it away`,
			`2:70: agents.expires: "soon" is no time; write 2027-01-31 or 2027-01-31T18:00:00Z`,
			`4:12: users: user "agent:x": want 1 to 128 of a-z 0-9 - _ . @ + beginning with a letter or digit`,
			`5:30: users.groups: group "role:x": want 1 to 128 of letters, digits, - _ . @ +`,
			`7:12: groups: group everyone is that of all, and nobody is put in it`,
			`8:27: groups.members: user "Ana": want 1 to 128 of a-z 0-9 - _ . @ + beginning with a letter or digit`}},
		{"an empty item", "policy:\n  -\n", []string{"2:5: policy: an empty item"}},
		{"files that are not there", "policy: [none.csv]\nmcp: {import: [none.json]}\n", []string{
			"1:10: policy: none.csv: no such file or directory",
			"2:16: mcp.import: none.json: no such file or directory"}},
		{"public_url without TLS on a name", "public_url: http://gate.example\n", []string{
			"1:13: public_url: http is for this machine alone; write https://gate.example"}},
		{"public_url with a slash", "public_url: https://gate.example/\n", []string{
			"1:13: public_url: nothing may follow the host; write https://gate.example"}},
		{"listening to the world without a public_url", "listen: 0.0.0.0:8700\n", []string{
			"1:9: listen: 0.0.0.0:8700 can be reached from other machines, so public_url must say the https URL at which agents do"}},
		{"listening to the world with one", "listen: 0.0.0.0:8700\npublic_url: https://gate.example\n", nil},
		{"secrets that stand in the file", "providers: {openai: {api_key: sk-123}}\nmcp:\n  servers:\n    a: {url: https://a.example, headers: {Authorization: Bearer 1, X-Tenant: acme}}\n    b: {command: [b], env: {GITHUB_TOKEN: ghp, REGION: eu}}\nagents: [{name: bot, secret: hunter2}]\n", []string{
			"1:31: providers.openai.api_key: a secret must not stand in the file; write secret:NAME, env:NAME or file:/path",
			"4:58: mcp.servers.a.headers.Authorization: a secret must not stand in the file; write secret:NAME, env:NAME or file:/path",
			"5:43: mcp.servers.b.env.GITHUB_TOKEN: a secret must not stand in the file; write secret:NAME, env:NAME or file:/path",
			"6:30: agents.secret: a secret must not stand in the file; write env:NAME or file:/path"}},
		{"secrets that are missing", "providers:\n  openai: {api_key: env:NOT_SET}\n  anthropic: {api_key: file:none}\n  lab: {kind: openai, base_url: http://127.0.0.1:1/v1, api_key: file:empty}\n", []string{
			"2:21: providers.openai.api_key: NOT_SET is not set in the environment of callgate",
			"3:24: providers.anthropic.api_key: none: no such file or directory",
			"4:65: providers.lab.api_key: empty is empty"}},
		{"references that lead nowhere", "providers:\n  openai: {api_key: secret:Open/AI}\n  anthropic: {api_key: 'vault:secret/a#key'}\n  lab: {kind: openai, base_url: 'http://127.0.0.1:1', api_key: 'aws:role'}\n  cloud: {kind: openai, base_url: 'http://127.0.0.1:1', api_key: 'Bearer gcp:'}\nmcp: {servers: {a: {url: 'https://a.example', headers: {Authorization: Bearer env:NOT_SET}}}}\n", []string{
			`2:21: providers.openai.api_key: "Open/AI" is no name for a secret: it has 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit`,
			"3:24: providers.anthropic.api_key: there is no HashiCorp Vault yet; write vault: {address: …}",
			"4:64: providers.lab.api_key: want aws:default: what the environment, the container or the machine has",
			"4:64: providers.lab.api_key: aws: is for providers of Amazon Bedrock alone: elsewhere AWS wants each request signed, and not a token",
			"5:66: providers.cloud.api_key: want gcp:SCOPE or azure:RESOURCE",
			"5:66: providers.cloud.api_key: write the reference alone; callgate puts Bearer before it",
			"6:72: mcp.servers.a.headers.Authorization: NOT_SET is not set in the environment of callgate"}},
		{"a HashiCorp Vault that nobody is known to", "vault: {address: 'https://vault.example:8200'}\nproviders: {openai: {api_key: 'vault:secret'}}\n", []string{
			"1:9: vault: give one of token, approle and kubernetes",
			"2:31: providers.openai.api_key: want vault:MOUNT/PATH#FIELD"}},
		{"a HashiCorp Vault without an address, and half a login", "vault: {namespace: a}\n", []string{"1:9: vault: write address: https://vault.example:8200"}},
		{"half a login", "vault: {address: 'https://vault.example:8200', approle: {role_id: a}}\n", []string{"1:58: vault.approle: write role_id and secret_id"}},
		{"a secret of callgate's own that is in its vault", "agents: [{name: bot, secret: secret:bot}]\n", []string{
			"1:30: agents.secret: a secret must not stand in the file; write env:NAME or file:/path"}},
		{"a provider of unknown kind", "providers:\n  lab: {base_url: https://a.example}\n  other: {kind: gemni, base_url: ftp://x}\n  openai:\n  grok: {}\n", []string{
			"2:9: providers.lab: write kind: what it is, as openai-compatible (callgate providers lists them)",
			"3:17: providers.other.kind: there is none that is called gemni; did you mean gemini? (callgate providers lists them)",
			"3:34: providers.other.base_url: want a URL: https://host/path",
			"4:10: providers.openai: write api_key: env:OPENAI_API_KEY",
			"5:9: providers.grok: write kind: what it is, as openai-compatible; did you mean groq? (callgate providers lists them)"}},
		{"providers that lack what their kind needs", "providers:\n  groq: {}\n  bedrock: {}\n  vertex: {params: {project: p}}\n  azure: {kind: azure-openai, params: {resource: 'a/b', region: x}}\n  lab: {kind: openai-compatible}\n  ollama: {}\n", []string{
			"2:9: providers.groq: write api_key: env:GROQ_API_KEY",
			"3:12: providers.bedrock: write api_key: aws:default, or env:AWS_BEARER_TOKEN_BEDROCK",
			"3:12: providers.bedrock.params: write region: AWS region",
			"4:12: providers.vertex: write api_key: gcp:https://www.googleapis.com/auth/cloud-platform, or file:/path of a service account's JSON",
			"4:21: providers.vertex.params: write location: region",
			"5:11: providers.azure: write api_key: env:AZURE_OPENAI_API_KEY, or azure:https://cognitiveservices.azure.com",
			"5:40: providers.azure.params: region is none of its kind's: resource",
			"5:40: providers.azure.params: resource: want letters, digits, . _ -",
			"6:9: providers.lab: write base_url: the URL before /chat/completions or /messages"}},
		{"keys that make no sense", "providers:\n  openai: {api_key: []}\n  groq: {api_key: ['sk-1', {key: 'env:A', weight: 0, models: ['a*b'], x: y}, {weight: 2}]}\n  bedrock: {params: {region: r}, api_key: ['aws:role', 'aws:default']}\nmcp: {servers: {a: {command: [a], env: {B: 'aws:default'}}}}\n", []string{
			"2:12: providers.openai: write api_key: env:OPENAI_API_KEY",
			"2:21: providers.openai.api_key: an empty list; write a key, or leave it away",
			"3:20: providers.groq.api_key: a secret must not stand in the file; write secret:NAME, env:NAME or file:/path",
			"3:34: providers.groq.api_key.key: A is not set in the environment of callgate",
			"3:51: providers.groq.api_key.weight: want at least 1",
			`3:63: providers.groq.api_key.models: "a*b": write a model's name, or what names begin with and a *`,
			"3:71: unknown key providers.groq.api_key.x; known here: key, models, weight",
			"3:79: providers.groq.api_key: write key: secret:NAME, env:NAME or file:/path",
			"4:44: providers.bedrock.api_key: want aws:default: what the environment, the container or the machine has",
			"5:44: mcp.servers.a.env.B: aws: is for providers of Amazon Bedrock alone: elsewhere AWS wants each request signed, and not a token"}},
		{"a catalogue that makes no sense", "catalog: [bad.yaml, worse.yaml]\n", []string{
			"1:11: catalog: DIR/bad.yaml: mine: auth is missing: bearer, header:NAME, azure, aws, google or none",
			"1:11: catalog: DIR/bad.yaml: mine: has and paths are missing: it has no endpoint",
			`1:21: catalog: DIR/worse.yaml: [2:3] unknown field "tittle"`}},
		{"servers that make no sense", "mcp:\n  servers:\n    Git_Hub: {command: [a]}\n    b: {command: [a], url: https://b.example}\n    c: {}\n    d: {url: https://u:p@d.example}\n    e: {command: [a], headers: {a: b}}\n    f: {url: https://f.example, env: {a: b}, dir: x}\n    g: {command: [a], timeout: 9999h}\n", []string{
			"3:5: mcp.servers: a name has 1 to 32 of a-z 0-9 and single -; write git-hub",
			"4:28: mcp.servers.b: has both command and url; write one of them",
			"5:8: mcp.servers.c: write command: [program, argument] or url: https://…",
			"6:14: mcp.servers.d.url: a URL must hold no user or password; use headers or api_key",
			"7:33: mcp.servers.e.headers: belongs to a url; a command takes env",
			"8:39: mcp.servers.f.env: belongs to a command; a url takes headers",
			"9:32: mcp.servers.g.timeout: want more than 0 and at most 8784h"}},
		{"arguments that make no sense", "mcp:\n  servers:\n    a:\n      command: [a]\n      max_reply: 32MB\n    b: {command: [b], max_reply: 1GiB}\n    c: {command: [c], tools: {t: {timeout: 5, arguments: {p: {class: path, dirs: [/x]}}}}}\n", []string{
			`5:18: mcp.servers.a.max_reply: "32MB" is no size; write 512MiB or 2GiB`,
			"6:34: mcp.servers.b.max_reply: want at least 1KiB and at most 256MiB",
			"7:44: mcp.servers.c.tools.t.timeout: a duration needs a unit: 500ms, 30s, 15m, 1h",
			"7:76: unknown key mcp.servers.c.tools.t.arguments.p.dirs; known here: class, hosts, private, windows, within"}},
		{"arguments that callgate cannot judge", "mcp:\n  servers:\n    a: {command: [a], tools: {'*': {reads: secret, arguments: {p.q: {class: file}}}}}\n", []string{
			"3:9: mcp.servers.a: tools.*: what the replies of all tools bring is said of the server; tools.*.arguments.p.q: class: want path or url"}},
		{"limits of a process", "mcp:\n  servers:\n    a:\n      command: [x]\n      process: {nice: 1.5, memory: 512, open_files: many, network: no, sandbox: off, user: 7}\n    b: {command: [x], process: {memory: 5TB, nice: 0}}\n", []string{
			"5:23: mcp.servers.a.process.nice: want a whole number from 1 to 1048576",
			"5:36: mcp.servers.a.process.memory: a size needs a unit: 512MiB, 2GiB",
			"5:53: mcp.servers.a.process.open_files: want a whole number from 1 to 1048576",
			"5:68: mcp.servers.a.process.network: want true or false",
			"5:92: mcp.servers.a.process.user: want a text; put it in quotes",
			`6:41: mcp.servers.b.process.memory: "5TB" is no size; write 512MiB or 2GiB`,
			"6:52: mcp.servers.b.process.nice: want a whole number from 1 to 1048576"}},
		{"two servers of one prefix", "mcp:\n  servers:\n    a: {command: [x]}\n    b: {command: [x], prefix: a}\n    c: {command: [x], prefix: A_b}\n", []string{
			"4:31: mcp.servers.b: the prefix a is that of server a already; write prefix: with another one",
			`5:9: mcp.servers.c: prefix "A_b": use 1 to 32 of a-z, 0-9 and -`}},
		{"a prefix that is the name of another server", "mcp:\n  servers:\n    a: {command: [x], prefix: b}\n    b: {command: [x], prefix: c}\n", []string{
			"3:31: mcp.servers.a: the prefix b is the name of another server; write another prefix"}},
		{"a sandbox with callgate's own files in it", "data: data\nmcp:\n  servers:\n    a: {command: [x], process: {sandbox: required, readable: [data/ledger], writable: [callgate.yaml]}}\n", []string{
			`4:9: mcp.servers.a: process: path "DIR/data/ledger": DIR/data is callgate's own, and in no sandbox: use another folder; path "DIR/callgate.yaml": DIR/callgate.yaml is callgate's own, and in no sandbox: use another folder`}},
		{"limits that make no sense", "mcp:\n  servers:\n    a: {command: [x], process: {nice: 20, sandbox: on, network: false}}\n    b: {url: 'https://b.example', process: {nice: 1}}\n", []string{
			`3:9: mcp.servers.a: process: nice: want 1 to 19; sandbox "on": use off, auto or required`,
			"4:9: mcp.servers.b: env, dir and process are for servers with a command"}},
		{"a trust that is none, and lock files that are none", "mcp:\n  servers:\n    a: {command: [a], trust: full}\n    b: {command: [a], trust: locked}\n  lock: empty\n", []string{
			"3:30: mcp.servers.a.trust: want first-use, locked or open",
			"5:9: mcp.lock: DIR/empty: it is no lock file as callgate mcp pins --lock writes it: EOF"}},
		{"a lock file that is not there", "mcp: {lock: none}\n", []string{"1:13: mcp.lock: none: no such file or directory"}},
		{"an agent twice, and a role that is none", "agents:\n  - {name: a, roles: ['x*']}\n  - {name: a}\n", []string{
			`2:23: agents.roles: "x*" is no role; write one word`,
			"3:12: agents: a stands here twice"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := in(t, map[string]string{"callgate.yaml": test.yaml, "empty": "\n", "bad.yaml": "mine: {title: Mine, env: [MINE], source: 'https://mine.example', checked: no}\n", "worse.yaml": "mine:\n  tittle: Mine\n"})
			file := filepath.Join(dir, "callgate.yaml")
			_, err := readConfig(file, Overrides{}, environment())
			var got []string
			if err != nil {
				for _, m := range err.(Mistakes) {
					got = append(got, strings.ReplaceAll(strings.TrimPrefix(m.String(), file+":"), dir, "DIR"))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigIsReadAsWritten(t *testing.T) {
	dir := in(t, map[string]string{
		"key": "s3cret\n", "policy.csv": "# rules\n",
		"clients.json": "{\"mcpServers\": {\"imported\": {\n\t\"args\": [\"--dir\", \"${HOME_DIR}\"],\n\t\"command\": \"${PROGRAM:-npx}\", \"env\": {\"TOKEN\": \"${TOKEN}\"}, \"alwaysAllow\": []},\n\"off\": {\"disabled\": true, \"command\": 3}}, \"theme\": \"dark\"}",
		"callgate.yaml": `
listen: localhost:0
data: state
mcp:
  servers:
    files: {command: [npx, "@scope/files", /srv], env: {REGION: eu}, dir: work, timeout: 5s, trusted: true, process: {memory: 512MiB, home: rest, sandbox: auto, network: false, writable: [work]}}
    hub: {url: https://hub.example/mcp, headers: {Authorization: "env:HUB"}}
  import: [clients.json]
providers:
  openai: {api_key: "file:key", models: [gpt-5]}
agents:
  - {name: bot, roles: [support], owner: "user:ana", max_ttl: 2h}
policy: [policy.csv]
`})
	c, err := readConfig(filepath.Join(dir, "callgate.yaml"), Overrides{AdminListen: "127.0.0.1:9"},
		environment("HUB", "Bearer h", "HOME_DIR", "/home/x", "TOKEN", "t"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "localhost:0" || c.Admin.Listen != "127.0.0.1:9" || string(c.Data) != filepath.Join(dir, "state") {
		t.Errorf("addresses and data: %q %q %q", c.Listen, c.Admin.Listen, c.Data)
	}
	files := c.MCP.Servers["files"]
	if !files.Trusted || time.Duration(files.Timeout) != 5*time.Second || string(files.Dir) != filepath.Join(dir, "work") {
		t.Errorf("files: %+v", files)
	}
	want := mcp.Confinement{Memory: 512 << 20, Home: filepath.Join(dir, "rest"), Sandbox: mcp.SandboxAuto, Offline: true, Writable: []string{filepath.Join(dir, "work")}}
	if diff := cmp.Diff(want, files.Process.confinement()); diff != "" {
		t.Error(diff)
	}
	if got := c.MCP.Servers["hub"].Headers["Authorization"]; got.Ref != "env:HUB" {
		t.Errorf("header: %+v", got)
	}
	imported := c.MCP.Servers["imported"]
	if diff := cmp.Diff([]string{"npx", "--dir", "/home/x"}, imported.Command); diff != "" {
		t.Error(diff)
	}
	if imported.Env["TOKEN"].Text.Reveal() != "t" {
		t.Errorf("env: %v", imported.Env)
	}
	if _, on := c.MCP.Servers["off"]; on {
		t.Error("a disabled server was imported")
	}
	p := c.Providers["openai"]
	if p.Kind != "openai" || p.BaseURL != "" || p.APIKey[0].Key.Ref != "file:"+filepath.Join(dir, "key") {
		t.Errorf("provider: %+v", p)
	}
	if a := c.Agents[0]; a.Name != "bot" || time.Duration(a.MaxTTL) != 2*time.Hour || a.Roles[0] != "support" {
		t.Errorf("agent: %+v", a)
	}
	if string(c.Policy[0].Text) != "# rules\n" {
		t.Errorf("policy: %q", c.Policy[0].Text)
	}
}

func TestImportSaysEveryMistake(t *testing.T) {
	for _, test := range []struct {
		name string
		json string
		want []string
	}{
		{"not JSON", `{"mcpServers":`, []string{": not valid JSON: cut off: byte 14"}},
		{"a name twice", `{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}`, []string{": not valid JSON: a name stands twice in one object: byte 39"}},
		{"no servers", `{"servers": {}}`, []string{`:1:1: no servers here: want {"mcpServers": {"name": {"command": "program"}}}`}},
		{"several", "{\"mcpServers\": {\n  \"My Server\": {\"command\": \"x\"},\n  \"b\": {\"url\": \"x\"},\n  \"c\": {\"command\": \"${GONE}\"},\n  \"d\": {\"type\": \"sse\", \"url\": \"https://d.example\"},\n  \"e\": {}, \"f\": 1}}", []string{
			`:2:3: server "My Server": a name has 1 to 32 of a-z 0-9 and single -; write my-server`,
			`:3:16: server b: url: want a URL: https://host/path`,
			`:4:20: server c: command: GONE is not set in the environment of callgate; set it, or write ${GONE:-default}`,
			`:5:17: server d: type "sse" is not supported; callgate speaks stdio and streamable http`,
			`:6:3: server e: want command or url`,
			`:6:17: server f: want an object with command or url`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := in(t, map[string]string{"mcp.json": test.json})
			file := filepath.Join(dir, "mcp.json")
			_, err := readConfig("", Overrides{Import: file}, environment())
			var got []string
			if err != nil {
				for _, m := range err.(Mistakes) {
					got = append(got, strings.TrimPrefix(m.String(), file))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReloadTellsWhatNeedsARestart(t *testing.T) {
	a, b := defaults(), defaults()
	b.Listen, b.Data, b.ShutdownTimeout = "127.0.0.1:1", "other", 1
	if diff := cmp.Diff([]string{"listen", "data"}, a.restarts(&b)); diff != "" {
		t.Error(diff)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("listen: 127.0.0.1:1\nagents: [{name: a}]\n")
	f.Add("mcp: {servers: {a: {command: [x], env: {A: env:B}}}}")
	f.Add("? x\n: y")
	f.Add("a: |\n  b\n<<: *c")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		c := defaults()
		r := &reader{file: "callgate.yaml", dir: dir, env: environment()}
		c.check(r, r.document([]byte(text), &c)) // must not panic
	})
}

func FuzzImport(f *testing.F) {
	f.Add(`{"mcpServers": {"a": {"command": "${A:-b}", "args": ["${"], "env": {"a": 1}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		i := importer{file: "mcp.json", text: []byte(text), env: environment("A", "b")}
		i.servers() // must not panic
	})
}

func TestDocumentationTellsEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ Key, TakesEffect string }
	var documented, want []row
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) == 7 && strings.HasPrefix(cells[1], " `") {
			documented = append(documented, row{strings.Trim(cells[1], " `"), strings.TrimSpace(cells[4])})
		}
	}
	for _, k := range keys() {
		effect := "reload"
		if k.Restart {
			effect = "restart"
		}
		want = append(want, row{k.Name, effect})
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("docs/config.md (-Config +doc):\n%s", diff)
	}
}

func TestConfigSaysWhatArgumentsAre(t *testing.T) {
	file := filepath.Join(in(t, map[string]string{"callgate.yaml": `
mcp:
  servers:
    a:
      command: [a]
      max_reply: 4KiB
      reads: untrusted
      tools:
        "*": {timeout: 7s, arguments: {path: {class: path, within: [/srv/docs]}}}
        fetch: {reads: [], arguments: {target.url: {class: url, hosts: [example.com], private: true}}}
`}), "callgate.yaml")
	c, err := readConfig(file, Overrides{}, environment())
	if err != nil {
		t.Fatal(err)
	}
	server := c.MCP.Servers["a"]
	got := server.reached("a", slog.New(slog.DiscardHandler), unlent)
	want := map[string]mcp.ToolConfig{
		"*":     {Timeout: 7 * time.Second, Arguments: map[string]mcp.Mark{"path": {Class: mcp.PathClass, Within: []string{"/srv/docs"}}}},
		"fetch": {Labels: new(firewall.Labels(0)), Arguments: map[string]mcp.Mark{"target.url": {Class: mcp.URLClass, Hosts: []string{"example.com"}, Private: true}}},
	}
	if diff := cmp.Diff(want, got.Tools); diff != "" || got.Limits.Bytes != 4096 || got.Labels != firewall.Untrusted {
		t.Errorf("%+v (-want +got):\n%s", got, diff)
	}
}
