"""What is wrong with a configuration is told with its place and its cure; what is right loads as it is written."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from textwrap import indent

import pytest

from gateway.errors import ConfigErrors
from gateway.runtime.shown import options as options_shown
from gateway.testing import running_gateway
from tests.tools.kit import ADD

HTTP = "http: {url: 'http://127.0.0.1:1/x'}"
EXAMPLE = """
plugins:
  - tools:
      max_rounds: 5
      tools:
        - name: semantic_search
          description: Search documents by meaning.
          parameters: {type: object, properties: {query: {type: string}, top_k: {type: integer}}, required: [query]}
          http: {method: POST, url: "http://127.0.0.1:8082/v1/search", timeout: 10s}
          context: [taxonomy]     # keys of the session's context merged into the arguments
        - {name: add, python: "tools.py:add"}        # a typed function in the home
providers: {echo: {}}
routes: [{name: all, targets: [echo/echo]}]
"""


async def refusal(tools: str, files: dict[str, str] | None = None, options: str = "") -> str:
    config = f"plugins:\n  - tools:\n      tools:\n{indent(tools, ' ' * 8)}\n{indent(options, ' ' * 6)}\n"
    config += "providers: {echo: {}}\nroutes: [{name: all, targets: [echo/echo]}]\n"
    with pytest.raises(ConfigErrors) as caught:
        async with running_gateway(config, files=files or {"tools.py": ADD}):
            raise AssertionError("it was taken")
    return str(caught.value)


async def test_the_example_of_the_documentation_loads() -> None:
    async with running_gateway(EXAMPLE, files={"tools.py": ADD}) as gateway:
        listed = (await gateway.get("/v1/tools")).json()["tools"]
        assert [tool["name"] for tool in listed] == ["semantic_search", "add"]
        assert listed[0]["parameters"]["required"] == ["query"]


@pytest.mark.parametrize(
    ("tool", "place", "problem"),
    [
        (
            "- {name: a}",
            "5:11: plugins[0].tools.tools[0]",
            ": a tool has one of http, python and mcp, this one none; name what",
        ),
        (f"- {{name: a, {HTTP}, python: 'tools.py:add'}}", "5:11", "this one http and python"),
        (f"- {{{HTTP}}}", "5:11", ": a tool by http has no name of its own; add name:"),
        (f"- {{name: a, {HTTP}}}\n- {{name: a, {HTTP}}}", "6:11", ': there are two tools "a"; give one of them'),
        (f"- {{name: 'a b', {HTTP}}}", "5:18: plugins[0].tools.tools[0].name", "has not the right form; Write 1 to 64"),
        ("- {name: a, http: {url: 'ftp://x/y'}}", "5:33: plugins[0].tools.tools[0].http.url", "Begin the address with"),
        ("- {name: a, http: {url: 'file:///etc/passwd'}}", "5:33", "Begin the address with http:// or https://"),
        ("- {mcp: 'stdio:x'}", "5:17: plugins[0].tools.tools[0].mcp", "http:// or https://"),
        ("- {name: a, http: {url: 'http://x:99999/'}}", "5:11", ": the address cannot be used: Port out of range"),
        ("- {name: a, http: {url: 'http://x/a b'}}", "5:11", "the address cannot be used: it has white space in it"),
        ("- {mcp: 'http://[::1/'}", "5:11", "the address cannot be used: Invalid IPv6 URL; write for"),
        ("- {name: a, http: {url: 'http://x', headers: {'a b': c}}}", "5:11", '"a b" is no name of a header'),
        ("- {name: a, http: {url: 'http://x', headers: {A: c, a: d}}}", "5:11", 'the header "a" stands twice'),
        ('- {name: a, http: {url: "http://x", headers: {A: "c\\nd"}}}', "5:11", 'of the header "A" has a line break'),
        ("- {mcp: 'http://x', headers: {Accept: c}}", "5:11", 'the header "Accept" is the gateway\'s own; remove it'),
        (
            "- {name: a, http: {url: 'http://me:secret@x', headers: {Authorization: c}}}",
            "5:11",
            "there is a user in the address and a header authorization; keep one",
        ),
        (f"- {{name: a, {HTTP}, max_bytes: 0KiB}}", "5:11", "max_bytes is 0, which takes no result"),
        ("- {name: a, http: {url: 'http://x', method: TRACE}}", "5:53", '"TRACE" is not allowed here'),
        (f"- {{name: a, {HTTP}, parameters: {{type: objekt}}}}", "5:11", ": parameters: type: 'objekt' is not"),
        (f"- {{name: a, {HTTP}, parameters: {{type: array}}}}", "5:11", 'arguments are an object, not "array"'),
        (
            f"- {{name: a, {HTTP}, parameters: {{properties: [a]}}}}",
            "5:11",
            ": parameters: properties: ['a'] is not of type",
        ),
        (f"- {{name: a, {HTTP}, timeout: 0s}}", "5:11", "timeout is 0, which lets nothing end well"),
        (f"- {{name: a, {HTTP}, prefix: x_}}", "5:11", '"prefix" says nothing of a tool by http; it belongs to mcp'),
        ("- {mcp: 'http://x/mcp', name: a}", "5:11", 'an MCP server says the "name" of its tools itself'),
        (f"- {{name: a, {HTTP}, contexts: [a]}}", "5:", 'unknown key "contexts"; did you mean "context"?'),
        ("- {python: 'missing.py:add'}", "5:11", "missing.py cannot be read (No such file or directory)"),
        ("- {python: 'tools.py:ad'}", "5:11", 'there is no function "ad" in tools.py; it has: add, fail, shout'),
        ("- {python: 'no_such_module_x:add'}", "5:11", "no_such_module_x cannot be imported: ModuleNotFoundError"),
        ("- {python: 'tools.py'}", "5:20: plugins[0].tools.tools[0].python", "file.py:function"),
    ],
)
async def test_a_wrong_tool_is_told_with_its_place_and_cure(tool: str, place: str, problem: str) -> None:
    told = await refusal(tool)
    assert place in told
    assert problem in told
    assert told.startswith("gateway.yaml:")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f(a): return a", 'the parameter "a" of "f" has no type; write for example a: str'),
        ("def f(*a: int) -> int: return 1", '"f" takes *a: int, which no JSON object can hold'),
        ("def f(**a: int) -> int: return 1", '"f" takes **a: int'),
        ("def f(a: int, /) -> int: return 1", '"f" takes a: int'),
        ("def f(a: 'Missing') -> int: return 1", 'the type hints of "f" cannot be read'),
        ("def f(a: object()) -> int: return 1", 'the types of "f" have no JSON form'),
        ("def f(a: complex) -> int: return 1", 'the types of "f" have no JSON form'),
        ("f = 5", 'there is no function "f" in t.py; define it there'),
    ],
)
async def test_a_function_whose_arguments_are_not_known_is_refused(code: str, told: str) -> None:
    assert told in await refusal("- {python: 't.py:f'}", {"t.py": code})


async def test_a_fault_in_a_python_file_is_told_at_its_own_line() -> None:
    assert (await refusal("- {python: 't.py:f'}", {"t.py": "x = 1\ny = 1 / 0\n"})).startswith(
        "t.py:2:1: cannot be loaded: ZeroDivisionError: division by zero"
    )
    assert (await refusal("- {python: 't.py:f'}", {"t.py": "def f(:\n"})).startswith("t.py:1:1: not valid Python")


async def test_context_that_a_function_cannot_take_is_refused() -> None:
    told = await refusal("- {python: 'tools.py:add', context: [taxonomy]}")
    assert '"add" has no parameter "taxonomy" for what context puts there; add one' in told


async def test_tools_stand_behind_auth_and_session() -> None:
    for name in ("auth: {}", "session: {}"):
        config = (
            f"plugins: [tools, {{{name}}}]\nproviders: {{echo: {{}}}}\nroutes: [{{name: all, targets: [echo/echo]}}]"
        )
        with pytest.raises(ConfigErrors, match="tools"):
            async with running_gateway(config):
                raise AssertionError("it was taken")


async def test_a_route_may_take_the_tools_out_or_have_others() -> None:
    config = EXAMPLE + "# \n"
    routes = """routes:
  - {name: bare, match: {model: bare}, targets: [echo/echo], plugins: [{tools: off}]}
  - {name: own, match: {model: own}, targets: [echo/echo], plugins: [{tools: {tools: [{python: "tools.py:shout"}]}}]}
  - {name: all, targets: [echo/echo]}
"""
    config = config.replace("routes: [{name: all, targets: [echo/echo]}]\n", routes)
    required = {"tool_choice": "required", "messages": [{"role": "user", "content": "ha"}]}
    async with running_gateway(config, files={"tools.py": ADD}) as gateway:
        own = await gateway.post("/v1/chat/completions", {"model": "own", **required})
        assert own.json()["choices"][0]["message"]["content"] == "HA"
        bare = await gateway.post("/v1/chat/completions", {"model": "bare", **required})
        assert bare.json()["choices"][0]["message"]["content"] == "ha"


async def test_an_edited_function_is_the_new_one_after_a_reload() -> None:
    async with running_gateway(EXAMPLE, files={"tools.py": ADD}) as gateway:
        call = {"name": "add", "arguments": {"a": 2, "b": 2}}
        assert (await gateway.post("/v1/tools/execute", call)).json()["result"] == 4
        path: Path = gateway.home / "tools.py"
        path.write_text("def add(a: int, b: int) -> int:\n    return a * b * 10\n")
        await gateway.reloader.reload("test")
        assert (await gateway.post("/v1/tools/execute", call)).json()["result"] == 40


async def test_the_watcher_takes_an_edited_file_of_functions() -> None:
    async with running_gateway(EXAMPLE, files={"tools.py": ADD}) as gateway:
        watcher = asyncio.ensure_future(gateway.reloader.watch())
        try:
            (gateway.home / "tools.py").write_text("def add(a: int) -> str:\n    return 'new'\n")
            async with asyncio.timeout(20):
                while not gateway.events("reloaded"):
                    await asyncio.sleep(0.02)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        answer = await gateway.post("/v1/tools/execute", {"name": "add", "arguments": {"a": 2}})
        assert answer.json()["result"] == "new"


async def test_a_headers_value_is_shown_to_nobody() -> None:
    headers = 'headers: {authorization: "Bearer ${TOOL_KEY}"}'
    http, mcp = (
        f'{{name: a, http: {{url: "http://127.0.0.1:1/", {headers}}}}}',
        f'{{mcp: "http://127.0.0.1:1/mcp", {headers}}}',
    )
    chain = f"plugins: [{{tools: {{tools: [{http}, {mcp}]}}}}]"
    config = f"{chain}\nproviders: {{echo: {{}}}}\nroutes: [{{name: e, targets: [echo/echo]}}]\n"
    async with running_gateway(config, environ={"TOOL_KEY": "sk-never-shown-1"}) as gateway:
        snapshot = gateway.core.snapshot
        [tools] = snapshot.config.plugins
        told = json.dumps(options_shown(snapshot.catalog, tools))  # type: ignore[arg-type]  # what loads is the catalog
        assert told.count("127.0.0.1:1/") == 2
        assert "sk-never-shown-1" not in told + json.dumps(gateway.log)
