"""Addresses to listen at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.listen import Listen, parse_listen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", Listen("127.0.0.1", 8080)),
        ("0.0.0.0:0", Listen("0.0.0.0", 0)),
        ("localhost:65535", Listen("localhost", 65535)),
        ("[::1]:8080", Listen("::1", 8080)),
        ("[0:0:0:0:0:0:0:1]:8080", Listen("::1", 8080)),
        ("unix:/run/gateway.sock", Listen("", 0, "/run/gateway.sock")),
    ],
)
def test_an_address_is_host_and_port_or_a_path(text: str, expected: Listen) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", ":8080", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:8080", "[::1]", "[zz]:1",
     "a b:1", "host:8o", "h:1\n", "unix:", "unix:" + "x" * 108, "http://127.0.0.1:80", "-h:1", "h:٣"],
)  # fmt: skip
def test_anything_else_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"write host:port, .*unix:/path|write unix:/path, at most"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), ("unix:/x", True),
        ("0.0.0.0:1", False), ("[::]:1", False), ("10.0.0.1:1", False), ("gateway.example:1", False),
    ],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(text: str, expected: bool) -> None:
    assert parse_listen(text).is_loopback is expected


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_what_is_written_reads_back(address: object, port: int) -> None:
    text = f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
    found = parse_listen(text)
    assert parse_listen(str(found)) == found
    assert found.port == port


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_listen(text)
    except ValueError as error:
        assert f'"{text}"' in str(error)
    else:
        assert parse_listen(str(found)) == found
