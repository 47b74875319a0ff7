"""JSON logs, redaction, request ids.

One JSON object a line on stderr: `ts` (RFC 3339, UTC, milliseconds), `level`, `event`, then the fields given. Lines
below WARNING are written together, at most FLUSH_S late. Nothing that looks like a credential, and no credential made
known to the redactor, reaches a line.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TextIO

import msgspec

FLUSH_S = 0.05
LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
SECRET_SHAPES = (
    rb"(?:sk|gsk|xai|sess|key)-[A-Za-z0-9_\-]{12,}|gw-[A-Za-z0-9_\-]{43}|AIza[A-Za-z0-9_\-]{30,}"
    rb"|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*|[Bb](?:earer|asic) +[A-Za-z0-9._~+/\-]{8,}=*"
    rb"|(?i:(?<=api-key\":\")|(?<=cookie\":\"))[^\"\\]+"
    rb"|(?i:(?<=api_key=)|(?<=api-key=)|(?<=[?&]key=))[^&\s\"\\]+|(?<=://)[^/\s\"@]*:[^/\s\"@]+(?=@)"
)
"""What credentials look like: key prefixes (OpenAI, Anthropic, Groq, xAI, this gateway, Google), JWTs, authorization
values; and where they stand, whatever they look like: in headers, in a URL's query and before its host."""
SIGNS = (
    b"sk-", b"gw-", b"xai-", b"sess-", b"key-", b"AIza", b"eyJ", b"earer ", b"asic ",
    b'ey":"', b'ookie":"', b"ey=", b"@",
)  # fmt: skip
"""What no text with such a credential is without."""
ORDINARY = (
    b'{"ts":"2026-11-22T10:20:30.123Z","level":"info","event":"request","request_id":"0123456789abcdef","method":"POST",'
    b'"path":"/v1/chat/completions","principal":"a-b","route":"b","target":"openai/gpt-4o","attempts":1,"status":200,'
    b'"outcome":"completed","error_code":null,"stream":false,"duration_ms":1.2,"ttft_ms":null,"prompt_tokens":6}'
)
"""A line as nearly all are: what it has nothing of is rare."""
VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
IDS_AT_ONCE = 256
LONGEST_MESSAGE = 1000
_ids: list[str] = []
_encode = msgspec.json.Encoder(enc_hook=str).encode


def new_request_id() -> str:
    """Return a fresh request id: 32 hex digits, the time in milliseconds at which a few hundred were made and 80 random
    bits. What follows in time stands together in the ledger's index: random ids alone cost 70 µs more for each row
    once there were ten million (measured November 2026)."""
    try:
        return _ids.pop()
    except IndexError:
        made_at, many = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10 * IDS_AT_ONCE).hex()
        _ids.extend(made_at + many[at : at + 20] for at in range(0, len(many), 20))
        return _ids.pop()


def request_id(given: str | None) -> str:
    """Return the client's own id when it is 1 to 128 visible ASCII characters, else a fresh one."""
    return given if given is not None and VISIBLE.fullmatch(given) else new_request_id()


class Redactor:
    """Replaces credentials in text with `***`."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._pattern = re.compile(SECRET_SHAPES)
        self._signs = _with_rarest(SIGNS)

    def add(self, values: Iterable[str]) -> None:
        """Never show these again; values under 6 characters are too common to replace and are left.

        A value is known as it is and as JSON writes it.
        """
        for value in values:
            if len(value) >= 6:
                self._known |= {value.encode("utf-8", "replace"), _encode(value)[1:-1]}
        known = sorted((re.escape(value) for value in self._known), key=len, reverse=True)
        self._pattern = re.compile(b"|".join([*known, SECRET_SHAPES]))
        self._signs = _with_rarest((*SIGNS, *self._known))

    def clean(self, text: bytes) -> bytes:
        """Return `text` with every credential replaced."""
        # A dozen searches for fixed words cost a tenth of one for the expression, which is rarely needed; and one for
        # a single byte, which the processor compares by dozens, a hundredth of one for a word.
        for rarest, sign in self._signs:
            if rarest in text and sign in text:
                return self._pattern.sub(b"***", text)
        return text


def _with_rarest(signs: Iterable[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """Return each sign behind the one of its bytes that ordinary lines have the least of."""
    return tuple((bytes([min(sign, key=ORDINARY.count)]), sign) for sign in signs)


class Logger:
    """Writes lines of at least `level`, as JSON or (`form` text) as `ts LEVEL event key=value …`.

    `form` None leaves the choice to `prefer_form`, JSON until then.
    """

    def __init__(
        self,
        level: str = "info",
        form: str | None = None,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._threshold = LEVELS[level]
        self._text = form == "text"
        self._form_is_given = form is not None
        self._stream = stream
        self._now = now
        self._second = self._now_ms = -1
        self._shown = ""
        self._prefix = ""
        self._pending: list[bytes] = []
        self._schedule: Callable[[Callable[[], None]], Any] | None = None
        self.redactor = Redactor()

    def set_level(self, level: str) -> None:
        """Change the threshold: debug info warning error critical."""
        self._threshold = LEVELS[level]

    def prefer_form(self, form: str) -> None:
        """Change the form of lines, json or text, unless it was given from outside."""
        if not self._form_is_given:
            self._text = form == "text"

    def batch_with(self, schedule: Callable[[Callable[[], None]], Any] | None) -> None:
        """Collect lines below WARNING until `schedule` calls back; None writes each at once.

        A write costs the kernel more than making the line did, so a busy gateway makes one for many.
        """
        self.flush()
        self._schedule = schedule

    def is_enabled(self, level: str) -> bool:
        """Return whether a line of `level` would be written."""
        return LEVELS[level] >= self._threshold

    def debug(self, event: str, **fields: Any) -> None:
        """Each step, with what it was decided on."""
        if self._threshold <= 10:
            self.line("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Access and life cycle."""
        if self._threshold <= 20:
            self.line("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Degraded, still serving."""
        if self._threshold <= 30:
            self.line("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """A request failed through the gateway's or an upstream's fault."""
        if self._threshold <= 40:
            self.line("error", event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        """Cannot start, or cannot serve."""
        self.line("critical", event, fields)

    def line(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write one line, whatever the threshold; fields that are None are left out in text form only."""
        ts = self._timestamp()
        if self._text:
            rest = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
            text = f"{ts} {level.upper():8} {event} {rest}".rstrip().replace("\n", "\\n").encode("utf-8", "replace")
        else:
            try:
                head = b'{"ts":"' + ts.encode() + head_of(level, event)
                text = head + b"," + _encode(fields)[1:] if fields else head + b"}"
            except UnicodeEncodeError:  # a lone surrogate, which JSON cannot carry
                shown = {name: repr(value) for name, value in fields.items()}
                text = _encode({"ts": ts, "level": level, "event": event, **shown})
        self._pending.append(text)
        if self._schedule is None or LEVELS[level] >= 30:
            self.flush()
        elif len(self._pending) == 1:
            self._schedule(self.flush)

    def flush(self) -> None:
        """Write what is collected."""
        if not self._pending:
            return
        # Cleaned together: looking for credentials costs less in one long text than in many short ones.
        lines = self.redactor.clean(b"\n".join(self._pending)) + b"\n"
        self._pending.clear()
        try:
            if self._stream is None:
                write_all(2, lines)
            else:
                self._stream.write(lines.decode("utf-8", "replace"))
                self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody is left to tell: stderr itself is gone

    def _timestamp(self) -> str:
        now_ms = int(self._now() * 1000)
        if now_ms != self._now_ms:
            self._now_ms = now_ms
            second, ms = divmod(now_ms, 1000)
            if second != self._second:
                self._second = second
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._shown = f"{self._prefix}.{ms:03d}Z"
        return self._shown


class Unheard(logging.Handler):
    """Takes what libraries log and nobody handles, from any thread: Python would write it to stderr as it is, where
    every line is one JSON object and no credential stands."""

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._log, self._own = log, Logger(stream=log._stream)
        self._own.redactor = log.redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. The lock of `handle` keeps threads apart."""
        level = "warning" if record.levelno < logging.ERROR else "error"
        if not self._log.is_enabled(level):
            return
        self._own._text = self._log._text
        error = record.exc_info[1] if record.exc_info else None
        self._own.line(
            level,
            "library",
            {
                "logger": record.name,
                "message": record.getMessage()[:LONGEST_MESSAGE],
                "error": None if error is None else f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE],
            },
        )


@lru_cache(maxsize=256)
def head_of(level: str, event: str) -> bytes:
    """Return how a line goes on after its time. Remembered: events are few."""
    return b'","level":"%b","event":%b' % (level.encode(), _encode(event))


def write_all(descriptor: int, data: bytes) -> None:
    """Write `data` whole, however many calls the kernel needs."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
