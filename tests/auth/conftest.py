"""Keys, tokens and homes for the plugin auth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from jwt.api_jws import PyJWS

from gateway.testing import ClientAnswer, RunningGateway

SECRET = "a secret of more than 64 characters, so that HS512 too can be made with it"
LONG = "x" * 64
NOW = 1_800_000_000
ROUTES = """
routes:
  - {name: echo, match: {model: [echo, "gpt-*", smart]}, targets: [echo/echo]}
  - {name: blue, match: {model: blue, tags: {team: blue}}, targets: [echo/echo]}
  - {name: files, match: {path: "/files/**"}, targets: [echo/echo]}
"""


def hashed(key: str) -> str:
    return "sha256:" + sha256(key.encode()).hexdigest()


def entry(name: str, key: str, more: str = "") -> str:
    return f'{{name: {name}, hash: "{hashed(key)}"{", " if more else ""}{more}}}'


def signed(claims: Any, secret: Any = SECRET, algorithm: str = "HS256", **head: Any) -> str:
    """Return a token with exactly these claims (or this payload), whatever they are worth."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return PyJWS().encode(payload, secret, algorithm=algorithm, headers=head)


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


async def ask(gateway: RunningGateway, headers: Mapping[str, str] | None = None, model: str = "echo") -> ClientAnswer:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return await gateway.post("/v1/chat/completions", body, headers=headers)


async def status(gateway: RunningGateway, credential: str, model: str = "echo") -> int:
    return (await ask(gateway, bearer(credential), model)).status


def code(answer: ClientAnswer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]
