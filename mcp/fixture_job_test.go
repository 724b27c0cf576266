package mcp_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// A job is what the fixture's tool of that name does, as a task where its client
// and its era have tasks. It is done once the client has asked for it twice.
type job struct {
	id, who, status string
	asked           int
}

// takesTasks is what the fixture declares of tasks, "" if its version has none.
func (f *fixture) takesTasks() string {
	switch {
	case f.modern:
		return `,"extensions":{"io.modelcontextprotocol/tasks":{}}`
	case f.version == "2025-11-25":
		return `,"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}`
	}
	return ""
}

func (f *fixture) begin(m gjson.Result, result func(string)) {
	j := &job{who: m.Get("params.arguments.who").Str, status: "working"}
	wanted := m.Get("params.task").Exists()
	if f.modern {
		wanted = m.Get(`params._meta.io\.modelcontextprotocol/clientCapabilities.extensions.io\.modelcontextprotocol/tasks`).Exists()
	}
	if f.takesTasks() == "" || !wanted {
		result(j.result(""))
		return
	}
	f.mu.Lock()
	j.id = fmt.Sprintf("job-%d", len(f.jobs)+1)
	f.jobs = append(f.jobs, j)
	f.mu.Unlock()
	if f.modern {
		result(`{"resultType":"task",` + strings.TrimPrefix(j.state(), "{"))
		return
	}
	result(`{"task":` + j.state() + `}`)
}

// task answers requests for tasks, to anybody: it is not this server that keeps
// clients apart.
func (f *fixture) task(m gjson.Result, result func(string), fail func(int, string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	method := m.Get("method").Str
	if method == "tasks/list" && !f.modern {
		var all []string
		for _, j := range f.jobs {
			all = append(all, j.state())
		}
		result(`{"tasks":[` + strings.Join(all, ",") + `]}`)
		return
	}
	i := slices.IndexFunc(f.jobs, func(j *job) bool { return j.id == m.Get("params.taskId").Str })
	if i < 0 {
		fail(-32602, "no such task")
		return
	}
	j := f.jobs[i]
	switch method {
	case "tasks/get":
		if j.asked++; j.asked == 2 && j.status == "working" {
			j.status = "completed"
		}
		state := j.state()
		if f.modern && j.status == "completed" {
			state = strings.TrimSuffix(state, "}") + `,"result":` + j.result("") + `}`
		}
		result(state)
	case "tasks/cancel":
		j.status = "cancelled"
		if f.modern {
			result(`{}`)
		} else {
			result(j.state())
		}
	case "tasks/result":
		result(j.result(`,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"` + j.id + `"}}`))
	default:
		fail(-32601, "method not found")
	}
}

func (j *job) state() string {
	return `{"taskId":"` + j.id + `","status":"` + j.status + `","createdAt":"2026-01-01T00:00:00Z","x-big":98765432109876543210}`
}

func (j *job) result(more string) string {
	return `{"content":[{"type":"text","text":"the job of ` + j.who + `"}]` + more + `}`
}
