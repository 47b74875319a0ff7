"""Endpoints of one dialect at a target of another that are no chat: counted here, or said in the target's own words."""

from __future__ import annotations

from aiohttp import hdrs

from gateway.attempts.outgoing import model_for
from gateway.dialects import embeddings
from gateway.dialects.embeddings import OLLAMA, OPENAI
from gateway.dialects.endpoints import Endpoint
from gateway.dialects.estimate import input_tokens
from gateway.dialects.json import encode
from gateway.dialects.protocol import Rendered
from gateway.errors import BadRequest, UpstreamError
from gateway.exchange import Attempt, Exchange, Reply
from gateway.upstream.provider import Provider

COUNTS = frozenset({"count_tokens", "response_input_tokens"})
SHOW = "ollama_show"
_SHOWN = {
    "modelfile": "", "parameters": "", "template": "", "license": "",
    "details": {"parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "",
                "quantization_level": ""},
    "model_info": {},
}  # fmt: skip
SHOWN = encode({**_SHOWN, "capabilities": ["completion", "tools"]})
"""What Ollama's clients are told of a model that is not Ollama's: that it is there, and that it can be given tools."""
SHOWN_OF_PLUGIN = encode({**_SHOWN, "capabilities": ["completion"]})
"""And of one that a plugin answers, which may well refuse tools, as workflows do."""
UNSERVED = frozenset({404, 405, 501})
"""What servers answer that speak the dialect but do not count (llama.cpp: 501)."""
UNKNOWN_MODEL = (b"not_found_error", b"model_not_found")
EMBEDDING_PATHS = {"openai": "/embeddings", "openai_chat": "/embeddings", "openai_responses": "/embeddings",
                   "ollama": "/api/embed"}  # fmt: skip


def path_elsewhere(provider: Provider, endpoint: Endpoint) -> str | None:
    """Return the upstream's path for an endpoint it does not serve as it is; None: the answer is made here.

    Raises: BadRequest when there is neither.
    """
    if endpoint.name in COUNTS or endpoint.name == SHOW:
        return None
    if endpoint.name in embeddings.NAMES and provider.dialect in EMBEDDING_PATHS:
        return provider.base_path + EMBEDDING_PATHS[provider.dialect]
    raise BadRequest(
        f"{provider.name} does not serve {endpoint.path}; name a model of a provider that does", param="model"
    )


def made_here(exchange: Exchange) -> Reply:
    """Return the answer to what `path_elsewhere` has no path for. Raises: BadRequest."""
    endpoint = exchange.request.endpoint
    if endpoint is not None and endpoint.name == SHOW:
        is_of_plugin = exchange.route is not None and bool(exchange.route.plugin)
        return Reply(200, {hdrs.CONTENT_TYPE: "application/json"}, SHOWN_OF_PLUGIN if is_of_plugin else SHOWN)
    return counted(exchange)


def counted(exchange: Exchange) -> Reply:
    """Return the local bound as the answer (X01, X06)."""
    endpoint = exchange.request.endpoint
    assert endpoint is not None
    body: dict[str, object] = {"input_tokens": input_tokens(exchange.chat)}
    if endpoint.name == "response_input_tokens":
        body = {"object": "response.input_tokens", **body}
    reply = Reply(200, {hdrs.CONTENT_TYPE: "application/json"}, encode(body))
    reply.headers["x-gateway-estimated"] = "true"
    return reply


def counts_here(exchange: Exchange, error: UpstreamError) -> bool:
    """Return whether a refusal only says that the upstream cannot count; an unknown model is another matter."""
    endpoint = exchange.request.endpoint
    if endpoint is None or endpoint.name not in COUNTS or error.upstream_status not in UNSERVED:
        return False
    return error.upstream_status != 404 or not any(word in (error.body or b"") for word in UNKNOWN_MODEL)


def rendered_embeddings(attempt: Attempt, provider: Provider, endpoint: Endpoint) -> Rendered:
    """Return the embedding request in the target's words. Raises: BadRequest."""
    exchange = attempt.exchange
    return embeddings.render_request(
        endpoint.name,
        exchange.request.members or {},
        model_for(exchange, attempt.target),
        for_ollama=provider.dialect == "ollama",
    )


def embedded(exchange: Exchange, endpoint: Endpoint, body: bytes, *, native: bool) -> bytes:
    """Return an embedding answer as the client asked for it, and note what it cost. Raises: UpstreamError."""
    exchange.usage = embeddings.usage(body) or exchange.usage
    request = exchange.request
    base64 = endpoint.name == OPENAI and embeddings.wants_base64(request.members)
    if native:
        return embeddings.in_base64(body) if base64 and b'"embedding"' in body else body
    if endpoint.name == OPENAI:
        return embeddings.for_openai(body, request.model, base64=base64)
    if endpoint.name in (OLLAMA, embeddings.OLLAMA_ONE):
        return embeddings.for_ollama(body, request.model, endpoint.name)
    return body
