"""What goes upstream is what the official packages could send, and odd values anywhere are carried or refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.dialects.protocol import Target
from gateway.dialects.table import DIALECTS
from gateway.errors import BadRequest
from tests.dialects.package_shapes import faults
from tests.dialects.test_audit_requests_unknown import BODIES, Path

NAMES = ("openai_chat", "anthropic", "openai_responses", "ollama")
ODD: tuple[Any, ...] = (None, "", [], {}, -1, 10**400, True, [None], [{}], {"type": "x"}, "data:image/png;base64")


def without_audio(value: Any) -> Any:
    """Return a request without sound, which the openai package's types leave out of Responses' messages."""
    if isinstance(value, dict):
        return {name: without_audio(member) for name, member in value.items()}
    if isinstance(value, list):
        return [
            without_audio(item) for item in value if not isinstance(item, dict) or item.get("type") != "input_audio"
        ]
    return value


def rendered(source: str, target: str, body: dict[str, Any]) -> dict[str, Any]:
    model = "claude-sonnet-4-5" if target == "anthropic" else "m"
    chat = DIALECTS[source].parse_request(json.dumps({"model": "m", **body}).encode())
    out: dict[str, Any] = json.loads(DIALECTS[target].render_request(chat, Target(model=model)).body)
    return out


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_rendered_request_fits_the_official_packages_types(source: str, target: str) -> None:
    for body in BODIES[source]:
        got = rendered(source, target, without_audio(body))
        if target == "anthropic":
            got.pop("temperature", None)  # still taken by API version 2023-06-01; the package knows only the newer one
        assert faults(target, got) == []


def test_faults_are_found() -> None:
    good = rendered("ollama", "openai_chat", {"messages": [{"role": "user", "content": "x"}], "stream": False})
    assert faults("openai_chat", good) == []
    assert faults("openai_chat", {**good, "options": {}}) == [".options: unknown to CompletionCreateParamsNonStreaming"]
    assert faults("openai_chat", {**good, "messages": [{"role": "user", "content": 5}]})


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value inside."""
    if path:
        yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, member in members:
        yield from places(member, (*path, step))


@pytest.mark.parametrize("source", NAMES)
def test_odd_value_anywhere_is_carried_or_refused(source: str) -> None:
    for body in BODIES[source]:
        for path in places(body):
            for odd in ODD:
                changed: Any = copy.deepcopy(body)
                at = changed
                for step in path[:-1]:
                    at = at[step]
                at[path[-1]] = odd
                for target in NAMES:
                    try:
                        rendered(source, target, changed)
                    except BadRequest as refused:
                        assert refused.status == 400
