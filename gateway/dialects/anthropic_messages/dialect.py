"""The Anthropic dialect: its name, its constants, and where each of its halves is."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.chat import ChatReply, ChatRequest, Usage
from gateway.dialects.anthropic_messages import compose, failure, plain, request
from gateway.dialects.anthropic_messages.emit import AnthropicWriter
from gateway.dialects.anthropic_messages.reply import parse_reply, render_reply
from gateway.dialects.anthropic_messages.scan import AnthropicScanner
from gateway.dialects.anthropic_messages.stream import AnthropicParser
from gateway.dialects.protocol import AnswerContext, Rendered, Target
from gateway.dialects.sse import SseFramer
from gateway.errors import GatewayError, UpstreamError


class AnthropicMessages:
    """The `Dialect` of `/v1/messages`. The official packages drop events named `ping` unread."""

    name = "anthropic"
    stream_type = "text/event-stream"
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def parse_request(self, body: bytes) -> ChatRequest:
        return request.parse_request(body)

    def render_request(self, chat: ChatRequest, target: Target) -> Rendered:
        return compose.render_request(chat, target)

    def parse_reply(self, body: bytes) -> ChatReply:
        return parse_reply(body)

    def render_reply(self, reply: ChatReply, context: AnswerContext) -> bytes:
        return render_reply(reply, context)

    def usage(self, body: bytes) -> Usage | None:
        return plain.usage(body)

    def framer(self) -> SseFramer:
        return SseFramer()

    def scanner(self) -> AnthropicScanner:
        return AnthropicScanner()

    def stream_parser(self) -> AnthropicParser:
        return AnthropicParser()

    def stream_renderer(self, context: AnswerContext) -> AnthropicWriter:
        return AnthropicWriter(context)

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return failure.parse_error(status, headers, body)

    def render_error(self, error: GatewayError, request_id: str) -> tuple[int, bytes]:
        return failure.render_error(error, request_id)

    def render_error_event(self, error: GatewayError, request_id: str) -> bytes:
        return failure.render_error_event(error, request_id)
