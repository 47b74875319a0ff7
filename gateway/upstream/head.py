"""A request's head, written so that nothing in it can become a second one."""

from __future__ import annotations

from gateway.errors import InternalError
from gateway.upstream.transport import UpstreamRequest


def head_bytes(request: UpstreamRequest, tail: str) -> bytes:
    """Return the request's head; `tail` is the end of its first line and the host line, the same for every request.

    Raises: InternalError when method, path or a header holds what would break out of its line. That is the gateway's
    own fault (clients' input was refused before), the same at every target, and must not be retried.
    """
    headers, body, path = request.headers, request.body, request.path
    if not isinstance(body, bytes):
        framing, lines = "transfer-encoding: chunked\r\n\r\n", 4
    elif body or request.method not in ("GET", "HEAD"):
        framing, lines = f"content-length: {len(body)}\r\n\r\n", 4
    else:
        framing, lines = "\r\n", 3
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    head = f"{request.method} {path}{tail}{fields}{framing}"
    lines += len(headers)
    # SECURITY: one line more than was meant is a smuggled header or request. Counting costs less than an expression.
    if head.count("\n") != lines or head.count("\r") != lines or "\0" in head or " " in path or not path.isprintable():
        raise InternalError("the request to the upstream holds a line break, NUL or space where HTTP allows none")
    return head.encode("utf-8", "surrogateescape")
