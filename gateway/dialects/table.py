"""The table of dialects, by the names that endpoints and configuration use."""

from __future__ import annotations

from gateway.dialects.anthropic_messages import AnthropicMessages
from gateway.dialects.ollama_chat import OllamaChat
from gateway.dialects.ollama_generate import OllamaGenerate
from gateway.dialects.openai_chat import OpenAIChat
from gateway.dialects.openai_responses import OpenAIResponses
from gateway.dialects.protocol import Dialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (OpenAIChat(), OpenAIResponses(), AnthropicMessages(), OllamaChat(), OllamaGenerate())
}
"""`openai_chat`, `openai_responses`, `anthropic`, `ollama` and, for the clients of /api/generate only,
`ollama_generate`. Dialects hold no state: one of each serves all."""
