"""An MCP server's protocol over streamable HTTP: one session, requests and their answers.

Facts from the specification of 2025-11-25 and the types of the `mcp` 2.3 package (November 2026): every message is a
POST; the answer is JSON or an event stream that ends with it; `mcp-session-id` comes with the answer to `initialize`
and goes with all that follows; a session that is gone is 404. Revisions since (2026-07-28) need no handshake; servers
of them still take it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import ClientError, ClientResponse, ClientSession

from .http import NO_LIMIT, read_capped, secrets_of, without
from .registry import ToolFailed, cleaned
from .sse import messages, of_body

OFFERED: Final = "2025-11-25"
KNOWN: Final = frozenset({"2025-03-26", "2025-06-18", OFFERED})
LIST_CHANGED: Final = "notifications/tools/list_changed"
_METHOD_NOT_FOUND: Final = -32601
_LAST_WORD_S: Final = 1.0
_encode = msgspec.json.encode


class SessionGone(Exception):
    """The server knows this session no longer; a new one may be begun."""


class Connection:
    """One session with one server. `on_list_changed` is called when it says that its tools have changed."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        http: Callable[[], ClientSession],
        on_list_changed: Callable[[], None],
    ) -> None:
        self._url, self._http, self._on_list_changed = url, http, on_list_changed
        self._own = {**headers, "accept-encoding": "identity"}
        self.secrets = secrets_of(headers)
        self._session: dict[str, str] = {}
        self._number = 0
        self._beside: set[asyncio.Task[Any]] = set()
        self.is_open = False

    async def open(self, max_bytes: int) -> None:
        """Begin a session. Raises: ToolFailed."""
        self.is_open, self._session = False, {}
        asked = {"protocolVersion": OFFERED, "capabilities": {}, "clientInfo": {"name": "llm-gateway", "version": "1"}}
        answer = await self._ask("initialize", asked, max_bytes)
        version = answer.get("protocolVersion")
        if version not in KNOWN:
            raise ToolFailed(f"its server speaks {cleaned(str(version), 40)}, which is not known here")
        self._session["mcp-protocol-version"] = str(version)
        await self._tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.is_open = True

    async def ask(self, method: str, params: Mapping[str, Any], max_bytes: int) -> dict[str, Any]:
        """Return the result of a request. Raises: ToolFailed, SessionGone."""
        return await self._ask(method, params, max_bytes)

    async def listen(self) -> bool:
        """Take what the server says unasked until its stream ends; False when it never has one. Raises: ToolFailed.

        Asked for whatever the server says that it can do: the `mcp` package's own server tells of changes there
        although it says that it does not.
        """
        headers = {**self._own, **self._session, "accept": "text/event-stream"}
        try:
            async with self._http().get(
                self._url, headers=headers, allow_redirects=False, timeout=NO_LIMIT
            ) as response:
                if response.status != 200 or response.content_type != "text/event-stream":
                    return response.status != 405
                async for message in messages(response, None, self.secrets):
                    self._take_unasked(message)
        except (ClientError, OSError) as error:
            raise ToolFailed(f"its server left ({type(error).__name__})") from error
        return True

    async def close(self) -> None:
        """End the session, as far as the server still listens."""
        for task in self._beside:
            task.cancel()
        if "mcp-session-id" not in self._session:
            return
        with contextlib.suppress(ClientError, OSError, TimeoutError):
            async with (
                asyncio.timeout(_LAST_WORD_S),
                self._http().delete(
                    self._url, headers={**self._own, **self._session}, allow_redirects=False, timeout=NO_LIMIT
                ),
            ):
                pass

    async def _ask(self, method: str, params: Mapping[str, Any], max_bytes: int) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        try:
            async with self._post(message) as response:
                if method == "initialize" and (given := response.headers.get("mcp-session-id")):
                    self._session["mcp-session-id"] = given
                async for said in self._said(response, max_bytes):
                    if said.get("id") == number and ("result" in said or "error" in said):
                        return self._result(said)
                    self._take_unasked(said)
        except (ClientError, OSError) as error:
            raise ToolFailed(f"its server could not be reached ({type(error).__name__})") from error
        except asyncio.CancelledError:
            if method != "initialize":
                params = {"requestId": number, "reason": "not waited for any longer"}
                self._say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
            raise
        raise ToolFailed("its server ended without an answer")

    async def _said(self, response: ClientResponse, max_bytes: int) -> AsyncIterator[dict[str, Any]]:
        kind = response.content_type
        if response.status == 404 and "mcp-session-id" in self._session:
            self.is_open = False
            raise SessionGone
        if kind == "text/event-stream" and response.status == 200:
            async for message in messages(response, max_bytes, self.secrets):
                yield message
            return
        if kind == "application/json":  # with 4xx too: there it may say what was wrong
            for message in of_body(without(self.secrets, await read_capped(response, max_bytes))):
                yield {"id": self._number, **message} if response.status >= 400 else message
        if response.status != 200 or kind != "application/json":
            raise ToolFailed(f"its server answered {response.status} with {cleaned(kind, 60)}")

    def _result(self, said: Mapping[str, Any]) -> dict[str, Any]:
        error, result = said.get("error"), said.get("result")
        if error is not None:
            words = str(error.get("message", "")) if isinstance(error, dict) else str(error)
            raise ToolFailed(without(self.secrets, cleaned(words).encode()).decode() or "its server refused the call")
        if not isinstance(result, dict):
            raise ToolFailed("its server answered without a result")
        return result

    def _take_unasked(self, said: Mapping[str, Any]) -> None:
        """Take a notification, or answer a request of the server's own: a ping, or what this client does not do."""
        method = said.get("method")
        if method == LIST_CHANGED:
            self._on_list_changed()
        elif method is not None and "id" in said:
            refusal = {"code": _METHOD_NOT_FOUND, "message": "not offered by this client"}
            outcome: dict[str, Any] = {"result": {}} if method == "ping" else {"error": refusal}
            self._say({"jsonrpc": "2.0", "id": said["id"], **outcome})

    def _say(self, message: Mapping[str, Any]) -> None:
        """Send a message beside what is going on; nobody waits for it."""
        task = asyncio.get_running_loop().create_task(self._quietly(message))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _quietly(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(ToolFailed, ClientError, OSError, TimeoutError):
            async with asyncio.timeout(_LAST_WORD_S):
                await self._tell(message)

    async def _tell(self, message: Mapping[str, Any]) -> None:
        try:
            async with self._post(message) as response:
                if response.status not in (200, 202, 204):
                    raise ToolFailed(f"its server answered {response.status}")
        except (ClientError, OSError) as error:
            raise ToolFailed(f"its server could not be reached ({type(error).__name__})") from error

    def _post(self, message: Mapping[str, Any]) -> Any:
        headers = {
            **self._own,
            **self._session,
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
        }
        return self._http().post(
            self._url, data=_encode(message), headers=headers, allow_redirects=False, timeout=NO_LIMIT
        )
