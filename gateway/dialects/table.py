"""The table of dialects, by the names that endpoints and configuration use."""

from __future__ import annotations

from gateway.dialects.anthropic_messages import AnthropicMessages
from gateway.dialects.ollama_chat import OllamaChat
from gateway.dialects.openai_chat import OpenAIChat
from gateway.dialects.openai_responses import OpenAIResponses
from gateway.dialects.protocol import Dialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (OpenAIChat(), OpenAIResponses(), AnthropicMessages(), OllamaChat())
}
"""`openai_chat`, `openai_responses`, `anthropic` and `ollama`. Dialects hold no state: one of each serves all."""
