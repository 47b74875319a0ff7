"""What a plugin does on behalf of a request is in its trace: the models it asks, the tools it calls."""

from __future__ import annotations

import asyncio

from gateway.testing import Gate, ScriptedUpstream, reply_json, running_gateway
from tests.tracing.kit import CHAT, asked, collector
from tests.tracing.test_context import GIVEN, PARENT, TRACE, trace_of
from tests.tracing.test_spans import GOOD

CONFIG = """
plugins: [{{tracing: {{endpoint: "{collector}", interval: 10ms}}}}, asker]
providers: {{up: {{dialect: openai_chat, base_url: "{url}/v1", api_key: key-of-up-0001}}}}
routes: [{{name: all, targets: ["up/*"]}}]
"""
ASKER = """
import asyncio
from gateway.plugin import ChatReply, ChatRequest, Message, Plugin, Text, answer
class Asker(Plugin):
    async def ask(self, exchange, model):
        said = Message(role="user", parts=(Text(text=model),))
        chat = ChatRequest(dialect="openai_chat", model=model, messages=(said,))
        async with self.services.gateway.child(exchange, chat, step=f"about {model}") as child:
            return await child.reply()
    async def handle(self, exchange, call_next):
        if exchange.parent is not None:
            return await call_next(exchange)
        now = exchange.deadline.now
        began_s = now()
        one, other = await asyncio.gather(self.ask(exchange, "one"), self.ask(exchange, "other"))
        for ok in (True, False):
            exchange.note_work(
                kind="tool", name="search", started_at_s=began_s, ended_at_s=now(), ok=ok, facts={"bytes": 7}
            )
        return answer(exchange, one, self.services.clock.time())
"""


async def test_children_and_tools_are_spans_of_one_trace_below_their_own_exchange() -> None:
    async with collector() as seen, ScriptedUpstream(reply_json(GOOD)) as upstream:
        config = CONFIG.format(collector=seen.url, url=upstream.url)
        async with running_gateway(config, plugins={"asker": ASKER}) as gateway:
            answer = await gateway.post(CHAT, asked("any"), headers={"traceparent": GIVEN})
            assert answer.status == 200
            (whole,), tries = await seen.of("server"), await seen.of("client", 2)
            inside = await seen.of("internal", 4)
    assert {each.trace_id for each in seen.spans} == {TRACE}
    assert whole.parent_id == PARENT
    children = {each.name: each for each in inside if each.name.startswith("step")}
    assert set(children) == {"step about one", "step about other"}
    assert {each.parent_id for each in inside} == {whole.span_id}
    assert {each.attributes["llm_gateway.model"] for each in children.values()} == {"one", "other"}
    by_model = {each.attributes["gen_ai.request.model"]: each for each in tries}
    assert by_model["one"].parent_id == children["step about one"].span_id
    assert by_model["other"].parent_id == children["step about other"].span_id
    assert {trace_of(each)[:2] for each in upstream.requests} == {(TRACE, each.span_id) for each in tries}
    tools = [each for each in inside if each.name == "execute_tool search"]
    assert [each.failed for each in sorted(tools, key=lambda each: each.failed or "")] == [None, "tool_error"]
    assert {each.attributes["gen_ai.tool.name"] for each in tools} == {"search"}
    assert {each.attributes["llm_gateway.tool.bytes"] for each in tools} == {7}
    assert len({each.span_id for each in seen.spans}) == 7


async def test_children_of_requests_at_the_same_time_stay_with_their_own() -> None:
    gate = Gate()
    async with collector() as seen, ScriptedUpstream([gate, *reply_json(GOOD)]) as upstream:
        config = CONFIG.format(collector=seen.url, url=upstream.url)
        async with running_gateway(config, plugins={"asker": ASKER}) as gateway:
            asking = [asyncio.create_task(gateway.post(CHAT, asked("any"))) for _ in range(10)]
            await upstream.wait_for_request(19)
            gate.open()
            ids = {(await each).headers["x-request-id"] for each in asking}
            wholes, tries = await seen.of("server", 10), await seen.of("client", 20)
            children = [each for each in await seen.of("internal", 40) if each.name.startswith("step")]
    own = {each.trace_id: each.span_id for each in wholes}
    assert set(own) == ids
    assert all(each.parent_id == own[each.trace_id] for each in children)
    below = {each.span_id: each.trace_id for each in children}
    assert all(below[each.parent_id] == each.trace_id for each in tries)
