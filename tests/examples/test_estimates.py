"""Counts that are estimated are never below what a real model's tokenizer says. `make test-real` runs it."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from anthropic import AsyncAnthropic

from gateway.dialects.estimate import tokens_in
from tests.examples.test_local_model import model
from tests.imports import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
LOTS = random.Random(1)
TEXTS = {
    "prose": (ROOT / "README.md").read_text("utf-8")[:3000],
    "code": (ROOT / "gateway/attempts/send.py").read_text("utf-8")[:4000],
    "JSON": (ROOT / "config/schema.json").read_text("utf-8")[:4000],
    "base64": base64.b64encode(LOTS.randbytes(1500)).decode(),
    "hex": LOTS.randbytes(1000).hex(),
    "digits": "".join(LOTS.choice("0123456789") for _ in range(1500)),
    "letters": "".join(LOTS.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(1500)),
    "Japanese": "東京は日本の首都であり、世界最大の都市の一つです。" * 20,
    "German": "Grüße aus München, wo die Straßen schön und die Häuser alt sind. " * 20,
    "emoji": "🚀🎉😀" * 60,
    "marks": "!@#$%^&*()_+-=[]{}|;:,.<>?/~`" * 20,
    "indented": "a\n        b\n" * 60,
}


async def test_an_estimate_is_never_below_the_real_count(tmp_path: Path) -> None:
    async with model(tmp_path / "model.log") as url, AsyncAnthropic(base_url=url, api_key="any") as client:

        async def count(text: str) -> int:
            got = await client.messages.count_tokens(model="smollm2", messages=[{"role": "user", "content": text}])
            return got.input_tokens

        around = await count("a") - 1
        below = {name for name, text in TEXTS.items() if tokens_in(text) < await count(text) - around}
    assert below == set()
