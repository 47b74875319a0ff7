"""A command that sends a request like one in the ledger again."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final

from gateway.dialects.endpoints import ENDPOINTS
from gateway.plugin import Row

_BY_NAME: Final = {each.name: each for each in ENDPOINTS}
_SAY: Final = "…"
NOTE: Final = "The body is not kept: this one has the model, whether to stream, and words of your own to fill in."


def curl(row: Row, data: str) -> str:
    """Return the command. `data` is the address of the data listener, as the ready line says it.

    # SECURITY: names in a row are clients' words, and this is pasted into a shell: all of them are quoted, and JSON
    # holds no control character.
    """
    endpoint = _BY_NAME.get(row.endpoint)
    path = endpoint.path if endpoint is not None else "/v1/chat/completions"
    where = shlex.quote(data + path)
    if data.startswith("unix:"):
        where = f"--unix-socket {shlex.quote(data[5:])} {shlex.quote('http://localhost' + path)}"
    parts = [f"curl -sS {'-N ' if row.stream else ''}{where}"]
    if row.dialect == "anthropic":
        parts += ['-H "x-api-key: $API_KEY"', "-H 'anthropic-version: 2023-06-01'"]
    else:
        parts.append('-H "authorization: Bearer $API_KEY"')
    if row.session is not None and row.session.isascii() and row.session.isprintable():
        parts.append(f"-H {shlex.quote(f'x-session-id: {row.session}')}")
    parts.append("-H 'content-type: application/json'")
    parts.append(f"-d {shlex.quote(json.dumps(_body(row)))}")
    return " \\\n  ".join(parts)


def _body(row: Row) -> dict[str, Any]:
    body: dict[str, Any] = {"model": row.model_requested}
    match row.endpoint:
        case "responses" | "response_input_tokens" | "embeddings" | "moderations" | "ollama_embed":
            body["input"] = _SAY
        case "completions" | "ollama_generate" | "images_generations":
            body["prompt"] = _SAY
        case "rerank":
            body |= {"query": _SAY, "documents": [_SAY]}
        case _:
            body["messages"] = [{"role": "user", "content": _SAY}]
    if row.endpoint == "messages":
        body["max_tokens"] = 1024
    if row.stream or row.dialect.startswith("ollama"):
        body["stream"] = row.stream
    return body
