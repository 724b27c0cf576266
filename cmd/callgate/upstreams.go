package main

import (
	"context"
	"time"

	"callgate/cmd/callgate/internal/store"
	"callgate/firewall"
	"callgate/identity"
	"callgate/providers"
)

// upstreams are the providers of cfg.
func (h *house) upstreams(cfg *Config) map[string]providers.Provider {
	m := make(map[string]providers.Provider, len(cfg.Providers))
	for name, p := range cfg.Providers {
		keys := p.pool(func(c Credential) identity.Credential { return h.lend(c, "provider:"+name) })
		m[name] = providers.Provider{
			Kind: p.Kind, Kinds: cfg.kinds(), BaseURL: string(p.BaseURL), Params: p.Params, Keys: keys, Models: p.Models, Strict: bool(p.Strict), Prices: prices(p.Prices), PricedAs: p.PricedAs, ReplyTokens: int64(p.Reply), Cache: time.Duration(p.Cache),
			ConnectTimeout: time.Duration(p.Timeouts.Connect), FirstByteTimeout: time.Duration(p.Timeouts.FirstByte), IdleTimeout: time.Duration(p.Timeouts.Idle),
		}
	}
	return m
}

// replies is where replies are kept that routes keep.
func (h *house) replies(ctx context.Context, cfg *Config) (providers.Cache, error) {
	if !cfg.Cache.Redis.Given {
		return providers.NewMemoryCache(int64(cfg.Cache.Memory), time.Now), nil
	}
	r, err := store.OpenRedis(ctx, cfg.Cache.Redis.Secret.Reveal())
	if err != nil {
		return nil, err
	}
	h.redis = r
	return r, nil
}

func prices(list map[string]Price) map[string]firewall.Price {
	m := make(map[string]firewall.Price, len(list))
	for name, p := range list {
		m[name] = p.price()
	}
	return m
}
