package mcp_test

import (
	"strings"
	"testing"

	"callgate/firewall"
	"callgate/mcp"

	"github.com/tidwall/gjson"
)

const taskExtension = `"extensions":{"io.modelcontextprotocol/tasks":{}}`

// working is a server whose tool is a task.
func working(modern bool) *upstream {
	up := shop()
	up.modern = modern
	up.about = `{"tools":{},"tasks":{"cancel":{},"list":{},"requests":{"tools":{"call":{}}}}}`
	up.results["tools/call refund"] = `{"task":{"taskId":"T-1","status":"working","createdAt":"2026-01-01T00:00:00Z"},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"T-1"}}}`
	up.results["tasks/get"] = `{"taskId":"T-1","status":"completed","createdAt":"2026-01-01T00:00:00Z"}`
	up.results["tasks/result"] = `{"content":[{"type":"text","text":"paid"}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"T-1"}}}`
	up.results["tasks/cancel"] = `{"taskId":"T-1","status":"cancelled","createdAt":"2026-01-01T00:00:00Z"}`
	if modern {
		up.about = `{"tools":{},` + taskExtension + `}`
		up.results["tools/call refund"] = `{"resultType":"task","taskId":"T-1","status":"working","ttlMs":1000}`
		up.results["tasks/get"] = `{"resultType":"complete","taskId":"T-1","status":"completed","result":{"content":[{"type":"text","text":"paid"}]}}`
		up.results["tasks/cancel"] = `{"resultType":"complete"}`
	}
	return up
}

func TestATaskBelongsToWhoBeganIt(t *testing.T) {
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		for _, path := range []string{"/mcp", "/mcp/shop"} {
			t.Run(version+" "+path, func(t *testing.T) {
				modern := version == "2026-07-28"
				up := working(modern)
				h := open(t, rules{"tool:shop/drop"}, map[string]*mcp.Server{"shop": behind(t, "shop", up.start(t))})
				name := map[string]string{"/mcp": "shop__refund", "/mcp/shop": "refund"}[path]
				c := h.visit(t, path).speak(version)
				r := c.ask("tools/call", `{"name":"`+name+`","task":{"ttl":1000}}`, "")
				id := r.last("result.task.taskId").Str + r.last("result.taskId").Str
				if id == "" || id == "T-1" || strings.Contains(r.body, "T-1") {
					t.Fatalf("the task is %s", r.body)
				}
				get := c.ask("tasks/get", `{"taskId":"`+id+`"}`, "")
				if get.last("result.taskId").Str != id || get.last("result.status").Str != "completed" || modern && get.last("result.result.content.0.text").Str != "paid" {
					t.Errorf("tasks/get: %s", get.body)
				}
				methods := []string{"tasks/get", "tasks/cancel"}
				if !modern {
					methods = append(methods, "tasks/result")
					if r := c.ask("tasks/result", `{"taskId":"`+id+`"}`, ""); r.last("result.content.0.text").Str != "paid" || r.last("result._meta.io\\.modelcontextprotocol/related-task.taskId").Str != id {
						t.Errorf("tasks/result: %s", r.body)
					}
				}
				if r := c.ask("tasks/cancel", `{"taskId":"`+id+`"}`, ""); r.last("error").Exists() {
					t.Errorf("tasks/cancel: %s", r.body)
				}
				for _, method := range methods {
					for _, m := range up.got(method) {
						if m.Get("params.taskId").Str != "T-1" {
							t.Errorf("the server was asked %s", m.Raw)
						}
					}
				}
				before := len(up.got("tasks/get"))
				thief := h.visit(t, path, "Authorization", "Bearer other-token").speak(version)
				for who, r := range map[string]*answer{
					"another principal":           thief.ask("tasks/get", `{"taskId":"`+id+`"}`, ""),
					"who guesses the server's id": c.ask("tasks/get", `{"taskId":"T-1"}`, ""),
					"who changed it":              c.ask("tasks/get", `{"taskId":"`+id[:len(id)-1]+`"}`, ""),
				} {
					if r.last("error.code").Int() != -32602 || !strings.Contains(r.body, "no such task") {
						t.Errorf("%s: %s", who, r.body)
					}
				}
				if n := len(up.got("tasks/get")); n != before {
					t.Error("the server was asked for a task of another")
				}
				h.gate.SetLaw(&firewall.Law{Policy: rules{"tool:shop/*"}})
				if r := c.ask("tasks/get", `{"taskId":"`+id+`"}`, ""); r.last("error.code").Int() != 403 {
					t.Errorf("after the policy has changed: %s", r.body)
				}
			})
		}
	}
}

func TestTasksAreDeclaredWhereClientAndServerAreOfOneKind(t *testing.T) {
	for _, modern := range []bool{false, true} {
		h := open(t, rules{}, map[string]*mcp.Server{"shop": behind(t, "shop", working(modern).start(t))})
		legacy := gjson.Get(h.visit(t, "/mcp").post(initialize("2025-11-25")).body, "result.capabilities")
		if legacy.Get("tasks").Exists() == modern || legacy.Get("extensions").Exists() {
			t.Errorf("modern server %v, legacy client: %s", modern, legacy.Raw)
		}
		r := h.visit(t, "/mcp").modern().ask("server/discover", `{}`, "")
		if has := r.last(`result.capabilities.extensions.io\.modelcontextprotocol/tasks`).Exists(); has != modern || r.last("result.capabilities.tasks").Exists() {
			t.Errorf("modern server %v, modern client: %s", modern, r.body)
		}
	}
}
