"""Ollama's `/api/generate`: one prompt instead of messages, `response` instead of `message`; the rest is /api/chat."""

from __future__ import annotations

from gateway.dialects.ollama_chat import OllamaChat


class OllamaGenerate(OllamaChat):
    """The `Dialect` of `/api/generate`."""

    name = "ollama_generate"
