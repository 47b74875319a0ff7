"""The OpenAI Responses dialect: its name, its constants, and where each of its halves is."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.chat import ChatReply, ChatRequest, Usage
from gateway.dialects.openai_chat import plain
from gateway.dialects.openai_chat.failure import parse_error, render_error
from gateway.dialects.openai_responses.emit import ResponsesStreamRenderer
from gateway.dialects.openai_responses.failure import failed_event
from gateway.dialects.openai_responses.render import render_request
from gateway.dialects.openai_responses.reply import parse_reply, render_reply
from gateway.dialects.openai_responses.request import parse_request
from gateway.dialects.openai_responses.scan import ResponsesScanner
from gateway.dialects.openai_responses.stream import ResponsesStreamParser
from gateway.dialects.protocol import AnswerContext, Rendered, Target
from gateway.dialects.sse import SseFramer
from gateway.errors import GatewayError, UpstreamError


class OpenAIResponses:
    """The `Dialect` of `/v1/responses`. Its clients raise on unknown data events, so keep-alives are comments."""

    name = "openai_responses"
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

    def stream_parser(self) -> ResponsesStreamParser:
        return ResponsesStreamParser()

    def stream_renderer(self, context: AnswerContext) -> ResponsesStreamRenderer:
        return ResponsesStreamRenderer(context)

    def usage(self, body: bytes) -> Usage | None:
        return plain.usage(body)

    def framer(self) -> SseFramer:
        return SseFramer()

    def scanner(self) -> ResponsesScanner:
        return ResponsesScanner()

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return parse_error(status, headers, body)

    def render_error(self, error: GatewayError, request_id: str) -> tuple[int, bytes]:
        return render_error(error)

    def render_error_event(self, error: GatewayError, request_id: str) -> bytes:
        """Return `response.failed` for a stream of which nothing is known; the scanner's and the renderer's own
        `fail` continue the numbering and keep the response's id."""
        return failed_event(error, {"id": f"resp_{request_id}"}, 0)
