"""Models that plugins answer themselves: where they are listed, who may use them, and what contradicts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import gateway as main
from gateway.errors import ConfigErrors
from gateway.testing import ScriptedUpstream, running_gateway
from tests.accounting.endings import PRICES, answer, rows_of
from tests.children.flows import ASKED, CHAT, FLOW, family

CONFIG = """
    ledger: sqlite:rows.db
    plugins: [{plugins}]
    providers: {{openai: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}}}
    routes: [{{name: all, match: {{model: "openai-*"}}, targets: ["openai/*"], retry: {{attempts: 1}}}}]
"""
SERVES = """
    from gateway.plugin import Plugin, ChatReply, Text, answer

    class Serves(Plugin):
        options_schema = {
            "type": "object",
            "properties": {"models": {"type": "array"}, "asks": {"type": "object"}, "answers": {"type": "boolean"}},
        }

        def __init__(self, options, services):
            super().__init__(options, services)
            self.models = options.get("models", ())
            self.asks = options.get("asks", {})

        async def handle(self, exchange, call_next):
            if exchange.route is None or exchange.route.plugin != self.name or not self.options.get("answers"):
                return await call_next(exchange)
            if not exchange.request.endpoint.is_chat:
                return await call_next(exchange)
            reply = ChatReply(id="", model="", created_s=0, parts=(Text(text="mine"),))
            return answer(exchange, reply, self.services.clock.time())
"""
WHO = """
    from gateway.plugin import Plugin, Principal

    class Who(Plugin):
        async def identify(self, request):
            models = tuple(request.headers.get("x-models", "*").split(","))
            routes = request.headers.get("x-routes")
            return Principal("ann", {}, models=models, routes=None if routes is None else tuple(routes.split(",")))
"""
ROUND = """
    from gateway.plugin import ChatRequest, Plugin, answer

    class Round(Plugin):
        models = ("round", "about")
        asks = {"round": "", "about": ""}

        async def handle(self, exchange, call_next):
            if exchange.route is None or exchange.route.name not in self.models:
                return await call_next(exchange)
            other = "about" if exchange.route.name == "round" else "round"
            chat = ChatRequest(dialect="openai_chat", model=other, messages=exchange.chat.messages)
            async with self.services.gateway.child(exchange, chat, step=other) as child:
                reply = await child.reply()
            return answer(exchange, reply, self.services.clock.time())
"""
PLUGINS = {"flow": FLOW, "serves": SERVES, "who": WHO, "round": ROUND, "other": SERVES.replace("Serves", "Other")}


def config(url: str, plugins: str) -> str:
    return CONFIG.format(url=url, plugins=plugins)


async def test_a_model_of_a_plugin_is_listed_shown_and_ready_without_any_target() -> None:
    text = """
        plugins: [serves: {models: [mine], answers: true}]
        providers: {off: {dialect: openai, base_url: "https://off.invalid/v1", api_key: ""}}
        routes: [{name: off, match: {model: "off"}, targets: ["off/*"]}]
    """
    async with running_gateway(text, plugins=PLUGINS) as gateway:
        assert (await gateway.get("/health/ready")).json()["status"] == "ready"
        assert [each["id"] for each in (await gateway.get("/v1/models")).json()["data"]] == ["mine"]
        assert (await gateway.get("/v1/models/mine")).json()["owned_by"] == "serves"
        assert [each["name"] for each in (await gateway.get("/api/tags")).json()["models"]] == ["mine"]
        got = await gateway.post(CHAT, {**ASKED, "model": "mine"})
        assert got.json()["choices"][0]["message"]["content"] == "mine"
        assert (await gateway.post("/api/show", {"model": "mine"})).json()["capabilities"] == ["completion"]
        count = await gateway.post("/v1/messages/count_tokens", {**ASKED, "model": "mine"})
        assert count.status == 200 and count.json()["input_tokens"] > 0
        refused = await gateway.post("/v1/embeddings", {"model": "mine", "input": "x"})
        assert refused.status == 400 and refused.json()["error"]["param"] == "model"


async def test_a_plugin_that_does_not_answer_for_its_model_is_at_fault() -> None:
    async with running_gateway("plugins: [serves: {models: [mine]}]", plugins=PLUGINS) as gateway:
        got = await gateway.post(CHAT, {**ASKED, "model": "mine"})
        assert got.status == 500
        [line] = gateway.events("request_failed")
        assert line["error"] == 'the plugin "serves" did not answer for its model "mine"'


@pytest.mark.parametrize(
    ("plugins", "routes", "problem"),
    [
        ("serves: {models: [openai-x]}", "{name: x, match: {model: [a, openai-x]}, targets: [echo/echo]}",
         'gateway.yaml:3:13: plugins[0]: it answers the model "openai-x", which the route "x" names too; '
         "take it out of one of them; the route is at gateway.yaml:5:13"),
        ("serves: {models: [x]}", "{name: x, match: {model: y}, targets: [echo/echo]}",
         'plugins[0]: it answers the model "x", and a route has that name; rename one of them'),
        ("serves: {models: [x]}, other: {models: [x]}", "",
         'plugins[1]: the model "x" is also answered by serves; give one of them another name'),
        ('serves: {models: ["x*"]}', "", 'answers "x*", which is no model\'s name'),
        ("serves: {models: [3]}", "", "answers a model whose name is no text"),
        ("serves: {asks: {gone: 'steps[0].model'}}", "{name: a, match: {model: gane}, targets: [echo/echo]}",
         'plugins[0]: steps[0].model: no route serves the model "gone"; add one, or did you mean "gane"?'),
        ("serves: {asks: {y: 'first'}}", "{name: a, match: {model: x}, targets: [echo/echo]}",
         'first: no route serves the model "y"; add one, or name one of x'),
        ("timeouts", "{name: a, targets: [echo/echo], plugins: [serves: {models: [x]}]}",
         "routes[0].plugins[0]: the models that \"serves\" answers are not a route's business"),
        ("serves: {models: [x]}", "{name: a, match: {model: b}, targets: [echo/echo], plugins: [serves: {models: [y]}]}",
         "are not a route's business"),
    ],
)  # fmt: skip
async def test_what_contradicts_a_plugins_models_is_refused_with_its_place(
    plugins: str, routes: str, problem: str
) -> None:
    entries = "\n".join(f"          - {each}" for each in plugins.split(", "))
    text = f"plugins:\n{entries}\nroutes:\n          - {routes}\n" if routes else f"plugins:\n{entries}\n"
    with pytest.raises(ConfigErrors) as refused:
        async with running_gateway(text, plugins=PLUGINS):
            pass
    assert problem in str(refused.value), str(refused.value)


@pytest.mark.parametrize(
    ("asks", "route"),
    [
        ("a", "{name: a, match: {model: a, key: nobody}, targets: [echo/echo]}"),
        ("abc", "{name: a, match: {model: 'a*'}, targets: [echo/echo]}"),
        ("any", "{name: a, targets: [echo/echo]}"),
        ("mine", "{name: a, match: {model: b}, targets: [echo/echo]}"),
    ],
)
async def test_a_model_that_is_asked_for_may_be_any_routes_or_the_plugins_own(asks: str, route: str) -> None:
    text = f"plugins: [serves: {{models: [mine], asks: {{{asks}: here}}}}]\nroutes: [{route}]\n"
    async with running_gateway(text, plugins=PLUGINS) as gateway:
        assert gateway.core.snapshot.routes[0].route.name == "mine"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 200), ({"x-models": "flow"}, 403), ({"x-models": "flow,openai-*"}, 200), ({"x-routes": "flow"}, 403),
     ({"x-routes": "flow,all"}, 200), ({"x-models": "openai-*"}, 403)],
)  # fmt: skip
async def test_what_a_caller_may_use_holds_for_what_is_asked_on_its_behalf(
    headers: dict[str, str], status: int
) -> None:
    async with ScriptedUpstream(answer) as upstream:
        text = config(upstream.url, "access_log, who, flow")
        async with running_gateway(text, files=PRICES, plugins=PLUGINS) as gateway:
            got = await gateway.post(CHAT, ASKED, headers={"x-ask": "openai-plain", **headers})
            rows = await rows_of(gateway)
    assert got.status == status and {row.status for row in rows} == {status}
    assert len(upstream.requests) == (status == 200)
    assert status == 200 or got.json()["error"]["code"] == "permission_denied"


async def test_a_model_that_no_route_takes_is_404_in_the_row_of_the_child_too() -> None:
    async with ScriptedUpstream(answer) as upstream:
        async with running_gateway(config(upstream.url, "access_log, flow"), files=PRICES, plugins=PLUGINS) as gateway:
            got = await gateway.post(CHAT, ASKED, headers={"x-ask": "gone"})
            parent, (child,) = await family(gateway)
            assert gateway.events("child_failed") == []  # nobody's fault but of who asked
    assert got.status == 404 and got.json()["error"]["code"] == "model_not_found"
    assert (child.status, child.route, child.model_requested, parent.status) == (404, None, "gone", 404)


async def test_models_that_ask_for_one_another_end_as_a_fault_and_every_exchange_has_its_row() -> None:
    async with running_gateway("ledger: sqlite:rows.db\nplugins: [access_log, round]", plugins=PLUGINS) as gateway:
        got = await gateway.post(CHAT, {**ASKED, "model": "round"})
        rows: Any = await rows_of(gateway)
        [line] = gateway.events("request_failed")
    assert got.status == 500 and "asks itself" in got.json()["error"]["message"]
    assert len(rows) == 9 and {row.status for row in rows} == {500}
    above = {row.exchange_id: row.parent_id for row in rows}
    assert sorted(parent is None for parent in above.values()) == [False] * 8 + [True]
    assert "asks itself" in line["error"]


def test_routes_explain_and_checks_know_the_models_of_plugins(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/serves.py").write_text("\n".join(line[4:] for line in SERVES.splitlines()))
    (tmp_path / "gateway.yaml").write_text(
        "version: 1\nplugins: [serves: {models: [mine]}]\nroutes: [{name: all, targets: [echo/echo]}]\n"
        "checks: [{given: {model: mine}, expect: {route: mine}}]\n"
    )
    run = CliRunner().invoke
    routes = run(main, ["routes", str(tmp_path)])
    assert routes.exit_code == 0 and "mine  model mine  the plugin serves" in routes.output
    told = run(main, ["explain", str(tmp_path), "--model", "mine"])
    assert told.exit_code == 0 and "answered by the plugin serves" in told.output and "503" not in told.output
    assert '"answered_by": "serves"' in run(main, ["explain", str(tmp_path), "--model", "mine", "--json"]).output
    assert "1 of 1 hold" in run(main, ["check", str(tmp_path)]).output
    (tmp_path / "gateway.yaml").write_text("version: 1\nplugins: [serves: {asks: {gone: here}}]\n")
    refused = run(main, ["check", str(tmp_path)])
    assert refused.exit_code == 2 and 'here: no route serves the model "gone"' in refused.output
