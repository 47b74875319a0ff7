"""The official packages at targets of every dialect: the same answer, the same numbers, plain and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.testing import Answer, ReceivedRequest
from tests.clients.beside import beside
from tests.clients.model import DIALECTS, Call, Dialect, Said, answer
from tests.clients.sdks import SDKS, Ask, Result, Tool
from tests.clients.upstream_saw import results_in

clients = pytest.mark.parametrize("client", DIALECTS)
targets = pytest.mark.parametrize("target", DIALECTS)
ways = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])

STOPS = {
    "stop": {"C": "stop", "M": "end_turn", "R": "completed", "O": "stop"},
    "length": {"C": "length", "M": "max_tokens", "R": "max_output_tokens", "O": "length"},
    "tool_calls": {"C": "tool_calls", "M": "tool_use", "R": "tool_calls", "O": "stop"},
    "refusal": {"C": "content_filter", "M": "refusal", "R": "content_filter", "O": "stop"},
}
TEXT = 'Grüße aus 東京 — 🚀\nand "quotes" \\ done.'
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = Tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
CLOCK = Tool("now", {"type": "object", "properties": {}})


def usage_of(client: Dialect, target: Dialect, said: Said) -> tuple[int | None, ...]:
    """What the client must be told: Ollama knows no cached and no reasoning tokens, on either side."""
    if client == "O":
        return (said.prompt, said.completion, None, None)
    if target == "O":
        return (said.prompt, said.completion, 0, 0)
    return (said.prompt, said.completion, said.cached, said.reasoning)


@clients
@targets
@ways
async def test_text_and_usage_arrive(client: Dialect, target: Dialect, stream: bool) -> None:
    said = Said(text=TEXT, prompt=120, cached=100, completion=30)
    sdk = SDKS[client]
    async with beside(target, said) as run:
        got = await sdk.ask(run.url, sdk.user("hi"), Ask(stream=stream, system="Be short."))
    assert (got.text, got.thinking, got.calls, got.stop) == (TEXT, "", [], STOPS["stop"][client])
    assert got.usage == usage_of(client, target, said)
    assert "Be short." in json.dumps(run.sent().json())


@clients
@targets
@ways
async def test_the_token_limit_is_told(client: Dialect, target: Dialect, stream: bool) -> None:
    sdk = SDKS[client]
    async with beside(target, Said(text="cut of", stop="length")) as run:
        got = await sdk.ask(run.url, sdk.user("hi"), Ask(stream=stream, max_tokens=64))
    assert (got.text, got.stop) == ("cut of", STOPS["length"][client])
    asked = run.sent().json()
    limit = {
        "C": asked.get("max_completion_tokens") or asked.get("max_tokens"),
        "M": asked.get("max_tokens"),
        "R": asked.get("max_output_tokens"),
        "O": asked.get("options", {}).get("num_predict"),
    }
    assert limit[target] == 64


@clients
@targets
@ways
async def test_a_refusal_is_told(client: Dialect, target: Dialect, stream: bool) -> None:
    sdk = SDKS[client]
    async with beside(target, Said(refusal="I will not.", stop="refusal")) as run:
        got = await sdk.ask(run.url, sdk.user("hi"), Ask(stream=stream))
    assert "I will not." in (got.text + got.refusal)
    if target != "O":  # Ollama has no word for it
        assert got.stop == STOPS["refusal"][client]


@clients
@targets
@ways
async def test_thinking_comes_before_the_text(client: Dialect, target: Dialect, stream: bool) -> None:
    said = Said(thinking="First this, then that.", text="So.", completion=40, reasoning=12)
    sdk = SDKS[client]
    async with beside(target, said) as run:
        got = await sdk.ask(run.url, sdk.user("hi"), Ask(stream=stream, effort="high", max_tokens=4000))
    assert (got.thinking, got.text) == ("First this, then that.", "So.")
    assert got.usage == usage_of(client, target, said)


BIG = 2**60 + 1
CALLS = (
    Call("call_a", "get_weather", {"city": "Zürich 東京", "n": BIG, "deep": {"x": [1.5, None]}}),
    Call("call_b", "now", {}),
)


@clients
@targets
@ways
async def test_parallel_tools_go_round(client: Dialect, target: Dialect, stream: bool) -> None:
    """Call, results with a picture and an error, and the history that upstream then gets."""
    sdk = SDKS[client]
    ask = Ask(stream=stream, tools=(WEATHER, CLOCK), system="Use tools.")
    async with beside(target, [Said(text="Looking.", calls=CALLS), Said(text="Sunny.")]) as run:
        turns = sdk.user("weather?")
        got = await sdk.ask(run.url, turns, ask)
        assert (got.text, got.stop) == ("Looking.", STOPS["tool_calls"][client])
        assert [(name, arguments) for _, name, arguments in got.calls] == [(c.name, c.arguments) for c in CALLS]
        if client != "O":
            assert len({id for id, _, _ in got.calls}) == 2
            if target != "O":
                assert [id for id, _, _ in got.calls] == ["call_a", "call_b"]
        results = [Result(got.calls[0], "sunny", image=PIXEL), Result(got.calls[1], "no clock", is_error=True)]
        turns = [*turns, *sdk.echoed(got), *sdk.results(results)]
        final = await sdk.ask(run.url, turns, ask)
        assert final.text == "Sunny."
    body = run.sent().json()
    saw = results_in(target, body)
    assert [name for name, _ in saw.calls] == ["get_weather", "now"]
    assert [arguments for _, arguments in saw.calls] == [c.arguments for c in CALLS]
    assert len(saw.results) == 2, "each call has its result, straight after the calls"
    assert "sunny" in saw.results[0] and "no clock" in saw.results[1]
    assert json.dumps(body).count(PIXEL) == 1
    if client == "M":
        assert saw.errors == [False, True] if target == "M" else "[tool error]" in saw.results[1]
    assert saw.text == "Looking."


SIGNED: dict[Dialect, str] = {"M": "thinking", "R": "reasoning"}


@pytest.mark.parametrize("client", ["C", "M", "R"])
@pytest.mark.parametrize("target", sorted(SIGNED))
@ways
async def test_signed_thinking_comes_back_unharmed(client: Dialect, target: Dialect, stream: bool) -> None:
    said = Said(thinking="Think 東京.", signature="RXE/+ab==", text="Ok.", calls=CALLS[:1])
    sdk = SDKS[client]
    ask = Ask(stream=stream, tools=(WEATHER,), effort="medium", max_tokens=9000)
    async with beside(target, [said, Said(text="End.")]) as run:
        turns = sdk.user("weather?")
        got = await sdk.ask(run.url, turns, ask)
        turns = [*turns, *sdk.echoed(got), *sdk.results([Result(got.calls[0], "sunny")])]
        assert (await sdk.ask(run.url, turns, ask)).text == "End."
    body = run.sent().json()
    if target == "M":
        content = next(message["content"] for message in body["messages"] if message["role"] == "assistant")
        kept = {"type": "thinking", "thinking": "Think 東京.", "signature": "RXE/+ab=="}
        assert {name: content[0].get(name) for name in kept} == kept
        assert [block["type"] for block in content] == ["thinking", "text", "tool_use"]
    else:
        [item] = [item for item in body["input"] if item.get("type") == "reasoning"]
        assert item["encrypted_content"] == "RXE/+ab=="
        assert [part["text"] for part in item["summary"]] == ["Think 東京."]


SHAPE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}


def shape_in(target: Dialect, body: dict[str, Any]) -> Any:
    match target:
        case "C":
            return body["response_format"]["json_schema"]["schema"]
        case "M":
            return body["output_config"]["format"]["schema"]
        case "R":
            return body["text"]["format"]["schema"]
        case "O":
            return body["format"]


@clients
@targets
@ways
async def test_a_schema_reaches_the_model_unchanged(client: Dialect, target: Dialect, stream: bool) -> None:
    sdk = SDKS[client]
    async with beside(target, Said(text='{"city":"Bern","degrees":7}')) as run:
        got = await sdk.ask(run.url, sdk.user("weather?"), Ask(stream=stream, schema=SHAPE))
    assert json.loads(got.text) == {"city": "Bern", "degrees": 7}
    assert got.stop == STOPS["stop"][client]
    assert shape_in(target, run.sent().json()) == SHAPE


@pytest.mark.parametrize("client", ["C", "R", "O"])
@ways
async def test_a_model_without_schemas_is_given_a_hidden_tool(client: Dialect, stream: bool) -> None:
    """A server that speaks Anthropic's dialect but is not Claude: the tool's input is the answer's text."""

    def says(request: ReceivedRequest) -> Answer:
        asked = request.json()
        assert asked["tools"][0]["input_schema"] == SHAPE
        call = Call("toolu_1", asked["tools"][0]["name"], {"city": "Bern", "degrees": 7})
        return answer(request, Said(calls=(call,)))

    sdk = SDKS[client]
    async with beside("M", says, model="other-model") as run:
        got = await sdk.ask(run.url, sdk.user("weather?"), Ask(stream=stream, schema=SHAPE))
    assert json.loads(got.text) == {"city": "Bern", "degrees": 7}
    assert (got.calls, got.stop) == ([], STOPS["stop"][client])


@pytest.mark.parametrize("client", ["C", "M", "R"])
@targets
@pytest.mark.parametrize("choice", ["none", "required", "get_weather"])
async def test_the_choice_of_tools_is_kept(client: Dialect, target: Dialect, choice: str) -> None:
    sdk = SDKS[client]
    async with beside(target, Said(text="ok")) as run:
        await sdk.ask(run.url, sdk.user("x"), Ask(tools=(WEATHER, CLOCK), choice=choice))
    body = run.sent().json()
    wanted: dict[Dialect, dict[str, Any]] = {
        "C": {"none": "none", "required": "required", "get_weather": {"type": "function", "function": {"name": "get_weather"}}},
        "M": {"none": {"type": "none"}, "required": {"type": "any"}, "get_weather": {"type": "tool", "name": "get_weather"}},
        "R": {"none": "none", "required": "required", "get_weather": {"type": "function", "name": "get_weather"}},
    }  # fmt: skip
    if target == "O":  # it knows no choice: the tools are withheld, offered all, or only the named one
        names = [tool["function"]["name"] for tool in body.get("tools", ())]
        assert names == {"none": [], "required": ["get_weather", "now"], "get_weather": ["get_weather"]}[choice]
    else:
        assert body["tool_choice"] == wanted[target][choice]


@clients
@targets
async def test_a_picture_reaches_the_model(client: Dialect, target: Dialect) -> None:
    sdk = SDKS[client]
    async with beside(target, Said(text="a pixel")) as run:
        got = await sdk.ask(run.url, sdk.user("what is it?", PIXEL), Ask())
    assert got.text == "a pixel"
    [message] = [
        one for one in run.sent().json().get("messages") or run.sent().json()["input"] if one["role"] == "user"
    ]
    found = {
        "C": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        "M": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        "R": {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
    }
    if target == "O":
        assert message["images"] == [PIXEL]
    else:
        [part] = [part for part in message["content"] if "image" in part["type"]]
        for holder in (part, part.get("image_url")):
            if isinstance(holder, dict):
                holder.pop("detail", None)
        assert part == found[target]
