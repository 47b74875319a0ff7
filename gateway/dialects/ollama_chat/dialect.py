"""The Ollama dialect: its name, its constants, and where each of its halves is."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.chat import ChatReply, ChatRequest, Usage
from gateway.dialects.ollama_chat import compose, failure, plain, request
from gateway.dialects.ollama_chat.reply import parse_reply, render_chat
from gateway.dialects.ollama_chat.scan import OllamaScanner
from gateway.dialects.ollama_chat.stream import OllamaParser, OllamaWriter
from gateway.dialects.protocol import AnswerContext, Rendered, Target
from gateway.dialects.sse import NdjsonFramer
from gateway.errors import GatewayError, UpstreamError


class OllamaChat:
    """The `Dialect` of `/api/chat`.

    NDJSON has no comment, and the ollama package for Python fails on an empty line (`json.loads("")`). A lone
    space before the next line is white space to every JSON parser, that of ollama-js and of Go included.
    """

    name = "ollama"
    stream_type = "application/x-ndjson"
    keep_alive = b" "

    def parse_request(self, body: bytes) -> ChatRequest:
        return request.parse_chat(body)

    def render_request(self, chat: ChatRequest, target: Target) -> Rendered:
        return compose.render_chat(chat, target)

    def parse_reply(self, body: bytes) -> ChatReply:
        return parse_reply(body)

    def render_reply(self, reply: ChatReply, context: AnswerContext) -> bytes:
        return render_chat(reply, context)

    def usage(self, body: bytes) -> Usage | None:
        return plain.usage(body)

    def framer(self) -> NdjsonFramer:
        return NdjsonFramer()

    def scanner(self) -> OllamaScanner:
        return OllamaScanner()

    def stream_parser(self) -> OllamaParser:
        return OllamaParser()

    def stream_renderer(self, context: AnswerContext) -> OllamaWriter:
        return OllamaWriter(context)

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return failure.parse_error(status, headers, body)

    def render_error(self, error: GatewayError, request_id: str) -> tuple[int, bytes]:
        return failure.render_error(error, request_id)

    def render_error_event(self, error: GatewayError, request_id: str) -> bytes:
        return failure.render_error_event(error, request_id)
