"""A provider as it runs: where it is, what it speaks, its credentials and its transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.dialects.endpoints import Endpoint
from gateway.secret import Secret
from gateway.upstream.transport import Transport


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider of a snapshot.

    `dialect` is openai, openai_chat, openai_responses, anthropic, ollama or echo; `base_path` the path of
    `base_url` without a trailing slash. `auth` passthrough sends the client's own credential.
    `transport` outlives the snapshot. A provider that is not `enabled` has no key; its targets are skipped.
    """

    name: str
    dialect: str
    base_url: str
    base_path: str
    transport: Transport
    credentials: tuple[Secret, ...] = ()
    auth: Literal["key", "passthrough"] = "key"
    headers: Mapping[str, str] = field(default_factory=dict)
    quirks: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True
    free: bool = False

    def path_of(self, endpoint: Endpoint) -> str | None:
        """Return where this provider serves `endpoint` natively, None when it does not."""
        if self.dialect == "echo":
            return endpoint.path
        path = endpoint.speaks.get(self.dialect)
        return None if path is None else self.base_path + path
