"""Where a tool's calls go: addresses and headers as the configuration says them, proved before the first call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import encode_basic_auth
from yarl import URL

from gateway.plugin import ConfigError

_NAME: Final = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
OURS: Final = frozenset({"accept-encoding", "connection", "content-length", "transfer-encoding", "x-request-id"})
"""Headers that the gateway writes itself."""
OF_MCP: Final = OURS | {"accept", "content-type", "mcp-protocol-version", "mcp-session-id"}


def called(address: str, given: Mapping[str, str], ours: frozenset[str]) -> tuple[URL, dict[str, str]]:
    """Return where calls go and the headers that go with them; a user in the address is one of these, so that he is as
    secret as they are. Raises: ConfigError."""
    url, headers = url_of(address), headers_of(given, ours)
    if url.user is None and url.password is None:
        return url, headers
    if "authorization" in headers:
        raise ConfigError("there is a user in the address and a header authorization", cure="keep one of them")
    return url.with_user(None), {**headers, "authorization": encode_basic_auth(url.user or "", url.password or "")}


def url_of(text: str) -> URL:
    """Return a configured address. Raises: ConfigError, which does not repeat it: it may hold a secret."""
    try:
        url = URL(text)
        if url.host and url.port and not re.search(r"[\s\x00-\x1f\x7f]", text):
            return url
        problem = "it has white space in it" if url.host and url.port else "it has no host or no port"
    except ValueError as error:
        problem = str(error).replace(text, "it")
    raise ConfigError(f"the address cannot be used: {problem}", cure="write for example http://127.0.0.1:8082/search")


def headers_of(given: Mapping[str, str], ours: frozenset[str]) -> dict[str, str]:
    """Return configured headers by their names in small letters; `ours` are no operator's to set.

    Raises: ConfigError, which does not repeat a value.
    """
    headers: dict[str, str] = {}
    for name, value in given.items():
        small = name.lower()
        if not _NAME.fullmatch(name):
            raise ConfigError(f'"{name}" is no name of a header', cure="letters, digits and - will do")
        if small in ours:
            raise ConfigError(f'the header "{name}" is the gateway\'s own', cure="remove it")
        if small in headers:
            raise ConfigError(f'the header "{name}" stands twice', cure="keep one of them")
        if _UNSENDABLE.search(value):
            raise ConfigError(
                f'the value of the header "{name}" has a line break or another control character',
                cure="write it on one line",
            )
        headers[small] = value
    return headers
