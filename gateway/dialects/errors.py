"""Errors between dialects: which words each uses, and what may be repeated of an upstream's text.

The table is contract.md's; the phrases were collected from the servers' own answers (November 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from msgspec import Struct

from gateway.errors import GatewayError, UpstreamError, UpstreamKind

LONGEST_TEXT = 500


class Words(Struct, frozen=True):
    """What a status is called in each dialect, and the stable code it has when nothing narrower is known."""

    openai: str
    code: str
    anthropic: str
    anthropic_status: int


TABLE: dict[int, Words] = {
    400: Words("invalid_request_error", "invalid_request", "invalid_request_error", 400),
    401: Words("invalid_request_error", "invalid_api_key", "authentication_error", 401),
    402: Words("insufficient_quota", "insufficient_quota", "billing_error", 402),
    403: Words("permission_error", "permission_denied", "permission_error", 403),
    404: Words("invalid_request_error", "not_found", "not_found_error", 404),
    405: Words("invalid_request_error", "method_not_allowed", "invalid_request_error", 405),
    408: Words("timeout", "timeout", "timeout_error", 408),
    409: Words("invalid_request_error", "conflict", "invalid_request_error", 409),
    413: Words("invalid_request_error", "request_too_large", "request_too_large", 413),
    422: Words("invalid_request_error", "invalid_request", "invalid_request_error", 422),
    426: Words("invalid_request_error", "upgrade_required", "invalid_request_error", 426),
    429: Words("rate_limit_error", "rate_limit_exceeded", "rate_limit_error", 429),
    500: Words("server_error", "internal_error", "api_error", 500),
    502: Words("server_error", "upstream_error", "api_error", 502),
    503: Words("server_error", "overloaded", "overloaded_error", 529),
    504: Words("timeout", "timeout", "timeout_error", 504),
}

OPENAI_TYPES = frozenset(
    (
        *("invalid_request_error", "authentication_error", "permission_error", "insufficient_quota", "server_error"),
        *("rate_limit_error", "rate_limit_exceeded", "tokens", "requests", "timeout"),
    )
)
_OPENAI_FAULTS = frozenset(("server_error", "timeout"))
_ANTHROPIC_FAULTS = frozenset(("api_error", "overloaded_error", "timeout_error"))
ANTHROPIC_TYPES = frozenset(
    (
        *("invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error"),
        *("request_too_large", "rate_limit_error", "timeout_error", "api_error", "overloaded_error"),
    )
)

# What an error object inside a stream, or inside an answer of 200, means as an HTTP status.
_STATUS_OF_NAME = {
    "invalid_request_error": 400,
    "invalid_request": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "invalid_prompt": 400,
    "invalid_image": 400,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "authentication_error": 401,
    "permission_error": 403,
    "billing_error": 402,
    "overloaded_error": 529,
    "overloaded": 529,
    "server_overloaded": 529,
    "timeout": 504,
    "timeout_error": 504,
}


def words_of(status: int) -> Words:
    """Return the words for any status; unknown ones speak as 400 or 500 do."""
    return TABLE.get(status) or TABLE[400 if status < 500 else 500]


def openai_type(error: GatewayError) -> str:
    """Return the OpenAI `type`: the upstream's own where OpenAI has such a type, else the table's."""
    own = getattr(error, "error_type", None)
    # A refusal's type under a status of 500 and above would blame the client for what the gateway met.
    known = _OPENAI_FAULTS if error.status >= 500 else OPENAI_TYPES
    return own if isinstance(own, str) and own in known else words_of(error.status).openai


def anthropic_status_and_type(error: GatewayError) -> tuple[int, str]:
    """Return the HTTP status and the `type` Anthropic's clients expect; overload is 529 there."""
    words = words_of(error.status)
    status = words.anthropic_status if error.status in TABLE else error.status
    own = getattr(error, "error_type", None)
    keep = isinstance(own, str) and own in (_ANTHROPIC_FAULTS if error.status >= 500 else ANTHROPIC_TYPES)
    return status, str(own) if keep else words.anthropic


# --- text that may be shown ----------------------------------------------------------------------

_HTML = re.compile(r"<(script|style|head)\b[^<>]*>.*?</\1\s*>|<[a-zA-Z/!][^<>]*>", re.DOTALL | re.IGNORECASE)
_CONTROL = re.compile(
    "[\\x00-\\x20\\x7f-\\x9f\\u2028\\u2029\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ufeff\\ud800-\\udfff]+"
)
# SECURITY: what looks like a credential or says where an upstream lives never reaches a client or a log.
_SECRETS = re.compile(
    r"(?i:bearer|basic)\s+(?![a-z]+\b(?![\d._~+/=-]))[\w.~+/=*-]{6,}"
    r"|\b(?:sk|pk|rk|gsk|hf|xai|pplx|nvapi|r8|fw|tgp|dapi|csk|github_pat|gh[pousr]|glpat)[-_][\w.*…-]{6,}"
    r"|\bAIza[\w*-]{10,}|\bya29\.[\w.*-]{6,}|\bA(?:KIA|SIA)[A-Z0-9]{12,}"
    r"|\beyJ[\w-]{6,}\.[\w-]*(?:\.[\w-]*)*"
    r"|\b[0-9a-fA-F]{32,}\b"
)
_KEY_VALUE = re.compile(
    r"(?i)\b((?:x-)?api[ _-]?key(?: provided)?|access[ _-]?token|secret|password|authorization)"
    r"(\\?[\"']?\s*[:=]\s*\\?[\"']?)(?!\[removed\])[^\s\"'\\,;}<]+"
)
_HOSTS = re.compile(
    r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s\"'<>\\)\]}]+"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"
    r"|\[[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,8}(?:\.[0-9.]{1,12})?\](?::\d{1,5})?"
    r"|\blocalhost(?::\d{1,5})?\b"
    r"|\b(?:[a-zA-Z0-9-]{1,63}\.){1,8}(?:com|net|org|io|ai|dev|app|cloud|co|us|eu|uk|de|fr|cn|jp|in|ru|sh|so|run|tech|site|xyz"
    r"|local|internal|intranet|lan|corp|home|svc|test|example|invalid|localhost)\b(?::\d{1,5})?(?:/[^\s\"'<>\\)]*)?"
)


def redact(text: str) -> str:
    """Return `text` without keys, tokens, addresses and host names; nothing else changes."""
    return _HOSTS.sub("[address]", _KEY_VALUE.sub(r"\1\2[removed]", _SECRETS.sub("[removed]", text)))


def redact_body(body: bytes) -> bytes:
    """Return an upstream's error body without keys, tokens and addresses, for a client of the same dialect.

    JSON stays JSON: nothing that is taken out crosses a quotation mark.
    """
    return redact(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def clean(text: str, fallback: str = "upstream error") -> str:
    """Return at most 500 characters fit for a client: no markup, control characters, keys or addresses."""
    text = text[: LONGEST_TEXT * 32]
    if "<" in text:
        text = _HTML.sub(" ", text)
    text = redact(_CONTROL.sub(" ", text).strip())
    return (text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…") or fallback


# --- what an error means -------------------------------------------------------------------------

_OVERFLOW = re.compile(
    r"maximum context length|context[ _-]?length[ _-]?exceeded|context_window_exceeded|context (?:window|length|size)"
    r"|exceed(?:s|ed)? (?:the )?(?:available |maximum |model'?s? )*context|prompt is too long|input is too long"
    r"|input length and `?max_tokens`? exceed|prompt (?:token count|length) .{0,40}exceeds|too many (?:input )?tokens"
    r"|input token(?:s? exceed| count .{0,40}exceeds)|exceed_context_size|larger than the context"
    r"|longer than the model'?s context|reduce the length of the (?:messages|prompt|input)"
    r"|requested tokens .{0,40}exceed|string too long.{0,40}messages|maximum input length|max_seq_len|max_model_len"
    r"|input (?:text )?is too large for (?:the|this) model",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content[ _-]?(?:management |safety )?(?:policy|filter)|responsible ?ai|safety system|usage polic(?:y|ies)"
    r"|flagged (?:by|as|for)|blocked by .{0,30}(?:safety|guardrail|polic)|guardrail_intervened|violat\w+ .{0,30}polic",
    re.IGNORECASE,
)
_SPENT = re.compile(
    r"insufficient[ _](?:quota|funds|balance|credits?)|exceeded your current quota|credit balance is too low"
    r"|billing hard limit|out of credits",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z][\w.-]{0,63}")


def meaning_of(text: str) -> str | None:
    """Return `context_length_exceeded`, `content_policy_violation` or `insufficient_quota` when `text` says so."""
    if _OVERFLOW.search(text):
        return "context_length_exceeded"
    if _SPENT.search(text):
        return "insufficient_quota"
    return "content_policy_violation" if _POLICY.search(text) else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long an upstream asks to wait, in seconds: `retry-after-ms`, or `retry-after` as seconds or a date.

    A date is measured against the answer's own `date` header, so no clock is needed. Nonsense is None.
    """
    milliseconds, seconds = header(headers, "retry-after-ms"), header(headers, "retry-after")
    for text, unit in ((milliseconds, 0.001), (seconds, 1.0)):
        try:
            value = float(text) * unit
        except ValueError:
            continue
        if 0 <= value < float("inf"):
            return value
    try:
        wait = parsedate_to_datetime(seconds) - parsedate_to_datetime(header(headers, "date"))
        return max(0.0, wait.total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def header(headers: Mapping[str, str], name: str) -> str:
    """Return a header whatever the mapping thinks of case, "" when absent; `name` is lower-case."""
    value = headers.get(name)
    if value is None:
        value = next((text for key, text in headers.items() if key.lower() == name), "")
    return value


def upstream_error(
    kind: UpstreamKind,
    upstream_status: int | None,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    error_type: str | None = None,
    code: object = None,
    param: object = None,
    body: bytes | None = None,
) -> UpstreamError:
    """Return what an upstream's error means to the client, its text cleaned.

    400, 404, 409, 413 and 429 keep their status; 422 is 400 and other refusals are too; 401, 402 and 403 concern the
    gateway's own credential and become 502, as 405 to 407 do, which only a wrong provider entry causes. Without a
    status (an error inside a stream or an answer of 200) the error's type or code gives one.
    """
    status = upstream_status or _status_of(error_type, code)
    meaning = meaning_of(f"{code if isinstance(code, str) else ''} {error_type or ''} {message[:4000]}")
    if meaning == "insufficient_quota":
        shown = 429 if status in (400, 429) else 502
    elif meaning is not None and status in (400, 413, 422, 500):
        shown = 400
    else:
        shown, meaning = _shown_status(status), None
    if meaning is not None and (meaning != "insufficient_quota" or shown < 500):
        stable = meaning
    elif shown >= 500:
        stable = words_of(shown).code
    elif isinstance(code, str) and _CODE.fullmatch(code):
        stable = code
    else:
        stable = "model_not_found" if shown == 404 else words_of(shown).code
    if status in (401, 402, 403):
        message, error_type = "the upstream refused the gateway's credential", None
    content_type = header(headers, "content-type") if headers else ""
    return UpstreamError(
        kind,
        clean(message, f"the upstream answered {status}"),
        status=shown,
        code=stable,
        param=clean(param) if isinstance(param, str) and param else None,
        retry_after_s=retry_after_s(headers) if headers else None,
        upstream_status=upstream_status,
        error_type=error_type if isinstance(error_type, str) and _CODE.fullmatch(error_type) else None,
        body=body,
        content_type=content_type,
    )


def _shown_status(status: int) -> int:
    if status in (404, 409, 413, 429):
        return status
    if status in (401, 402, 403, 405, 406, 407):
        return 502
    if status in (408, 504):
        return 504
    if status in (503, 529):
        return 503
    return 400 if 400 <= status < 500 else 502


def _status_of(error_type: str | None, code: object) -> int:
    if isinstance(code, int) and 400 <= code < 600:
        return code
    if isinstance(code, str):
        if code in _STATUS_OF_NAME:
            return _STATUS_OF_NAME[code]
        if code.isdecimal() and len(code) == 3 and "400" <= code < "600":
            return int(code)
    return _STATUS_OF_NAME.get(error_type or "", 502)
