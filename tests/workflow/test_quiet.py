"""No prompt goes to anybody but the models that the operator names."""

from __future__ import annotations

from pathlib import Path

from gateway.testing import ScriptedUpstream, reply_json
from tests.server.process import process
from tests.workflow.kit import CHAIN, PROMPTS, QUESTION, STORY, by_step, config
from tests.workflow.test_own import ASKS, OWN, files


async def test_langsmith_is_told_nothing_whatever_the_environment_says(tmp_path: Path) -> None:
    home = {**PROMPTS, **files(ASKS)}
    for name, text in home.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    async with ScriptedUpstream(reply_json({})) as spy, ScriptedUpstream(by_step(STORY)) as upstream:
        own = OWN.replace('"small"', '"large"')
        (tmp_path / "gateway.yaml").write_text("version: 1\n" + config(CHAIN + own, upstream.url))
        environ = {
            "LANGSMITH_TRACING": "true",
            "LANGCHAIN_TRACING_V2": "true",
            "LANGSMITH_ENDPOINT": spy.url,
            "LANGSMITH_API_KEY": "key",
        }
        async with process(tmp_path, environ=environ) as gateway:
            status, _ = await gateway.post("/v1/chat/completions", QUESTION)
            system = {"role": "system", "content": "You synthesize."}
            messages = [system, {"role": "user", "content": "hello"}]
            own_status, _ = await gateway.post("/v1/chat/completions", {"model": "own", "messages": messages})
            await gateway.stop()  # which would send what is waiting
    assert (status, own_status) == (200, 200)
    assert [request.path for request in spy.requests] == []
