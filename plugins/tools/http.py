"""A tool that is a web service: the arguments go out as JSON or as a query, the answer is the result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from .addresses import OURS, called
from .arguments import written
from .registry import Result, ToolFailed, cleaned, of_json, of_text

CONNECT_S: Final = 5.0
NO_LIMIT: Final = ClientTimeout(total=None, sock_connect=CONNECT_S)
"""Every call is limited as a whole, from outside."""
_LARGEST_ERROR_BYTES: Final = 4096
_CREDENTIAL: Final = re.compile("auth|key|token|secret|password|credential|cookie", re.IGNORECASE)


class HttpTool:
    """Runs calls against one address, which the configuration alone says.

    SECURITY: of what a model writes nothing reaches the address but an encoded query; redirects are not followed; what
    a service repeats of the secrets in the configured headers is taken out.
    """

    def __init__(self, options: Mapping[str, Any], http: Callable[[], ClientSession], max_bytes: int) -> None:
        self._method: str = options["method"]
        self._url, own = called(options["url"], options["headers"], OURS)
        kind = {} if self._method == "GET" else {"content-type": "application/json"}
        self._headers = {**kind, **own, "accept-encoding": "identity"}
        self._http, self._max_bytes = http, max_bytes
        self._secrets = secrets_of(own)

    async def run(self, arguments: dict[str, Any], request_id: str) -> Result:
        """Return what the service answers. Raises: ToolFailed."""
        url, body, headers = self._url, None, {**self._headers, "x-request-id": request_id}
        if self._method == "GET":
            fixed = next((name for name in arguments if name in url.query), None)
            if fixed is not None:
                raise ToolFailed(f'the argument "{cleaned(fixed, 60)}" is fixed by the configuration')
            url = url.extend_query(_query(arguments))
        else:
            body = written(arguments)
        try:
            async with self._http().request(
                self._method, url, data=body, headers=headers, allow_redirects=False, timeout=NO_LIMIT
            ) as response:
                return await self._read(response)
        except (TimeoutError, ClientError, OSError) as error:
            raise ToolFailed(f"it could not be reached ({type(error).__name__})") from error

    async def _read(self, response: ClientResponse) -> Result:
        kind = response.content_type
        if not 200 <= response.status < 300:
            told = await _told(response, self._secrets)
            raise ToolFailed(f"it answered {response.status}{told}")
        body = without(self._secrets, await read_capped(response, self._max_bytes))
        if kind == "application/json" or kind.endswith("+json"):
            return of_json(body or b"null")
        try:
            return of_text(body.decode("utf-8"))
        except UnicodeDecodeError:
            raise ToolFailed(f"it answered with {cleaned(kind, 60)}, which is no text") from None


async def read_capped(response: ClientResponse, max_bytes: int) -> bytes:
    """Return a body of `max_bytes` at the most. Raises: ToolFailed as soon as it is more."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ToolFailed("it answered compressed, which was not asked for")
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > max_bytes:
            response.close()
            raise ToolFailed(f"its result is over {max_bytes} bytes, the most that is taken")
        pieces.append(piece)
    return b"".join(pieces)


def secrets_of(headers: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return what of configured headers nobody may read: whole credentials, and what stands behind their scheme."""
    values = [value for name, value in headers.items() if _CREDENTIAL.search(name)]
    found = {word for value in values for word in (value, value.rpartition(" ")[2]) if len(word) >= 6}
    return tuple(sorted((word.encode() for word in found), key=len, reverse=True))


def without(secrets: tuple[bytes, ...], body: bytes) -> bytes:
    """Return `body` with every secret blotted out."""
    for secret in secrets:
        body = body.replace(secret, b"***")
    return body


async def _told(response: ClientResponse, secrets: tuple[bytes, ...]) -> str:
    """Return what a refusal says of its reason, as far as it is short text."""
    if response.content_type == "text/html" or "content-encoding" in response.headers:
        return ""
    text = without(secrets, await response.content.read(_LARGEST_ERROR_BYTES)).decode("utf-8", "replace")
    words = cleaned(text)
    return f": {words}" if words else ""


def _query(arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return arguments as a query: a list is one name several times, null is left out, an object JSON."""
    pairs: list[tuple[str, str]] = []
    for name, value in arguments.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                pairs.append((name, one if isinstance(one, str) else json.dumps(one)))
    return pairs
