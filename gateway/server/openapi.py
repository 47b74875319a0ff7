"""The machine-readable description of the data listener, made from the same tables that serve it."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from gateway import __version__
from gateway.dialects.endpoints import BATCHES, ENDPOINTS

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9]+")
_OWNERS = {
    "openai_chat": "OpenAI",
    "openai_responses": "OpenAI Responses",
    "anthropic": "Anthropic",
    "ollama": "Ollama",
    "ollama_generate": "Ollama",
}
_PAGES = {
    "/health": "Alive: status and version",
    "/health/ready": "Ready to serve: ready or degraded (200), not_ready (503), with checks",
    "/ready": "The same as /health/ready",
    "/v1/models": "The models that may be asked for; Anthropic's shape when anthropic-version is sent",
    "/v1/models/{id}": "One model",
    "/v1/providers": "The providers, whether each is enabled, and its breaker",
    "/api/tags": "The models, as Ollama lists them",
    "/api/ps": "Loaded models: none, the gateway loads none",
    "/api/version": "The gateway's version, as Ollama tells its own",
    "/openapi.json": "This document",
    "/docs": "A page for people",
}


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths[endpoint.path] = {"post": _operation(endpoint.name, endpoint.dialect, endpoint.kind)}
    paths[BATCHES] = {method: _operation("batches_" + method, "anthropic", "pass") for method in ("get", "post")}
    for path, summary in _PAGES.items():
        parameters = (
            [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}] if "{id}" in path else []
        )
        operation: dict[str, Any] = {
            "summary": summary,
            "operationId": "get_" + _NOT_A_NAME.sub("_", path).strip("_"),
            "responses": _responses(),
        }
        paths[path] = {"get": {**operation, "parameters": parameters} if parameters else operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "LLM Gateway", "version": __version__, "license": {"name": "MIT"}},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            }
        },
        "security": [{}, {"bearer": []}, {"api_key": []}],
    }


def _operation(name: str, dialect: str, kind: str) -> dict[str, Any]:
    how = {
        "chat": "routed by model",
        "model": "routed by model and passed through",
        "pass": "passed through by a route that matches the path",
    }
    media = (
        "multipart/form-data"
        if name in ("audio_transcriptions", "audio_translations", "image_edits", "image_variations")
        else "application/json"
    )
    return {
        "summary": f"{_OWNERS[dialect]}: {name.replace('_', ' ')}, {how[kind]}",
        "operationId": name,
        "tags": [_OWNERS[dialect]],
        "requestBody": {"required": True, "content": {media: {"schema": {"type": "object"}}}},
        "responses": _responses(),
    }


def _responses() -> dict[str, Any]:
    return {"200": {"description": "The answer"}, "default": {"description": "An error, in the dialect of the path"}}
