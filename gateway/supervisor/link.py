"""A line between two processes of the group: each may ask, each answers by name.

Messages are JSON, one a line. Whoever speaks here was forked by the supervisor: the socket lies in a folder that only
its user may enter.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.group import Answerer

LONGEST_BYTES = 64 * 1024 * 1024
ANSWER_S = 10.0
"""How long an answer is waited for: a reload that starts plugins may take its time, a hung process may not take all."""

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class LinkLost(ConnectionError):
    """The other side is gone, or does not answer."""


class Link:
    """One end of a line. `answers` are looked up when asked, so that they may be added later."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: dict[str, Answerer]
    ) -> None:
        self._reader, self._writer, self.answers = reader, writer, answers
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self.facts: dict[str, Any] = {}
        """What is known of the other side."""

    async def run(self, on_end: Callable[[Link], None] | None = None) -> None:
        """Serve until the other side is gone."""
        try:
            while line := await self._reader.readline():
                message = _decode(line)
                if "ask" in message:
                    task = asyncio.get_running_loop().create_task(self._answer(message))
                    self._working.add(task)
                    task.add_done_callback(self._working.discard)
                elif (waiting := self._waiting.get(message["id"])) is not None and not waiting.done():
                    if "errors" in message:
                        waiting.set_exception(config_errors(message["errors"]))
                    elif "broke" in message:
                        waiting.set_exception(LinkLost(message["broke"]))
                    else:
                        waiting.set_result(message["answer"])
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # as if it had ended
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(LinkLost("the other process is gone"))
            self._writer.close()
            if on_end is not None:
                on_end(self)

    async def ask(self, what: str, given: Any = None) -> Any:
        """Return the other side's answer. Raises: LinkLost, ConfigError when it refuses."""
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(_encode({"id": number, "ask": what, "given": given}) + b"\n")
            async with asyncio.timeout(ANSWER_S):
                return await waiting
        except (TimeoutError, OSError) as error:
            raise LinkLost(f"no answer to {what}") from error
        finally:
            del self._waiting[number]

    async def _answer(self, message: dict[str, Any]) -> None:
        answer = self.answers.get(message["ask"])
        reply: dict[str, Any] = {"id": message["id"]}
        try:
            reply["answer"] = await answer(message["given"]) if answer is not None else None
        except ConfigError as error:
            reply["errors"] = as_facts(error)
        except Exception as error:  # a plugin's answer: whoever asked must not wait for one that will not come
            reply["broke"] = f"{type(error).__name__}: {error}"
        if not self._writer.is_closing():
            self._writer.write(_encode(reply) + b"\n")

    @property
    def is_closed(self) -> bool:
        """Whether this line has ended, from whichever side."""
        return self._writer.is_closing()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def as_facts(error: ConfigError) -> list[dict[str, Any]]:
    """Return the errors as JSON."""
    errors = error.errors if isinstance(error, ConfigErrors) else [error]
    return [
        {"problem": e.problem, "file": e.file, "line": e.line, "column": e.column, "path": e.path, "cure": e.cure}
        for e in errors
    ]


def config_errors(facts: list[dict[str, Any]]) -> ConfigErrors:
    """Return the errors that `as_facts` wrote."""
    return ConfigErrors([ConfigError(each.pop("problem"), **each) for each in facts])
