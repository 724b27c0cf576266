package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"callgate/mcp"
)

// A toolbook is a file in the data folder with what each MCP server last said of
// its tools, so that policies can be held to it without a gate.
type toolbook struct {
	file string

	mu      sync.Mutex
	servers map[string]toolList
}

// toolList is what a server lists, as tools/list answers it.
type toolList struct {
	Tools []json.RawMessage `json:"tools"`
}

const toolbookFile = "tools.json"

// openToolbook takes up what is there. A file that cannot be read is begun anew.
func openToolbook(data string) *toolbook {
	b := &toolbook{file: filepath.Join(data, toolbookFile)}
	b.servers, _ = readTools(b.file)
	if b.servers == nil {
		b.servers = make(map[string]toolList)
	}
	return b
}

// readTools reads a file of servers and their tools.
func readTools(file string) (map[string]toolList, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var servers map[string]toolList
	if err := json.Unmarshal(text, &servers); err != nil {
		return nil, fmt.Errorf("read %s: want {\"SERVER\": {\"tools\": […]}}: %w", file, err)
	}
	return servers, nil
}

// seen notes what a server lists, if that is not what is written already.
func (b *toolbook) seen(server string, list []mcp.Definition) error {
	var l toolList
	for _, d := range list {
		l.Tools = append(l.Tools, bytes.Clone(d.Raw))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, known := b.servers[server]
	if known && slices.EqualFunc(old.Tools, l.Tools, func(x, y json.RawMessage) bool { return bytes.Equal(compact(x), compact(y)) }) {
		return nil
	}
	b.servers[server] = l
	text, err := json.MarshalIndent(b.servers, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(b.file, string(text)+"\n")
}

func compact(doc json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, doc) != nil {
		return doc
	}
	return b.Bytes()
}

// schemas is what tools want as arguments, by object: of file, or, if that is
// empty, of the data folder, where there may be none.
func (p *program) schemas(file string) (map[string]json.RawMessage, error) {
	given := file != ""
	if !given {
		dir, _ := p.folder()
		file = filepath.Join(dir, toolbookFile)
	}
	servers, err := readTools(file)
	if !given && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tools := make(map[string]json.RawMessage)
	for server, l := range servers {
		for _, raw := range l.Tools {
			var tool struct {
				Name        string          `json:"name"`
				InputSchema json.RawMessage `json:"inputSchema"`
			}
			if json.Unmarshal(raw, &tool) == nil && tool.Name != "" {
				tools["tool:"+server+"/"+tool.Name] = tool.InputSchema
			}
		}
	}
	return tools, nil
}
