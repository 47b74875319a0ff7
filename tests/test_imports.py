"""Who may import whom: the table of the design, held over the whole tree."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT, cycle_in, edges, imports_in, imports_of, module_name, source_files

# A room is a module or a folder of modules. Each names the rooms it may import; itself goes without saying.
FACTS = {"amounts", "errors", "chat", "secret", "trace", "waited"}
UPSTREAM_FACTS = FACTS | {
    "dialects", "upstream.transport", "upstream.provider", "upstream.holds", "upstream.health", "route"
}  # fmt: skip
STORES = {"state.store", "ledger.ledger", "fold", "work"}
REQUEST = UPSTREAM_FACTS | STORES | {"exchange", "services", "plugin"}
PIPELINE = REQUEST | {"chain", "router", "upstream", "pricing", "telemetry", "credentials", "ledger", "state"}
ASSEMBLED = PIPELINE | {"attempts", "relay", "runtime"}
FRONT = ASSEMBLED | {"server", "admin", "supervisor"}
EVERYTHING = FRONT | {"cli", "testing", "scripted", ""}

MAY_IMPORT: dict[str, set[str]] = {
    "amounts": set(),
    "errors": set(),
    "chat": set(),
    "secret": set(),
    "trace": set(),
    "waited": set(),
    "credentials": FACTS,
    "pricing": FACTS,
    "telemetry": FACTS,
    "dialects": {"errors", "chat"},
    "state.store": FACTS,
    "state": FACTS | {"state.store"},
    "ledger.ledger": FACTS,
    "ledger": FACTS | {"ledger.ledger"},
    "upstream.transport": FACTS,
    "upstream.holds": FACTS,
    "upstream.health": FACTS | {"upstream.holds"},
    "upstream.provider": FACTS | {"dialects", "upstream.transport"},
    "route": FACTS | {"dialects", "upstream.transport", "upstream.provider"},
    "fold": FACTS,
    "work": FACTS,
    "request": FACTS | {"dialects"},
    "reply": FACTS,
    "exchange": UPSTREAM_FACTS | {"reply", "request", "work"},
    "answered": UPSTREAM_FACTS | {"exchange", "fold"},
    "live": UPSTREAM_FACTS | {"exchange", "fold", "answered"},
    "services": UPSTREAM_FACTS | STORES | {"exchange"},
    "plugin": UPSTREAM_FACTS | STORES | {"services", "answered", "exchange", "credentials", "live"},
    "chain": REQUEST,
    "router": UPSTREAM_FACTS | {"exchange"},
    "upstream": UPSTREAM_FACTS | {"exchange", "telemetry"},
    "relay": PIPELINE,
    "attempts": PIPELINE | {"relay"},
    "runtime": PIPELINE | {"attempts", "relay"},
    "server": ASSEMBLED,
    "admin": ASSEMBLED,
    "supervisor": ASSEMBLED | {"server", "admin"},
    "scripted": set(),
    "testing": EVERYTHING - {"cli"},
    "cli": EVERYTHING - {"testing", "scripted"},
    "__main__": {"cli"},
    "": set(),  # gateway/__init__.py: the version and the walk through the flow
}

# Imported in one place, so that one file answers for how a library is used.
ONE_PLACE = {
    "yaml": "runtime",
    "jsonschema": "runtime",
    "referencing": "runtime",
    "watchfiles": "runtime",
    "httptools": "upstream",
    "aiohappyeyeballs": "upstream",
    "redis": "state",
    "sqlalchemy": "ledger",
    "asyncpg": "ledger",
    "jwt": "credentials",
    "genai_prices": "pricing",
    "aiohttp_jinja2": "admin",
    "jinja2": "admin",
    "openai": "cli",
    "httpx2": "cli",  # what the openai package sends with
    "click": "cli",
    "rich": "cli",
}
# multidict, yarl and aiohappyeyeballs come with aiohttp and are chosen by it.
ANYWHERE = {"aiohttp", "multidict", "yarl", "msgspec", "uvloop"}
# Dialects are pure: no I/O, no clock, no chance. `datetime` may write a time down, but not ask for it.
NOT_IN_DIALECTS = {"asyncio", "aiohttp", "time", "random", "secrets", "uuid", "socket", "threading"}
CLOCKS = {"now", "utcnow", "today"}

GATEWAY = source_files("gateway")
PLUGINS = source_files("plugins")


def room_of(module: str) -> str:
    """Return the longest room that holds `gateway.…`."""
    inner = module.removeprefix("gateway").removeprefix(".")
    parts = inner.split(".")
    for length in range(len(parts), 0, -1):
        if (room := ".".join(parts[:length])) in MAY_IMPORT:
            return room
    raise AssertionError(f"{module} is in no room: give it one in MAY_IMPORT, as the design says")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_module_imports_only_the_rooms_below_its_own() -> None:
    wrong = [
        f"{name} ({room_of(name)}) imports {target} ({room_of(target)})"
        for name, targets in edges(GATEWAY).items()
        for target in sorted(targets)
        if room_of(target) not in MAY_IMPORT[room_of(name)] | {room_of(name), ""}  # "": the version
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_by_a_detour() -> None:
    assert not cycle_in(edges(GATEWAY))


@pytest.mark.parametrize("path", PLUGINS, ids=relative)
def test_a_standard_plugin_imports_only_the_public_api(path: Path) -> None:
    own = {p.stem for p in PLUGINS} | {p.name for p in (ROOT / "plugins").iterdir() if p.is_dir()}
    wrong = [
        f"{relative(path)}:{found.line}: {found.module}"
        for found in imports_of(path)
        if (found.top == "gateway" and found.module != "gateway.plugin")
        or (found.top in own and found.top not in sys.stdlib_module_names and path.parent == ROOT / "plugins")
    ]
    assert not wrong, wrong


def test_third_parties_are_the_closed_list_each_in_its_place() -> None:
    wrong = []
    for path in GATEWAY:
        room = room_of(module_name(path))
        for found in imports_of(path):
            if found.top in sys.stdlib_module_names or found.top == "gateway" or found.top in ANYWHERE:
                continue
            if not room.startswith(ONE_PLACE.get(found.top, "nowhere")):
                wrong.append(f"{relative(path)}:{found.line}: {found.module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", ["yaml", "watchfiles", "uvloop"])
def test_a_library_with_traps_is_imported_by_one_file(library: str) -> None:
    users = [relative(path) for path in GATEWAY + PLUGINS if library in {found.top for found in imports_of(path)}]
    assert len(users) <= 1, users


def test_dialects_are_pure() -> None:
    wrong = [
        f"{relative(path)}:{found.line}: {found.module}"
        for path in source_files("gateway/dialects")
        for found in imports_of(path)
        if found.top in NOT_IN_DIALECTS
    ] + [
        f"{relative(path)}:{node.lineno}: .{node.attr}"
        for path in source_files("gateway/dialects")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS
    ]
    assert not wrong, wrong


def test_facts_need_nothing_but_the_standard_library_and_msgspec() -> None:
    wrong = [
        f"{name}.py:{found.line}: {found.module}"
        for name in sorted(FACTS)
        for found in imports_of(ROOT / "gateway" / f"{name}.py")
        if found.top not in sys.stdlib_module_names | {"msgspec"}
    ]
    assert not wrong, wrong


def test_nothing_relies_on_who_imported_first() -> None:
    """No function imports from the gateway, save the command line, which loads a command when it is called."""
    wrong = []
    for path in GATEWAY:
        if room_of(module_name(path)) in {"cli", "testing"}:
            continue
        lines = path.read_text("utf-8").splitlines()
        wrong += [
            f"{relative(path)}:{found.line}"
            for found in imports_of(path)
            if found.top == "gateway" and lines[found.line - 1].startswith(" ")
        ]
    assert not wrong, wrong


def test_the_reader_sees_imports_in_functions_but_not_those_for_annotations() -> None:
    source = """
from typing import TYPE_CHECKING
import a.b
from . import sibling
from ..up import thing
if TYPE_CHECKING:
    import only_for_annotations
else:
    import other_branch
def f():
    from c import d
"""
    found = [(i.module, i.name) for i in imports_in(source, "gateway.room")]
    assert found == [
        ("typing", "TYPE_CHECKING"),
        ("a.b", None),
        ("gateway.room", "sibling"),
        ("gateway.up", "thing"),
        ("other_branch", None),
        ("c", "d"),
    ]


def test_the_reader_finds_a_cycle_through_three_modules(tmp_path: Path) -> None:
    package = tmp_path / "p"
    package.mkdir()
    for name, following in (("a", "b"), ("b", "c"), ("c", "a")):
        (package / f"{name}.py").write_text(f"from p import {following}\n")
    assert cycle_in(edges(sorted(package.iterdir()), tmp_path)) == ["p.a", "p.b", "p.c", "p.a"]
    (package / "c.py").write_text("import os\n")
    assert cycle_in(edges(sorted(package.iterdir()), tmp_path)) == []
