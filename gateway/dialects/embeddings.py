"""Embeddings between OpenAI's `/v1/embeddings` and Ollama's `/api/embed` and `/api/embeddings`, and numbers as base64.

OpenAI's own packages ask for base64, four bytes a number, little-endian (openai 3.54); many servers answer with floats
whatever was asked. A client that asked for base64 gets it, whichever the upstream gave (X05, O07).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from struct import error as StructError
from struct import pack, unpack
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.chat import Usage
from gateway.dialects.json import encode
from gateway.dialects.members import ODD_JSON
from gateway.dialects.notice import Dropped
from gateway.dialects.protocol import Rendered
from gateway.errors import BadRequest, UpstreamError

OPENAI, OLLAMA, OLLAMA_ONE = "embeddings", "ollama_embed", "ollama_embeddings"
"""The endpoints by name; the last is Ollama's older one, with one `prompt` and one `embedding`."""
NAMES = frozenset({OPENAI, OLLAMA, OLLAMA_ONE})
_text = msgspec.json.Decoder(str).decode
_texts = msgspec.json.Decoder(str | list[str]).decode


class _Spent(Struct):
    prompt_tokens: int = 0
    total_tokens: int = 0


class _Row(Struct):
    embedding: list[float] | str
    index: int = 0


class _OpenAIAnswer(Struct):
    data: list[_Row]
    usage: _Spent | None = None


class _OllamaAnswer(Struct):
    embeddings: list[list[float]]
    prompt_eval_count: int = 0


class _Counts(Struct):
    usage: _Spent | None = None
    prompt_eval_count: int = 0


_openai = msgspec.json.Decoder(_OpenAIAnswer, strict=False).decode
_ollama = msgspec.json.Decoder(_OllamaAnswer, strict=False).decode
_counts = msgspec.json.Decoder(_Counts).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_rows = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_floats = msgspec.json.Decoder(list[float], strict=False).decode


def render_request(endpoint: str, fields: dict[str, Raw], model: str, *, for_ollama: bool) -> Rendered:
    """Return the other dialect's body. Raises: BadRequest for input that is not text: token ids are one model's own."""
    rest = {name: raw for name, raw in fields.items() if raw != b"null"}
    rest.pop("model", None)
    source = "prompt" if endpoint == OLLAMA_ONE else "input"
    given = rest.pop(source, None)
    if given is None:
        raise BadRequest(f"{source} is missing; send the text to embed", param=source)
    try:
        texts = _texts(given)
    except ODD_JSON:
        raise BadRequest(f"{source}: the model's server takes text, or a list of texts, only", param=source) from None
    body: dict[str, Any] = {"model": model, "input": texts}
    if (dimensions := rest.pop("dimensions", None)) is not None:
        body["dimensions"] = dimensions
    if for_ollama:
        rest.pop("encoding_format", None)
    else:
        body["encoding_format"] = "float"
    dropped = Dropped()
    dropped.add(*rest)
    return Rendered(body=encode(body), dropped=dropped.names)


def wants_base64(fields: dict[str, Raw] | None) -> bool:
    """Return whether an OpenAI client asked for base64."""
    raw = fields.get("encoding_format") if fields is not None else None
    try:
        return raw is not None and _text(raw) == "base64"
    except ODD_JSON:
        return False


def for_openai(body: bytes, model: str, *, base64: bool) -> bytes:
    """Return Ollama's answer as OpenAI's. Raises: UpstreamError(bad_response)."""
    try:
        answer = _ollama(body)
    except ODD_JSON as error:
        raise UpstreamError("bad_response", f"the upstream's embeddings cannot be read: {error}") from None
    rows = [
        {"object": "embedding", "index": index, "embedding": packed(vector) if base64 else vector}
        for index, vector in enumerate(answer.embeddings)
    ]
    usage = {"prompt_tokens": answer.prompt_eval_count, "total_tokens": answer.prompt_eval_count}
    return encode({"object": "list", "data": rows, "model": model, "usage": usage})


def for_ollama(body: bytes, model: str, endpoint: str) -> bytes:
    """Return OpenAI's answer as Ollama's. Raises: UpstreamError(bad_response)."""
    try:
        answer = _openai(body)
        rows = sorted(answer.data, key=lambda row: row.index)
        vectors = [unpacked(row.embedding) if isinstance(row.embedding, str) else row.embedding for row in rows]
    except (*ODD_JSON, StructError, ValueError) as error:
        raise UpstreamError("bad_response", f"the upstream's embeddings cannot be read: {error}") from None
    if endpoint == OLLAMA_ONE:
        return encode({"embedding": vectors[0] if vectors else []})
    spent = {"prompt_eval_count": answer.usage.prompt_tokens if answer.usage else 0}
    return encode({"model": model, "embeddings": vectors, "total_duration": 0, "load_duration": 0, **spent})


def in_base64(body: bytes) -> bytes:
    """Return an OpenAI answer with every vector as base64; one that has them so, or is none, as it came."""
    try:
        members = _members(body)
        rows = _rows(members["data"])
        changed = False
        for row in rows:
            if bytes(memoryview(row["embedding"])[:1]) == b"[":
                row["embedding"] = Raw(encode(packed(_floats(row["embedding"]))))
                changed = True
    except (*ODD_JSON, KeyError, StructError):
        return body
    if not changed:
        return body
    members["data"] = Raw(encode(rows))
    return encode(members)


def usage(body: bytes) -> Usage | None:
    """Return what an answer says it cost, None when it says nothing that can be read."""
    try:
        found = _counts(body)
    except ODD_JSON:
        return None
    spent = found.usage.prompt_tokens or found.usage.total_tokens if found.usage else found.prompt_eval_count
    return Usage(prompt_tokens=spent) if spent > 0 else None


def packed(vector: list[float]) -> str:
    """Return numbers as OpenAI's base64. Raises: struct.error for what is no 32-bit float."""
    try:
        return b64encode(pack(f"<{len(vector)}f", *vector)).decode("ascii")
    except OverflowError as error:
        raise StructError(str(error)) from None


def unpacked(text: str) -> list[float]:
    """Return the numbers in OpenAI's base64. Raises: ValueError, struct.error."""
    raw = b64decode(text, validate=True)
    return list(unpack(f"<{len(raw) // 4}f", raw))
