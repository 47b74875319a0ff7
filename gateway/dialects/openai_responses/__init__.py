"""OpenAI Responses: `/v1/responses`, its items and its stream of typed, numbered events.

The wire is that of the official openai package, 3.54 (November 2026).
"""

from gateway.dialects.openai_responses.dialect import OpenAIResponses

__all__ = ["OpenAIResponses"]
