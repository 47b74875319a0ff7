"""Both palettes can be read: the contrast of WCAG 2.2 (1.4.3 and 1.4.11), worked out from theme.css itself."""

from __future__ import annotations

import re

import pytest

from tests.imports import ROOT

TEXT = (ROOT / "gateway" / "admin" / "static" / "theme.css").read_text("utf-8")
TONES = ("accent", "ok", "warn", "bad", "info")
GROUNDS = ("bg", "surface", "sunken", "hover")
AS_TEXT = 4.5
AS_CONTROL = 3.0


def palettes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r"([^{}]*)\{([^{}]*)\}", TEXT)
    found = {}
    for selector, body in blocks:
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", body))
        if "bg" in colours:
            found[" ".join(selector.split())[-40:].strip()] = colours
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_there_are_two_palettes_and_the_dark_one_is_the_same_however_it_is_chosen() -> None:
    found = palettes()
    light, *darks = found.values()
    assert len(darks) == 2 and darks[0] == darks[1]
    assert light.keys() == darks[0].keys()


@pytest.mark.parametrize("name", palettes())
def test_text_and_controls_have_contrast(name: str) -> None:
    colours = palettes()[name]
    pairs = [(text, ground, AS_TEXT) for text in ("text", "text-2", "text-3", "accent", "bad") for ground in GROUNDS]
    pairs += [(tone, f"{tone}-soft", AS_TEXT) for tone in TONES]
    pairs += [("text", f"{tone}-soft", AS_TEXT) for tone in TONES]
    pairs += [
        ("on-accent", "accent", AS_TEXT),
        ("on-accent", "accent-hover", AS_TEXT),
        ("bg", "text", AS_TEXT),
        ("text", "raised", AS_TEXT),
    ]
    pairs += [("line-strong", ground, AS_CONTROL) for ground in ("bg", "surface")]
    pairs += [(f"chart-{number}", "surface", AS_CONTROL) for number in range(1, 7)]
    wrong = {
        f"{one} on {other}": round(found, 2)
        for one, other, least in pairs
        if (found := contrast(colours[one], colours[other])) < least
    }
    assert not wrong
