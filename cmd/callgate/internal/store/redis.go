package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis keeps for a while what replicas may forget at any time: it is a
// [callgate/providers.Cache] of all of them.
type Redis struct{ client *redis.Client }

const redisPrefix = "callgate:reply:" // of its keys

// OpenRedis reaches the server at a URL (redis:// or rediss://).
func OpenRedis(ctx context.Context, url string) (*Redis, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("open Redis: the URL must be like redis://user:password@host:6379/0, or rediss:// for TLS") // the error holds it
	}
	o.MaxRetries = 0 // what is not there in time is asked of the provider
	r := &Redis{redis.NewClient(o)}
	if err := r.client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("open Redis at %s: %w", o.Addr, err), r.client.Close())
	}
	return r, nil
}

// Get is what was last put under key, nil if that is not there any more.
func (r *Redis) Get(ctx context.Context, key string) ([]byte, error) {
	v, err := r.client.Get(ctx, redisPrefix+key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return v, err
}

// Put keeps value under key for ttl.
func (r *Redis) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return r.client.Set(ctx, redisPrefix+key, value, ttl).Err()
}

// Close ends the connections.
func (r *Redis) Close() error { return r.client.Close() }
