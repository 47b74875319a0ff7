"""A scripted upstream and a manual clock, for the gateway's tests and for tests of your own plugins.

`ScriptedUpstream` is a raw-byte HTTP server on 127.0.0.1: it records every request and answers by script,
down to the single segment, so that every way an upstream can fail can be written down:

    async with ScriptedUpstream(reply_json({"ok": True})) as upstream:       # every request gets the same
        ...                                                                 # talk to upstream.url
        request = await upstream.wait_for_request()
        assert request.json() == {"model": "m"}

    gate = Gate()
    script = [reply_sse([{"n": 1}, gate, Reset()]), reply_bytes(b"", 503)]   # one answer a request, the last repeats
    async with ScriptedUpstream(script) as upstream:
        await gate.reached()            # the first event is out; the upstream now waits
        gate.open()                     # and now resets the connection

An answer is bytes, a step, or a sequence of both; a script is one answer, a list of answers, or a function of
the request that returns an answer. Nothing here sleeps: an upstream that must be slow waits at a `Gate`.
"""

from gateway.scripted.answers import (
    Answer,
    Close,
    Gate,
    ReceivedRequest,
    Reset,
    Script,
    Send,
    Stall,
    Step,
    reply_bytes,
    reply_json,
    reply_sse,
)  # fmt: skip
from gateway.scripted.clock import ManualClock
from gateway.scripted.server import Connection, ScriptedUpstream

__all__ = [
    "Answer", "Close", "Connection", "Gate", "ManualClock", "ReceivedRequest", "Reset", "Script", "ScriptedUpstream",
    "Send", "Stall", "Step", "reply_bytes", "reply_json", "reply_sse",
]  # fmt: skip
