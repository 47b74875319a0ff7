"""OpenAI Responses: `/v1/responses`, its items and its stream of typed, numbered events.

`request.py` and `items.py` read requests, `render.py` and `history.py` write them; `reply.py` has plain answers,
`stream.py` and `emit.py` streams, `scan.py` watches what passes through verbatim. The wire is that of the official
openai package, 3.54 (November 2026).
"""

from gateway.dialects.openai_responses.dialect import OpenAIResponses

__all__ = ["OpenAIResponses"]
