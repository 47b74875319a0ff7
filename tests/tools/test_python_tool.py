"""Tools that are Python functions: their types, their faults, their threads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.kit import executed, running

CODE = '''
import asyncio
import enum
import threading
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from msgspec import Meta

STARTED, RELEASE = threading.Event(), threading.Event()

@dataclass
class Point:
    x: int
    y: float = 0.0

class Box(TypedDict):
    label: str
    points: list[Point]

class Colour(enum.Enum):
    RED = "red"

def typed(
    point: Point, box: Box, colour: Colour, way: Literal["in", "out"], size: Annotated[int, Meta(ge=1, le=9)],
    words: list[str] | None = None,
) -> dict[str, object]:
    """Take every kind.

    More words that are not the description.

    Args:
        point: Where it is.
        way (str): Which way.
    """
    return {"x": point.x, "label": box["label"], "first": box["points"][0].y, "colour": colour, "words": words}

async def slowly(text: str) -> str:
    await asyncio.sleep(0)
    return text

def thread() -> str:
    return threading.current_thread().name

def hang() -> str:
    STARTED.set()
    RELEASE.wait()
    return "late"

async def hang_async() -> str:
    await asyncio.Event().wait()
    return "late"

def nothing() -> None:
    return None

def unspeakable() -> object:
    return object()

def huge(n: int) -> str:
    return "x" * n

def stop() -> str:
    raise StopIteration("odd")

def leave() -> str:
    raise SystemExit(3)

async def leave_async() -> str:
    raise SystemExit(3)

async def interrupt_async() -> str:
    raise KeyboardInterrupt

async def cancel_async() -> str:
    raise asyncio.CancelledError

def grow(items: list[int] = []) -> int:
    items.append(1)
    return len(items)
'''


def options(*names: str, more: str = "") -> str:
    tools = ", ".join(f'{{python: "t.py:{name}"{more}}}' for name in names)
    return f"{{tools: [{tools}]}}"


async def test_a_schema_says_what_the_types_and_the_docstring_say() -> None:
    async with running(options=options("typed"), files={"t.py": CODE}) as (gateway, _):
        shown = (await gateway.get("/v1/tools/typed")).json()
        assert shown["description"] == "Take every kind."
        properties = shown["parameters"]["properties"]
        assert properties["point"]["description"] == "Where it is."
        assert properties["way"] == {"enum": ["in", "out"], "description": "Which way."}
        assert properties["size"] == {"type": "integer", "minimum": 1, "maximum": 9}
        assert shown["parameters"]["required"] == ["point", "box", "colour", "way", "size"]
        box = {"label": "b", "points": [{"x": 1, "y": 2.5}]}
        given: dict[str, Any] = {"point": {"x": 1}, "box": box, "colour": "red", "way": "in"}
        found = await executed(gateway, "typed", **given, size=9)
        assert found["result"] == {"x": 1, "label": "b", "first": 2.5, "colour": "red", "words": None}
        for wrong in ({"size": 10}, {"size": 9, "way": "up"}, {"size": 9, "point": {}}, {"size": 9, "extra": 1}):
            call = {"name": "typed", "arguments": {**given, **wrong}}
            assert (await gateway.post("/v1/tools/execute", call)).status == 400


async def test_a_function_runs_in_the_loop_or_in_a_thread() -> None:
    async with running(options=options("slowly", "thread", "nothing"), files={"t.py": CODE}) as (gateway, _):
        assert (await executed(gateway, "slowly", text="ä"))["result"] == "ä"
        assert (await executed(gateway, "thread"))["result"] == "tool thread"
        found = await executed(gateway, "nothing")
        assert found == {"name": "nothing", "result": None, "success": True, "error": None}


async def test_a_function_that_fails_is_an_error_in_words() -> None:
    errors = {
        "unspeakable": "it returned object, which is not JSON",
        "huge": "its result is over 262144 bytes, the most that is taken",
        "stop": "RuntimeError: StopIteration",
        "leave": "RuntimeError: SystemExit",
        "leave_async": "RuntimeError: SystemExit",
        "interrupt_async": "RuntimeError: KeyboardInterrupt",
        "cancel_async": "RuntimeError: CancelledError",
    }
    async with running(options=options(*errors), files={"t.py": CODE}) as (gateway, _):
        for name, error in errors.items():
            arguments: dict[str, Any] = {"n": 300_000} if name == "huge" else {}
            found = await executed(gateway, name, **arguments)
            assert (found["success"], found["error"]) == (False, error)


@pytest.mark.parametrize("name", ["hang", "hang_async"])
async def test_a_function_that_hangs_times_out_and_the_gateway_goes_on(name: str) -> None:
    more = ", timeout: 50ms"
    tools = options(name, "nothing", more=more)
    async with running(options=tools, files={"t.py": CODE}) as (gateway, _):
        assert (await executed(gateway, name))["error"] == "it did not answer within 0.05 s"
        assert (await executed(gateway, "nothing"))["success"]


async def test_hanging_threads_are_not_made_without_end() -> None:
    tools = options("hang", more=", timeout: 1ms")
    async with running(options=tools, files={"t.py": CODE}) as (gateway, _):
        errors = [(await executed(gateway, "hang"))["error"] for _ in range(33)]
        assert set(errors[:32]) == {"it did not answer within 0.001 s"}
        assert errors[32] == "32 calls of it still run"


async def test_a_default_that_can_change_is_new_for_every_call() -> None:
    async with running(options=options("grow"), files={"t.py": CODE}) as (gateway, _):
        assert [(await executed(gateway, "grow"))["result"] for _ in range(2)] == [1, 1]


async def test_a_function_of_an_installed_package_is_a_tool_too() -> None:
    tools = '{tools: [{name: capwords, description: d, python: "tests.tools.packaged:title"}]}'
    async with running(options=tools) as (gateway, _):
        assert (await executed(gateway, "capwords", text="a b"))["result"] == "A B"
