"""Every error the gateway raises on purpose.

    GatewayError                 has an HTTP status, a stable code and a text fit for the client
    ├─ BadRequest          400   bad JSON, a bad field
    ├─ Unauthenticated     401   no key, an unknown key, an expired token (code token_expired)
    ├─ QuotaSpent          402   a budget is spent
    ├─ PermissionDenied    403   the caller may not do this
    ├─ NotFound            404   no such path, session or tool; ModelNotFound: no route takes this model
    ├─ MethodNotAllowed    405
    ├─ RequestTimeout      408   the client's own body came too slowly
    ├─ TooLarge            413   the body is over max_body
    ├─ UpgradeRequired     426   a WebSocket was asked for
    ├─ RateLimited         429
    ├─ ClientLeft          499   log and ledger only; nothing is sent
    ├─ InternalError       500   the gateway's own fault, a plugin's included
    ├─ Unavailable         503   overload, draining, every target disabled or open
    │  ├─ TargetSkipped          from a plugin's `attempt`: pass this target over, the next may be tried
    │  └─ StateLost              the shared state cannot be reached
    └─ UpstreamError             what one attempt met; `kind` says which failure it was
    ConfigError                  a configuration that may not run, with file, line and column

A dialect turns a GatewayError into the client's own error object (`Dialect.render_error`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

UpstreamKind = Literal[
    "connect",  # name lookup, refused, TLS: nothing was sent
    "timeout",  # connect, first-token, idle or total time ran out
    "status",  # an answer of 400 and above; `status` holds it
    "broken",  # the connection died, or HTTP itself was wrong
    "bad_response",  # well-formed HTTP that is not the dialect: HTML, empty 200, bad JSON
    "truncated",  # a stream that ended without its finish
    "error_event",  # the stream carried the dialect's own error
]


class GatewayError(Exception):
    """Something the client is told: HTTP status, stable `code`, and a message without secrets.

    `param` names the request field at fault. `retry_after_s` (seconds) becomes `retry-after`.
    `source` says whose fault it was; it becomes `x-gateway-error-source`.
    """

    status: int = 500
    code: str = "internal_error"
    source: Literal["gateway", "upstream"] = "gateway"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers: Mapping[str, str] = headers or {}
        self.provider: str | None = None


class BadRequest(GatewayError):
    status, code = 400, "invalid_request"


class Unauthenticated(GatewayError):
    status, code = 401, "invalid_api_key"


class QuotaSpent(GatewayError):
    status, code = 402, "insufficient_quota"


class PermissionDenied(GatewayError):
    status, code = 403, "permission_denied"


class NotFound(GatewayError):
    status, code = 404, "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(GatewayError):
    status, code = 405, "method_not_allowed"


class RequestTimeout(GatewayError):
    status, code = 408, "timeout"


class TooLarge(GatewayError):
    status, code = 413, "request_too_large"


class UpgradeRequired(GatewayError):
    status, code = 426, "upgrade_required"


class RateLimited(GatewayError):
    status, code = 429, "rate_limit_exceeded"


class ClientLeft(GatewayError):
    status, code = 499, "client_left"


class InternalError(GatewayError):
    status, code = 500, "internal_error"


class Unavailable(GatewayError):
    status, code = 503, "overloaded"


class TargetSkipped(Unavailable):
    """Raised by a plugin's `attempt` hook: this target must not be tried now. It does not count as a try; the client
    sees it, or the `instead` it was raised with, only when no other target is left."""

    code = "circuit_open"

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, instead: GatewayError | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.instead = instead


class StateLost(Unavailable):
    """The shared state cannot be reached. What follows is each plugin's stated choice."""

    code = "state_unavailable"


class UpstreamError(GatewayError):
    """What went wrong with one attempt, in words that may reach the client.

    `status` is what the client would see if this were the last attempt; `upstream_status` what the
    upstream answered, None when it did not. `error_type` and `error_code` are the upstream's own,
    kept for clients of the same dialect; `body` and `body_headers` its answer whole, so that a
    same-dialect client may get it as it was.
    """

    status, code = 502, "upstream_error"
    source = "upstream"
    CODES: ClassVar[Mapping[str, tuple[int, str]]] = {
        "connect": (502, "upstream_error"),
        "timeout": (504, "timeout"),
        "broken": (502, "upstream_error"),
        "bad_response": (502, "bad_upstream_response"),
        "truncated": (502, "stream_truncated"),
        "error_event": (502, "upstream_error"),
    }

    def __init__(
        self,
        kind: UpstreamKind,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        upstream_status: int | None = None,
        error_type: str | None = None,
        body: bytes | None = None,
        content_type: str = "",
    ) -> None:
        default_status, default_code = self.CODES.get(kind, (502, "upstream_error"))
        super().__init__(message, code=code or default_code, param=param, retry_after_s=retry_after_s)
        self.kind: UpstreamKind = kind
        self.status = status if status is not None else default_status
        self.upstream_status = upstream_status
        self.error_type = error_type
        self.body = body
        self.content_type = content_type


class ConfigError(Exception):
    """A configuration that may not run. `str()` reads `file:line:col: path: problem; cure`.

    `file` is shown as given (relative to the home where it can be); `line` and `column` count from 1
    and are 0 when the place is not known.
    """

    def __init__(
        self, problem: str, *, file: str = "", line: int = 0, column: int = 0, path: str = "", cure: str = ""
    ) -> None:
        self.problem, self.file, self.line, self.column, self.path, self.cure = problem, file, line, column, path, cure
        super().__init__(problem)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        path = f"{self.path}: " if self.path else ""
        cure = f"; {self.cure}" if self.cure else ""
        return f"{place}{path}{self.problem}{cure}"


class ConfigErrors(ConfigError):
    """Several configuration errors at once, in the order of the file; `str()` has one a line."""

    def __init__(self, errors: list[ConfigError]) -> None:
        first = errors[0]
        super().__init__(
            first.problem, file=first.file, line=first.line, column=first.column, path=first.path, cure=first.cure
        )
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
