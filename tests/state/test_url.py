"""`state:` as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.state.memory import MemoryStore
from gateway.state.opened import store_at
from gateway.state.sqlite import SqliteStore
from gateway.state.url import StateUrl, parse_state
from gateway.testing import running_gateway

MANY = (("a", 1), ("b", 26379), ("::1", 3))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("memory:", StateUrl("memory")),
        ("sqlite:var/state.db", StateUrl("sqlite", path="var/state.db")),
        ("sqlite:///state.db", StateUrl("sqlite", path="state.db")),
        ("sqlite:/var/state.db", StateUrl("sqlite", path="/var/state.db")),
        ("sqlite:////var/state.db", StateUrl("sqlite", path="/var/state.db")),
        ("redis://h", StateUrl("single", addresses=(("h", 6379),))),
        ("redis://h/", StateUrl("single", addresses=(("h", 6379),))),
        ("redis://h:1/3", StateUrl("single", addresses=(("h", 1),), db=3)),
        ("redis://h?db=3&prefix=x:", StateUrl("single", addresses=(("h", 6379),), db=3, prefix="x:")),
        ("redis://:p%40w@h", StateUrl("single", addresses=(("h", 6379),), password="p@w")),
        ("rediss://u:p@[::1]:7", StateUrl("single", addresses=(("::1", 7),), tls=True, username="u", password="p")),
        ("rediss://h?ca=ca.pem", StateUrl("single", addresses=(("h", 6379),), tls=True, ca="ca.pem")),
        ("redis+sentinel://a:1,b,[::1]:3/main/2", StateUrl("sentinel", addresses=MANY, service="main", db=2)),
        (
            "redis+sentinel://:p@a/main?sentinel_password=s",
            StateUrl("sentinel", addresses=(("a", 26379),), service="main", password="p", sentinel_password="s"),
        ),
        ("redis+cluster://a:1,b:2", StateUrl("cluster", addresses=(("a", 1), ("b", 2)))),
        ("rediss+cluster://a:1", StateUrl("cluster", addresses=(("a", 1),), tls=True)),
    ],
)
def test_a_store_is_read_out_of_its_url(text: str, read: StateUrl) -> None:
    assert parse_state(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "", "memory", "memory://", "sqlite", "sqlite:", "sqlite:var/", "sqlite::memory:", "sqlite://host/x",
        "sqlite:x?mode=ro", "postgres://h/db", "redis:h", "redis:/h", "redis://", "redis://:6379", "redis://h:0",
        "redis://h:65536", "redis://h:x", "redis://h:-1", "redis://h/x", "redis://h/1/2", "redis://h/1?db=2",
        "redis://a,b", "redis://::1:6379", "redis://h?password=x", "redis://h?db", "redis://h?db=1&db=2",
        "redis://h?ca=x", "redis://h?prefix=a{b", "redis://h?prefix=", "redis://u:p/w@h", "redis://u:p#w@h",
        "redis+sentinel://h", "redis+sentinel://h,/s", "redis+cluster://h/1", "redis+unix://x", "REDIS://h",
        "redis://h h", "redis://é",
    ],
)  # fmt: skip
def test_what_is_no_store_is_refused_with_a_cure(text: str) -> None:
    with pytest.raises(ValueError, match="; "):
        parse_state(text)


@pytest.mark.parametrize(
    "text", ["redis://user:canary@", "redis://canary:canary@h:x", "canary://canary@h", "redis://u:can#ary@h"]
)
def test_no_message_holds_a_password(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_state(text)
    assert "canary" not in str(refused.value) and "can#ary" not in str(refused.value)


def test_no_repr_holds_a_credential_and_the_redactor_knows_each_form() -> None:
    url = parse_state("redis+sentinel://canary-user:canary%2Fword@h/s?sentinel_password=canary-too")
    assert "canary" not in repr(url) + url.shown
    assert {secret.reveal() for secret in url.secrets} == {
        "canary-user", "canary/word", "canary%2Fword", "canary-too"
    }  # fmt: skip


async def test_a_lost_store_is_logged_without_its_password() -> None:
    config = """
        state: redis://canary-user:canary-word@127.0.0.1:1/0
        providers: {echo: {dialect: echo}}
        routes: [{name: all, targets: ["echo/*"]}]
    """
    async with running_gateway(config) as gateway:
        assert gateway.events("state_lost")
        assert "canary" not in str(gateway.log) + repr(gateway.core.snapshot.config)


def test_files_are_relative_to_the_home(tmp_path: Path) -> None:
    made = store_at(parse_state("sqlite:var/s.db"), tmp_path, now=float, warn=print)
    assert isinstance(made, SqliteStore)
    assert made._shelf.path == tmp_path / "var" / "s.db"
    assert isinstance(store_at(parse_state("memory:"), tmp_path, now=float, warn=print), MemoryStore)
