"""Thinking in tags (K15): the same however the text was cut, and only where a tag opens the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import ChatReply, Reasoning, Text, ToolCall
from gateway.dialects.think_tags import Tags, untagged

CASES = {
    "hello": ("", "hello"),
    "<think>a</think>b": ("a", "b"),
    "  \n<think>\na\n</think>\n\nb": ("\na\n", "b"),
    "<think>never closed": ("never closed", ""),
    "<think>a<think>b</think>c</think>d": ("a<think>b</think>c", "d"),
    "see `<think>x</think>`": ("", "see `<think>x</think>`"),
    "```\n<think>x</think>\n```": ("", "```\n<think>x</think>\n```"),
    "<think>a</think>b <think>c</think>": ("a", "b <think>c</think>"),
    "<thinking>a": ("", "<thinking>a"),
    "<thi": ("", "<thi"),
    "<think>1 < 2 </thin": ("1 < 2 </thin", ""),
    "<think></think>": ("", ""),
    "<think></think>done": ("", "done"),
    "": ("", ""),
}


def joined(pieces: list[str]) -> tuple[str, str]:
    tags = Tags()
    runs = [run for piece in pieces for run in tags.take(piece)] + tags.rest()
    return "".join(t for thinks, t in runs if thinks), "".join(t for thinks, t in runs if not thinks)


@pytest.mark.parametrize("text", CASES)
def test_thinking_is_told_apart_wherever_the_text_is_cut(text: str) -> None:
    wanted = CASES[text]
    assert joined([text]) == wanted
    assert joined(list(text)) == wanted
    for at in range(len(text)):
        assert joined([text[:at], text[at:]]) == wanted


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "a", "\n", "think>", "</", " ", "b>"]), max_size=12))
def test_any_text_is_cut_the_same_however_it_arrives_and_nothing_of_it_is_lost(parts: list[str]) -> None:
    text = "".join(parts)
    whole = joined([text])
    assert joined(list(text)) == whole == joined(parts)
    kept = "".join(whole).replace("<think>", "").replace("</think>", "")
    assert "".join(kept.split()) == "".join(text.replace("<think>", "").replace("</think>", "").split()) or "<" in kept


def test_a_plain_answer_keeps_its_other_parts() -> None:
    call = ToolCall(id="1", name="f")
    reply = ChatReply(id="", model="m", created_s=1, parts=(Text(text="<think>a</think>b"), call, Text(text="<think>")))
    assert untagged(reply).parts == (Reasoning(text="a"), Text(text="b"), call, Text(text="<think>"))
