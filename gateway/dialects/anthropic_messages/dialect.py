"""The Anthropic dialect: its name, its constants, and where each of its halves is."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.chat import Usage
from gateway.dialects.anthropic_messages import failure, plain
from gateway.dialects.anthropic_messages.scan import AnthropicScanner
from gateway.dialects.protocol import Framer, StreamScanner
from gateway.dialects.sse import SseFramer
from gateway.errors import GatewayError, UpstreamError


class AnthropicMessages:
    """The `Dialect` of `/v1/messages`. The official packages drop events named `ping` unread."""

    name = "anthropic"
    stream_type = "text/event-stream"
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def usage(self, body: bytes) -> Usage | None:
        return plain.usage(body)

    def framer(self) -> Framer:
        return SseFramer()

    def scanner(self) -> StreamScanner:
        return AnthropicScanner()

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return failure.parse_error(status, headers, body)

    def render_error(self, error: GatewayError, request_id: str) -> tuple[int, bytes]:
        return failure.render_error(error, request_id)

    def render_error_event(self, error: GatewayError, request_id: str) -> bytes:
        return failure.render_error_event(error, request_id)
