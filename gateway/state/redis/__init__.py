"""State in Redis: one server, one that sentinels name, or a cluster. Anything that speaks its protocol does."""

from gateway.state.redis.store import RedisStore

__all__ = ["RedisStore"]
