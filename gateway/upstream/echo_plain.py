"""The echo provider's answers on paths that are not a chat: counts, embeddings, completions, moderations, rerank."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.dialects.json import decode_object
from gateway.errors import BadRequest
from gateway.upstream.echo_words import cut, tokens

DIMENSIONS = 64
_MOST_DIMENSIONS = 4096
_CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


def answer(name: str, body: bytes, id: str, now_s: int) -> dict[str, Any] | Iterator[bytes] | None:
    """Return the answer of endpoint `name` as JSON, a stream's events, or None when the echo has none.

    Raises: BadRequest when the body is not a JSON object or lacks its input.
    """
    function = _ANSWERS.get(name)
    if function is None:
        return None
    request = decode_object(body)
    model = request.get("model")
    return function(request, model if isinstance(model, str) else "echo", id, now_s)


def _count(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any]:
    return {"input_tokens": _words_in({key: value for key, value in request.items() if key != "model"})}


def _count_response(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any]:
    return {"object": "response.input_tokens", **_count(request, model, id, now_s)}


def _embeddings(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any]:
    texts = _inputs(request, "input")
    size = _dimensions(request)
    in_base64 = request.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(texts):
        vector: Any = _vector(text, size)
        if in_base64:
            vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    count = sum(map(_words_in, texts))
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _embed(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any]:
    texts = _inputs(request, "input")
    vectors = [_vector(text, _dimensions(request)) for text in texts]
    spent = {"total_duration": 1, "load_duration": 0, "prompt_eval_count": sum(map(_words_in, texts))}
    return {"model": model, "embeddings": vectors, **spent}


def _embed_one(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any]:
    return {"embedding": _vector(_inputs(request, "prompt")[0], DIMENSIONS)}


def _show(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any]:
    details = {"parent_model": "", "format": "echo", "family": "echo", "families": ["echo"]}
    return {
        "modelfile": "", "parameters": "", "template": "{{ .Prompt }}",
        "details": {**details, "parameter_size": "0", "quantization_level": "none"},
        "model_info": {"general.architecture": "echo", "echo.context_length": 1_000_000},
        "capabilities": ["completion", "tools", "embedding"], "modified_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def _completions(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any] | Iterator[bytes]:
    stops, limit = request.get("stop"), request.get("max_tokens")
    given = [stops] if isinstance(stops, str) else stops if isinstance(stops, list) else []
    texts = [text if isinstance(text, str) else " ".join(map(str, text)) for text in _inputs(request, "prompt")]
    most = limit if isinstance(limit, int) else None
    answers = [cut(text, tuple(stop for stop in given if isinstance(stop, str)), most) for text in texts]
    usage = _usage(sum(map(_words_in, texts)), sum(len(words) for words, _, _ in answers))
    head = {"id": f"cmpl-{id}", "object": "text_completion", "created": now_s, "model": model}
    if request.get("stream") is not True:
        choices = [
            {"index": index, "text": "".join(words), "finish_reason": stop, "logprobs": None}
            for index, (words, stop, _) in enumerate(answers)
        ]
        return {**head, "choices": choices, "usage": usage}
    options = request.get("stream_options")
    wanted = isinstance(options, dict) and options.get("include_usage") is True
    return _completion_events(head, answers, usage if wanted else None)


def _completion_events(head: dict[str, Any], answers: list[Any], usage: dict[str, int] | None) -> Iterator[bytes]:
    for index, (words, stop, _) in enumerate(answers):
        for word in [*words, None]:
            finish = stop if word is None else None
            choice = {"index": index, "text": word or "", "finish_reason": finish, "logprobs": None}
            yield _event({**head, "choices": [choice]})
    if usage is not None:
        yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _moderations(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any]:
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {category: ["text"] for category in _CATEGORIES},
    }
    return {"id": f"modr-{id}", "model": model, "results": [result for _ in _inputs(request, "input")]}


def _rerank(request: Mapping[str, Any], model: str, id: str, now_s: int) -> dict[str, Any]:
    """Score documents by the share of the query's words they hold."""
    query = set(str(request.get("query", "")).lower().split())
    scored = []
    for index, document in enumerate(_inputs(request, "documents")):
        text = document.get("text", "") if isinstance(document, dict) else document
        held = query & set(str(text).lower().split())
        scored.append({"index": index, "relevance_score": len(held) / max(1, len(query))})
    scored.sort(key=lambda each: -each["relevance_score"])
    top = request.get("top_n")
    return {
        "id": f"rerank-{id}",
        "model": model,
        "results": scored[: top if isinstance(top, int) and top > 0 else None],
    }


def _inputs(request: Mapping[str, Any], name: str) -> list[Any]:
    """Return the inputs as a list: a text, a list of texts, of token ids, or of lists of these, are all allowed."""
    given = request.get(name)
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise BadRequest(f'"{name}" is missing or empty; send a text or a list of texts', param=name)
    return [given] if isinstance(given[0], int) else given


def _dimensions(request: Mapping[str, Any]) -> int:
    wanted = request.get("dimensions")
    return wanted if type(wanted) is int and 0 < wanted <= _MOST_DIMENSIONS else DIMENSIONS


def _vector(text: Any, size: int) -> list[float]:
    """Return a unit vector that depends on nothing but the text."""
    raw = hashlib.shake_256(msgspec.json.encode(text)).digest(size)
    values = [byte - 127.5 for byte in raw]
    length = sum(value * value for value in values) ** 0.5
    return [value / length for value in values]


def _words_in(value: Any) -> int:
    """Count the tokens of every text in a JSON value; a token id counts one."""
    if isinstance(value, str):
        return len(tokens(value))
    if isinstance(value, dict):
        return sum(map(_words_in, value.values()))
    if isinstance(value, list):
        return sum(map(_words_in, value))
    return 1 if type(value) is int else 0


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


_ANSWERS: dict[str, Callable[[Mapping[str, Any], str, str, int], dict[str, Any] | Iterator[bytes]]] = {
    "count_tokens": _count,
    "response_input_tokens": _count_response,
    "embeddings": _embeddings,
    "ollama_embed": _embed,
    "ollama_embeddings": _embed_one,
    "ollama_show": _show,
    "completions": _completions,
    "moderations": _moderations,
    "rerank": _rerank,
}
