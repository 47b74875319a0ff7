"""Ollama's `/api/generate`: one prompt instead of messages, `response` instead of `message`; the rest is /api/chat."""

from __future__ import annotations

from gateway.chat import ChatReply, ChatRequest
from gateway.dialects.ollama_chat import OllamaChat
from gateway.dialects.ollama_chat.compose import render_generate as render_generate_request
from gateway.dialects.ollama_chat.reply import render_generate
from gateway.dialects.ollama_chat.request import parse_generate
from gateway.dialects.ollama_chat.stream import OllamaGenerateWriter
from gateway.dialects.protocol import AnswerContext, Rendered, Target


class OllamaGenerate(OllamaChat):
    """The `Dialect` of `/api/generate`. Answers of either endpoint are read alike."""

    name = "ollama_generate"

    def parse_request(self, body: bytes) -> ChatRequest:
        return parse_generate(body)

    def render_request(self, chat: ChatRequest, target: Target) -> Rendered:
        return render_generate_request(chat, target)

    def render_reply(self, reply: ChatReply, context: AnswerContext) -> bytes:
        return render_generate(reply, context)

    def stream_renderer(self, context: AnswerContext) -> OllamaGenerateWriter:
        return OllamaGenerateWriter(context)
