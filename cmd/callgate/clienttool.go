package main

import "callgate/firewall"

// A ClientTool is what the operator says of a tool that is not behind the gate, a
// function of the agent's own program.
type ClientTool struct {
	Reads   Labels   `yaml:"reads"`   // what its answers bring into a run
	Trusted bool     `yaml:"trusted"` // its answers are as good as what the user says
	Acts    bool     `yaml:"acts"`    // it does something outside
	To      []string `yaml:"to"`      // arguments that say for whom
	Object  []string `yaml:"object"`  // arguments that say on what
}

// clientTools is what c says of them, in the firewall's words.
func (c *Config) clientTools() map[string]firewall.ClientTool {
	tools := make(map[string]firewall.ClientTool)
	for name, t := range c.Client.Tools {
		tool := firewall.ClientTool{Trusted: t.Trusted, Brings: firewall.Labels(t.Reads)}
		if t.Acts || len(t.To) > 0 || len(t.Object) > 0 {
			tool.Acting = &firewall.Acting{To: t.To, Object: t.Object}
		}
		tools[name] = tool
	}
	return tools
}
