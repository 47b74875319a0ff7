"""Prices that are still being read as the first answers come."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.testing import ScriptedUpstream, reply_json
from tests.server.process import process

SLOW = """
import sys, time
if "gateway.pricing.packaged" in sys.orig_argv:
    time.sleep(15)
"""
ANSWER = reply_json({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]})  # fmt: skip


async def test_no_answer_waits_for_prices_beyond_its_deadline(tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW)
    ask = {"model": "gpt-5", "messages": [{"role": "user", "content": "x"}]}
    async with ScriptedUpstream(ANSWER) as upstream:
        (tmp_path / "gateway.yaml").write_text(f"""
version: 1
ledger: none
providers: {{openai: {{base_url: "{upstream.url}/v1", api_key: k}}}}
routes: [{{name: all, targets: ["openai/*"]}}]
""")
        async with process(tmp_path, environ={"PYTHONPATH": str(tmp_path / "slow")}) as gateway:
            async with asyncio.timeout(10):
                async with gateway.session.post(
                    gateway.url + "/v1/chat/completions", json=ask, headers={"x-gateway-timeout": "0.5"}
                ) as got:
                    assert got.status == 200 and "x-gateway-cost-usd" not in got.headers
