"""OpenAI Chat Completions: `/v1/chat/completions`, and the errors and usage of every other OpenAI path.

`request.py` and `render.py` translate requests, `reply.py` plain answers, `stream.py` and `emit.py` streams; `scan.py`
and `plain.py` watch what passes through verbatim. The wire is that of the official openai package, 3.54
(November 2026), and of the many servers that speak it loosely.
"""

from gateway.dialects.openai_chat.dialect import OpenAIChat

__all__ = ["OpenAIChat"]
