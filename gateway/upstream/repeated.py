"""What an upstream repeats of what it was sent: our credentials and headers are taken out of its errors.

`dialects.errors.redact` knows what keys look like. A key of one's own server looks like anything, and only who sent it
knows it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from gateway.errors import GatewayError, UpstreamError
from gateway.upstream.provider import Provider

REMOVED = "[removed]"
CUT = "…"
"""How a text ends that was cut at its longest."""
LEAST = 6
"""What is shorter is too common a word to be a credential."""
OPEN = frozenset(
    {"accept", "accept-language", "anthropic-beta", "anthropic-version", "content-type", "openai-beta", "user-agent"}
)
"""Headers that hold words of a protocol, and no secret."""


def conceal(error: GatewayError, provider: Provider, client: Mapping[str, str]) -> None:
    """Take what `provider` was sent in confidence out of what it says of an error; `client` are the client's headers,
    of which a passed-through credential is one."""
    if not isinstance(error, UpstreamError):
        return
    secrets = list(_secrets(provider, client))
    error.message = without(error.message, secrets)
    error.args = (error.message, *error.args[1:])
    if error.param is not None:
        error.param = without(error.param, secrets)
    if any(secret in error.code for secret in secrets):
        error.code = "upstream_error"
    if error.body is not None:
        error.body = _without_bytes(error.body, secrets)


def concealed(said: bytes, provider: Provider, client: Mapping[str, str]) -> bytes:
    """Return an upstream's error event without what `provider` was sent in confidence."""
    return _without_bytes(said, list(_secrets(provider, client)))


def without(text: str, secrets: list[str]) -> str:
    """Return `text` without any of `secrets`, nor the beginning of one at which it was cut."""
    for secret in secrets:
        text = text.replace(secret, REMOVED)
    if text.endswith(CUT):
        body = text[: -len(CUT)]
        for secret in secrets:
            for count in range(len(secret) - 1, LEAST - 1, -1):
                if body.endswith(secret[:count]):
                    return body[:-count] + REMOVED
    return text


def _without_bytes(said: bytes, secrets: list[str]) -> bytes:
    for secret in secrets:
        as_json = msgspec.json.encode(secret)[1:-1]
        for form in {secret.encode("utf-8", "surrogateescape"), as_json, as_json.replace(b"/", b"\\/")}:
            said = said.replace(form, REMOVED.encode())
    return said


def _secrets(provider: Provider, client: Mapping[str, str]) -> Iterator[str]:
    """Yield the longest forms first: a header's value whole, then what stands behind `Bearer`."""
    values = [value for name, value in provider.headers.items() if name.lower() not in OPEN]
    if provider.auth == "passthrough":
        values += [client.get("authorization", ""), client.get("x-api-key", "")]
    values += [key.reveal() for key in provider.credentials]
    words = {value.strip() for value in values} | {value.rpartition(" ")[2] for value in values}
    yield from sorted((word for word in words if len(word) >= LEAST), key=len, reverse=True)
