package export

import (
	"strings"

	"callgate/audit"
)

// schema is the version of the Open Cybersecurity Schema Framework that events are of.
const schema = "1.5.0"

// An object is one of JSON. Members that are not known are left out.
type object map[string]any

// put sets a member, unless it says nothing.
func (o object) put(name string, v any) {
	switch v := v.(type) {
	case string:
		if v == "" {
			return
		}
	case int64:
		if v == 0 {
			return
		}
	case []string:
		if len(v) == 0 {
			return
		}
	case object:
		if len(v) == 0 {
			return
		}
	}
	o[name] = v
}

// OCSF is an item as an event of OCSF: a call as API Activity (6003), a change as Entity
// Management (3004). version is callgate's.
func OCSF(it Item, version string) map[string]any {
	if it.Call != nil {
		return ocsfCall(it.Call, version)
	}
	return ocsfChange(it.Change, version)
}

func ocsfCall(c *audit.Call, version string) object {
	e := head(6, "Application Activity", 6003, "API Activity", 99, version, c.ID)
	e["activity_name"] = c.Method
	e["time"], e["start_time"] = c.At/1000, c.At/1000
	if c.Ended != 0 {
		e["end_time"], e["duration"] = c.Ended/1000, (c.Ended-c.At)/1000
	}
	e["severity_id"], e["severity"] = 1, "Informational"
	e["action_id"], e["action"], e["disposition_id"], e["disposition"] = 1, "Allowed", 1, "Allowed"
	if c.Effect != "allow" {
		e["severity_id"], e["severity"] = 3, "Medium"
		e["action_id"], e["action"], e["disposition_id"], e["disposition"] = 2, "Denied", 2, "Blocked"
	}
	switch c.Outcome {
	case "ok":
		e["status_id"], e["status"] = 1, "Success"
	case audit.OutcomeOpen, audit.OutcomeUnknown:
		e["status_id"], e["status"] = 0, "Unknown"
	default:
		e["status_id"], e["status"] = 2, "Failure"
	}
	e["status_code"] = c.Outcome
	object(e).put("status_detail", c.Reason)

	user := object{"name": c.Agent, "type_id": 99, "type": "Agent"}
	user.put("uid_alt", c.Token)
	actor := object{"user": user}
	if c.Subject != "" && c.Subject != c.Agent {
		actor["invoked_by"] = c.Subject
	}
	if c.Session != "" {
		actor["session"] = object{"uid": c.Session}
	}
	e["actor"] = actor
	api := object{"operation": c.Method, "request": object{"uid": c.ID}}
	api.put("service", named(c.Target))
	response := object{"code": 0, "message": c.Outcome}
	response.put("error", c.Fault)
	api["response"] = response
	e["api"] = api
	if c.Resource != "" {
		e["resources"] = []object{{"name": c.Resource, "type": c.Kind}}
	}
	source := object{}
	if c.Env != nil {
		source.put("ip", c.Env.IP)
	}
	e["src_endpoint"] = source
	rule := object{"uid": c.Policy}
	rule.put("name", c.Rule)
	if c.Policy != "" {
		e["policy"] = rule
	}
	e["unmapped"] = more(c)
	return e
}

// more is what of a call OCSF has no place for.
func more(c *audit.Call) object {
	o := object{"seq": c.Seq, "kind": c.Kind, "effect": c.Effect}
	for name, text := range map[string]string{"tenant": c.Tenant, "run": c.Run, "chain": c.Chain, "thread": c.Thread, "grant": c.Grant, "txn": c.Txn, "args_hash": c.ArgsHash, "approval": c.Approval} {
		o.put(name, text)
	}
	for name, list := range map[string][]string{"actors": c.Actors, "obligations": c.Obligations, "labels": c.Labels, "signals": c.Signals, "lossy": c.Lossy} {
		o.put(name, list)
	}
	if c.Usage != nil {
		o["usage"] = c.Usage
	}
	if c.Cost != nil {
		o["cost_microusd"] = *c.Cost
	}
	if len(c.Findings) > 0 {
		o["findings"] = c.Findings
	}
	if len(c.Links) > 0 {
		o["links"] = c.Links
	}
	if len(c.Drift) > 0 {
		o["drift"] = c.Drift
	}
	return o
}

func ocsfChange(r *audit.Record, version string) object {
	noun, verb, _ := strings.Cut(r.What, ".")
	activity := 3 // update
	switch verb {
	case "created", "added", "issued", "put":
		activity = 1
	case "deleted", "revoked", "retired", "removed", "erased":
		activity = 4
	}
	e := head(3, "Identity & Access Management", 3004, "Entity Management", activity, version, "")
	e["activity_name"], e["time"] = verb, r.At/1000
	e["severity_id"], e["severity"], e["status_id"], e["status"] = 1, "Informational", 1, "Success"
	e["actor"] = object{"user": object{"name": r.By}}
	entity := object{"type": noun}
	entity.put("name", r.Name)
	e["entity"] = entity
	object(e).put("comment", r.State)
	e["unmapped"] = object{"seq": r.Seq, "what": r.What}
	return e
}

// head is what every event has.
func head(category int, in string, class int, name string, activity int, version, uid string) object {
	about := object{"version": schema, "product": object{"name": "callgate", "vendor_name": "callgate", "version": version}, "profiles": []string{"security_control"}}
	about.put("uid", uid)
	return object{
		"metadata": about, "category_uid": category, "category_name": in, "class_uid": class, "class_name": name,
		"activity_id": activity, "type_uid": class*100 + activity,
	}
}

func named(name string) object {
	if name == "" {
		return nil
	}
	return object{"name": name}
}
