"""One answer out of bytes: what llhttp's callbacks collect, and what they refuse.

Chunks go from the C parser straight into a list: `on_body` is the list's own `append`, no Python frame. llhttp, strict
as httptools sets it up, itself refuses both lengths at once, two lengths, signs and lists in a length, bare CR and LF,
controls in headers, folded lines and bad chunk sizes (probed with httptools 0.9, November 2026).
"""

from __future__ import annotations

import httptools
from multidict import CIMultiDict

from gateway.errors import UpstreamError
from gateway.upstream.transport import AnswerHead

MAX_HEAD_BYTES = 64 * 1024
MAX_INTERIM = 16

IDLE, HEAD, BODY, DONE, CLOSED = range(5)
"""In the pool · waiting for a head · inside a body · answer complete · closed, or being closed."""


VERSIONS = frozenset(("1.1", "1.0"))
MOST_KNOWN = 1024
LONGEST_KNOWN = 4096


class KnownHeads:
    """Heads that llhttp has read of answers that came whole: the same bytes mean the same again, and are not parsed
    again. One for all connections of an origin.

    A head is known when it has come twice. Servers differ in what changes from one to the next, the date a second or
    an id each time: what never comes again is not prepared for it.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, AnswerHead | None] = {}

    def find(self, head: bytes) -> AnswerHead | None:
        """Return what `head`, up to its empty line, was read as; None when it is new."""
        return self._known.get(head)

    def learn(self, head: bytes, read: AnswerHead) -> None:
        """Remember what `head` was read as."""
        if head in self._known:
            self._known[head] = read.share()
        elif len(head) <= LONGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[head] = None


NO_HEAD = AnswerHead(0, CIMultiDict()).share()


class AnswerParser:
    """The state of the answer that is being read. `known` are the heads that came before.

    `received` counts its bytes so far, heads of interim answers included; `held` those of its body that nobody has
    taken, `barren` those since the last of its body. `error` is what broke it; `reusable` says, once DONE, whether the
    connection may carry another.
    """

    __slots__ = (
        "_chunks", "_counted", "_interim", "_known", "_method", "_parser", "_raw_headers", "barren", "error", "head",
        "held", "on_body", "received", "reusable", "state",
    )  # fmt: skip

    def __init__(self, known: KnownHeads) -> None:
        self._known = known
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._interim = self._counted = self.barren = self.held = 0
        self._method = ""
        self.state = IDLE
        self.received = 0
        self.head = NO_HEAD
        self.reusable = False
        self.error: BaseException | None = None

    def take_whole(self, data: bytes) -> bool:
        """Take an answer that lies in one segment, under a head that is known; False leaves it to the parser."""
        end = data.find(b"\r\n\r\n")
        head = self._known.find(data[:end])
        if head is None or len(data) - end - 4 != head.length or self._method == "HEAD":
            return False
        self.received = len(data)
        self.head = head
        self._chunks.append(data[end + 4 :])
        self.state = DONE
        self.reusable = True
        return True

    def learn(self, data: bytes) -> None:
        """Know the head of an answer that came whole, and kept the connection, when it comes again."""
        end = data.find(b"\r\n\r\n")
        if self.head.status == 200 and self.head.length == len(data) - end - 4 and not self._interim:
            self._known.learn(data[:end], self.head)

    def hold(self) -> None:
        """Keep what a segment brought as one piece, and count it."""
        chunks, counted = self._chunks, self._counted
        if len(chunks) > counted:
            self.barren = 0
            joined = b"".join(chunks[counted:])
            chunks[counted:] = [joined]
            self._counted += 1
            self.held += len(joined)

    def taken(self) -> bytes:
        """Return what has come of the body, which is then no longer here."""
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        return data

    def on_message_begin(self) -> None:
        if self.state == DONE:
            # SECURITY: a second answer behind the first; stop the parser before it mixes the two.
            raise ValueError("bytes behind the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.state == HEAD:  # trailers come later, and nobody reads them
            self._raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, raw = self._parser, self._raw_headers
        self._raw_headers = []
        assert parser is not None
        if self.received > MAX_HEAD_BYTES and sum(len(name) + len(value) + 4 for name, value in raw) > MAX_HEAD_BYTES:
            self._refuse(head_too_large())
        status = parser.get_status_code()
        if status < 200:  # the interim answers, RFC 9110 section 15.2
            self._interim += 1
            if self._interim > MAX_INTERIM or status < 100 or status == 101:
                self._refuse(UpstreamError("broken", "the upstream sent interim answers that were not asked for"))
            return
        if parser.get_http_version() not in VERSIONS:
            self._refuse(UpstreamError("broken", "the upstream answered in an unknown HTTP version"))
        try:
            headers = CIMultiDict([(name.decode(), value.decode()) for name, value in raw])
        except UnicodeDecodeError:
            headers = CIMultiDict([(name.decode(), value.decode("utf-8", "surrogateescape")) for name, value in raw])
        coding = headers.getall("transfer-encoding", None)
        if coding is not None and (len(coding) > 1 or coding[0].lower() != "chunked"):
            self._refuse(UpstreamError("broken", "the upstream used a transfer coding that was not asked for"))
        self.head = AnswerHead(status, headers)
        self.state = BODY
        if self._method == "HEAD":
            # llhttp would wait for the body that content-length promises, and httptools has no way to tell it
            # otherwise: the connection is not used again.
            self.state = DONE
            self.reusable = False

    def on_message_complete(self) -> None:
        if self.state == BODY:
            self.state = DONE
            assert self._parser is not None
            self.reusable = self._parser.should_keep_alive()

    def _refuse(self, error: UpstreamError) -> None:
        """Stop the parser from inside a callback; `data_received` finds the reason in `error`."""
        self.error = error
        raise error


def head_too_large() -> UpstreamError:
    """Return the error for a head over MAX_HEAD_BYTES."""
    return UpstreamError("broken", f"the head of the upstream's answer is larger than {MAX_HEAD_BYTES} bytes")


def too_large() -> UpstreamError:
    """Return the error for a body over what its reader takes."""
    return UpstreamError("bad_response", "the upstream's answer is too large")


def as_upstream_error(error: BaseException) -> UpstreamError:
    """Return what broke an answer as its reader is told it."""
    if isinstance(error, UpstreamError):
        return error
    return UpstreamError("broken", "the request could not be sent to its end")
