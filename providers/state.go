package providers

// A State is how a provider is.
type State struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	BaseURL string     `json:"base_url"`
	Resting bool       `json:"resting,omitempty"` // it failed again and again: who can goes elsewhere
	Keys    []KeyState `json:"keys"`
}

// States is how the providers are, in order of their names.
func (h *Handler) States() []State {
	now := h.cfg.Now()
	list := []State{}
	for _, p := range h.behind.Load().all {
		list = append(list, State{p.name, p.Kind, p.base.String(), p.health.rests(now), p.keys.states(now)})
	}
	return list
}
