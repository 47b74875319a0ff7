"""What the file may say, and what is refused before anything serves."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import gateway as command
from gateway.testing import running_gateway
from tests.serving import run
from tests.workflow.kit import CHAIN, PROMPTS, TEAM, config
from tests.workflow.test_own import ASKS, HEAD, TAIL

FILES = {**PROMPTS, "prompts/empty.md": "\n", "prompts/bad.json": "{", "prompts/list.json": "[]"}


def check(home: Path, text: str, files: Mapping[str, str] = FILES) -> tuple[int, str]:
    """Run `gateway check` over `text` as a home's file; return the exit code and all it said."""
    for name, content in {**files, "gateway.yaml": f"version: 1\n{text}"}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    result = CliRunner().invoke(command, ["check", str(home)])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("prompts/analyze.md", "prompts/nowhere.md", 'workflows.story.steps[0].prompt: no file "prompts/nowhere.md"'),
        ("prompts/analyze.md", "prompts/empty.md", 'workflows.story.steps[0].prompt: "prompts/empty.md" is empty'),
        (
            "prompts/process.json",
            "prompts/nowhere.json",
            'workflows.story.steps[1].output: no file "prompts/nowhere.json"',
        ),
        ("prompts/process.json", "prompts/bad.json", "workflows.story.steps[1].output: this is not JSON"),
        ("prompts/process.json", "prompts/list.json", "workflows.story.steps[1].output: this is no JSON Schema"),
        ("model: large", "model: huge", 'no route serves the model "huge"'),
        ("name: process", "name: analyze", '"analyze" is also the name of workflows.story.steps[0]'),
        ("output: prompts/analysis.json,", "", "workflows.story.steps[0].gate: a gate looks at fields"),
        ("min_length: 1}}}}", "min_lenght: 1}}}}", 'unknown key "min_lenght"; did you mean "min_length"?'),
        ("min_length: 1}}}}", 'pattern: "("}}}}', "no regular expression"),
        ("temperature: 0.3", "temperature: 3", "must be 2 or less"),
        ("name: process", 'name: "a b"', "has not the right form"),
        ("kind: chain", "kind: chian", "chian"),
        ("temperature: 0.5", "temprature: 0.5", 'did you mean "temperature"?'),
        ("temperature: 0.5", "timeout: 0s", "workflows.story.steps[2].timeout: 0 ends the step"),
        ("model: large", "model: story", "a workflow that asks for itself never ends: story → story"),
        (
            "kind: chain",
            "kind: chain\n          checkpoint: true\n          checkpoint_ttl: 0s",
            "nothing would be kept",
        ),
    ],
)
def test_a_mistake_in_a_chain_is_told_with_its_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    changed = CHAIN.replace(old, new, 1)
    assert changed != CHAIN
    code, said = check(tmp_path, config(changed, "http://127.0.0.1:1"))
    assert code == 2
    assert problem in " ".join(said.split())
    assert "gateway.yaml:" in said


STRICT = """{"type": "object", "additionalProperties": false, "properties": {"intent": {"type": "string"},
"sure": {"type": ["number", "null"]}, "deep": {"type": "object", "additionalProperties": false, "properties":
{"list": {"type": "array"}}}, "any": {}, "open": {"type": "object"}, "a.b": {"type": "string"}}}"""


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        ("intnt: {min_length: 1}", '.intnt: the schema allows no field "intnt"; did you mean "intent"?'),
        ("deep.lost: {min_items: 1}", '.deep.lost: the schema allows no field "deep.lost"; did you mean "list"?'),
        ("sure: {min_length: 1}", '.sure.min_length: the schema says that "sure" is number or null, so nothing passes'),
        ("deep.list: {minimum: 1}", '.deep.list.minimum: the schema says that "deep.list" is array, so nothing passes'),
        ("sure: {minimum: 5, maximum: 1}", ".sure: minimum is above maximum, so nothing passes"),
        ("any: {min_length: 5, max_items: 7}", ".any: min_length and max_items are of different types"),
        ("intent: {min_length: 1, max_length: 1, pattern: x}, sure: {minimum: 1, maximum: 2}", ""),
        ("deep.list: {min_items: 1}, any: {maximum: 1}, any.where: {enum: [1]}, open.x: {minimum: 1}", ""),
        ("a.b: {min_length: 1}, intent: {enum: [1]}", ""),
    ],
)
def test_a_gate_that_nothing_passes_is_refused(tmp_path: Path, gate: str, problem: str) -> None:
    text = config(CHAIN, "http://127.0.0.1:1").replace("gate: {intent: {min_length: 1}}", f"gate: {{{gate}}}")
    code, said = check(tmp_path, text, {**FILES, "prompts/analysis.json": STRICT})
    assert code == (2 if problem else 0), said
    assert not problem or f"workflow.workflows.story.steps[0].gate{problem}" in said


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("at_most: 3", "at_most: 0", "must be 1 or more"),
        ("coordinator: {{model: large, temperature: 0.1}}", "", '"coordinator" is missing'),
        ("workers: {{model: small", "workers: {{model: smal", 'no route serves the model "smal"'),
        ("timeout: 30s", "timeout: 30", "30"),
    ],
)
def test_a_mistake_in_an_orchestrator_is_told_with_its_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    changed = TEAM.replace(old, new, 1)
    assert changed != TEAM
    code, said = check(tmp_path, config(changed, "http://127.0.0.1:1"))
    assert code == 2
    assert problem in " ".join(said.split())


@pytest.mark.parametrize(
    ("use", "graphs", "problem"),
    [
        ("nowhere.py:graph", "", 'there is no file "nowhere.py"'),
        ("graphs.py:grpah", "graph = 1", 'did you mean "graph"?'),
        ("graphs.py:graph", "graph = = 1", "graphs.py:1: not valid Python"),
        ("no_such_package.graphs:graph", "", 'there is no module "no_such_package"'),
        ("graphs.py", "graph = 1", "has not the right form"),
    ],
)
def test_a_graph_that_cannot_be_right_is_told_without_running_it(
    tmp_path: Path, use: str, graphs: str, problem: str
) -> None:
    text = config(f'\n        own: {{{{use: "{use}"}}}}\n', "http://127.0.0.1:1")
    code, said = check(tmp_path, text, {"graphs.py": graphs})
    assert code == 2
    assert problem in " ".join(said.split())


def test_a_model_that_a_graph_says_it_asks_for_must_be_served(tmp_path: Path) -> None:
    text = config('\n        own: {{use: "graphs.py:graph", asks: [small, tiny]}}\n', "http://127.0.0.1:1")
    code, said = check(tmp_path, text, {"graphs.py": "graph = 1"})
    assert code == 2
    assert 'no route serves the model "tiny"' in " ".join(said.split())
    assert "workflows.own.asks[1]" in said


def test_circles_through_several_workflows_are_found(tmp_path: Path) -> None:
    step = "steps: [{{name: s, model: %s, prompt: prompts/analyze.md}}]"
    text = f"\n        a: {{{{kind: chain, {step % 'b'}}}}}\n        b: {{{{kind: chain, {step % 'a'}}}}}\n"
    code, said = check(tmp_path, config(text, "http://127.0.0.1:1"))
    assert code == 2
    assert "a → b → a" in said


def test_prompts_of_the_home_go_before_the_standard_ones(tmp_path: Path) -> None:
    text = config(TEAM, "http://127.0.0.1:1")
    assert check(tmp_path, text, {})[0] == 0
    code, said = check(tmp_path, text, {"config/prompts/work.md": " "})
    assert code == 2
    assert '"config/prompts/work.md" is empty' in said


CHECKED = """
import sys
if sys.argv[2:]:
    sys.modules[sys.argv[2]] = None  # as where it is not installed
from gateway.cli import gateway
gateway(["check", sys.argv[1]], standalone_mode=bool(sys.argv[2:]))
print("modules:", *sys.modules)
"""


async def test_a_check_loads_nothing_of_langgraph(tmp_path: Path) -> None:
    check(tmp_path, config(CHAIN + TEAM, "http://127.0.0.1:1"))
    printed = await run(sys.executable, "-c", CHECKED, str(tmp_path))  # a process of its own: this one may have it
    assert "workflow" in printed
    assert not {"langgraph.graph", "langchain_core", "langsmith"} & set(printed.rpartition("modules:")[2].split())


@pytest.mark.parametrize("missing", ["langgraph.graph"])
async def test_without_the_extra_the_plugins_entry_says_what_to_install(tmp_path: Path, missing: str) -> None:
    check(tmp_path, config(CHAIN, "http://127.0.0.1:1"))
    with pytest.raises(AssertionError) as refused:
        await run(sys.executable, "-c", CHECKED, str(tmp_path), missing)
    said = " ".join(str(refused.value).split())
    assert re.search(r"gateway\.yaml:\d+:\d+: plugins\[1\]: workflow needs LangGraph", said)
    assert 'pip install "llm-gateway[workflow]"' in said


async def test_prompts_schemas_and_graphs_are_files_of_the_plugin_and_so_watched() -> None:
    own = '\n        own: {{use: "graphs.py:graph"}}\n'
    files = {**PROMPTS, "graphs.py": HEAD + ASKS + TAIL}
    async with running_gateway(config(CHAIN + own, "http://127.0.0.1:1"), files=files) as gateway:
        [plugin] = [each for each in gateway.core.snapshot.plugins if each.name == "workflow"]
        assert {path for path in plugin.files if path.is_file()} == {gateway.home / name for name in files}
