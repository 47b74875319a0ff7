"""The OpenAI chat dialect: its name, its constants, and where each of its halves is."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.chat import ChatReply, ChatRequest, Usage
from gateway.dialects.openai_chat import failure, plain
from gateway.dialects.openai_chat.emit import ChatStreamRenderer
from gateway.dialects.openai_chat.render import render_request
from gateway.dialects.openai_chat.reply import parse_reply, render_reply
from gateway.dialects.openai_chat.request import parse_request
from gateway.dialects.openai_chat.scan import ChatScanner
from gateway.dialects.openai_chat.stream import ChatStreamParser
from gateway.dialects.protocol import AnswerContext, Rendered, Target
from gateway.dialects.sse import SseFramer
from gateway.errors import GatewayError, UpstreamError


class OpenAIChat:
    """The `Dialect` of `/v1/chat/completions`."""

    name = "openai_chat"
    stream_type = "text/event-stream"
    keep_alive = b": keep-alive\n\n"

    def parse_request(self, body: bytes) -> ChatRequest:
        return parse_request(body)

    def render_request(self, chat: ChatRequest, target: Target) -> Rendered:
        return render_request(chat, target)

    def parse_reply(self, body: bytes) -> ChatReply:
        return parse_reply(body)

    def render_reply(self, reply: ChatReply, context: AnswerContext) -> bytes:
        return render_reply(reply, context)

    def stream_parser(self) -> ChatStreamParser:
        return ChatStreamParser()

    def stream_renderer(self, context: AnswerContext) -> ChatStreamRenderer:
        return ChatStreamRenderer(context)

    def usage(self, body: bytes) -> Usage | None:
        return plain.usage(body)

    def framer(self) -> SseFramer:
        return SseFramer()

    def scanner(self) -> ChatScanner:
        return ChatScanner()

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return failure.parse_error(status, headers, body)

    def render_error(self, error: GatewayError, request_id: str) -> tuple[int, bytes]:
        return failure.render_error(error)

    def render_error_event(self, error: GatewayError, request_id: str) -> bytes:
        return failure.render_error_event(error)
