"""Credentials are taken out of lines, whatever the line is made of besides."""

from __future__ import annotations

import pytest

from gateway.telemetry import ORDINARY, SIGNS, Redactor

SHOWN = [
    b"sk-abcdefgh12345", b"gsk-abcdefgh12345", b"xai-abcdefgh12345", b"sess-abcdefgh12345", b"key-abcdefgh12345",
    b"gw-" + b"a" * 43, b"AIza" + b"a" * 30, b"eyJhbGciOiJIUzI1NiJ9.abc.def", b"Bearer abcdefgh", b"Basic abcdefgh=",
    b"api_key=abc", b"?key=abc", b"://user:word@host",
]  # fmt: skip


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("around", [b"", ORDINARY, b"\n".join([ORDINARY] * 50)], ids=["alone", "line", "lines"])
def test_what_looks_like_a_credential_is_taken_out_of_lines(shown: bytes, around: bytes) -> None:
    cleaned = Redactor().clean(around + shown + around)
    assert shown not in cleaned
    assert b"***" in cleaned


def test_each_sign_stands_in_what_it_is_the_sign_of() -> None:
    assert {sign for sign in SIGNS if not any(sign in shown for shown in SHOWN)} == {b'ey":"', b'ookie":"'}
    for text in (b'{"x-api-key":"abc"}', b'{"set-cookie":"abc"}'):
        assert b'"***"' in Redactor().clean(ORDINARY + text)


def test_a_known_value_of_ordinary_letters_is_taken_out_and_ordinary_lines_stay() -> None:
    redactor = Redactor()
    redactor.add(["event-status", 'with "quotes"'])
    assert redactor.clean(ORDINARY) is ORDINARY
    assert redactor.clean(ORDINARY + b'"event-status"') == ORDINARY + b'"***"'
    assert redactor.clean(b'{"said":"with \\"quotes\\""}') == b'{"said":"***"}'
