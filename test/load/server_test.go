package load

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"syscall"
)

// answer is what the servers of this test say to one message, nil for nothing.
func answer(doc []byte, modern bool) []byte {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Arguments struct{ N json.RawMessage }
		}
	}
	if err := json.Unmarshal(doc, &m); err != nil || m.ID == nil || m.Method == "" {
		return nil
	}
	const about = `"capabilities":{"tools":{}},"serverInfo":{"name":"load","version":"1"}`
	result := ""
	switch {
	case m.Method == "server/discover" && modern:
		result = `"supportedVersions":["2026-07-28"],"ttlMs":60000,"cacheScope":"public",` + about
	case m.Method == "initialize" && !modern:
		result = `"protocolVersion":"2025-11-25",` + about
	case m.Method == "tools/list":
		const schema = `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`
		result = `"tools":[{"name":"echo","inputSchema":` + schema + `,"outputSchema":` + schema + `}],"ttlMs":60000,"cacheScope":"public"`
	case m.Method == "tools/call":
		n := string(m.Params.Arguments.N)
		result = `"content":[{"type":"text","text":"` + n + `"}],"structuredContent":{"n":` + n + `}`
	default:
		return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID)
	}
	if modern {
		result = `"resultType":"complete",` + result
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{%s}}`, m.ID, result)
}

// serve is a server on standard input and output. It kills itself when the one who
// listens at death says so, without a word to anybody.
func serve(modern bool, death string) {
	if death != "" {
		go func() {
			if conn, err := net.Dial("tcp", death); err == nil {
				if n, _ := conn.Read(make([]byte, 1)); n == 1 {
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
			}
		}()
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if said := answer(in.Bytes(), modern); said != nil {
			if _, err := os.Stdout.Write(append(said, '\n')); err != nil {
				return
			}
		}
	}
}
