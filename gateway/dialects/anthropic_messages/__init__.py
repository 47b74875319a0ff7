"""Anthropic Messages: `/v1/messages`, its streams, and the errors of `count_tokens` and everything beside it.

`request.py` and `reply.py` translate bodies, `stream.py` and `emit.py` streams; `scan.py` and `plain.py` watch what
passes through verbatim. The wire is that of the official anthropic package, 2.12 (November 2026).
"""

from gateway.dialects.anthropic_messages.dialect import AnthropicMessages

__all__ = ["AnthropicMessages"]
