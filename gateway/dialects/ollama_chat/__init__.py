"""Ollama's `/api/chat`, and the errors of every other path of Ollama's.

`request.py`, `reply.py` and `stream.py` translate; `scan.py` and `plain.py` watch what passes through verbatim. The
wire is that of the official ollama package, 0.6 (November 2026), and of the server it talks to.
"""

from gateway.dialects.ollama_chat.dialect import OllamaChat

__all__ = ["OllamaChat"]
