"""Habits of the repository that no linter knows: what no file may hold, and the lists that stay closed."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.imports import ROOT

pytest_plugins = ["pytester"]

# Every library is a decision: what a bare install brings, and why, stands in the design.
DEPENDENCIES = {
    "aiohttp", "uvloop", "httptools", "msgspec", "pyyaml", "jsonschema", "watchfiles", "click", "rich",
    "redis", "sqlalchemy", "pyjwt", "genai-prices", "prometheus-client", "prometheus-async", "aiohttp-jinja2", "jinja2",
}  # fmt: skip
# What those bring with them. A new name here is a new thing that operators must trust.
BROUGHT_ALONG = {
    "aiohappyeyeballs", "aiosignal", "anyio", "attrs", "frozenlist", "idna", "jsonschema-specifications",
    "markdown-it-py", "mdurl", "multidict", "propcache", "pygments", "referencing", "rpds-py", "typing-extensions",
    "yarl",
    # redis: hiredis, async-timeout; PyJWT: cryptography and what it compiles against
    "hiredis", "async-timeout", "cryptography", "cffi", "pycparser",
    # genai-prices
    "annotated-types", "h11", "httpcore2", "httpx2", "httpx2-jsfetch", "pydantic", "pydantic-core", "truststore",
    "typing-inspection",
    "wrapt",  # prometheus-async
    "markupsafe",  # Jinja2
}  # fmt: skip

EXTRAS = {
    "postgres": {"asyncpg", "greenlet"},
    "sdk": {"openai", "anthropic"},
    "workflow": {"langgraph"},
    "otel": {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"},
}

# A sitting. Tests may be longer: they are looked up, not read through.
MOST_LINES = {"tests": 500, "": 320}
LONG = {
    "tests/dialects/test_anthropic_request.py": "a fact a field of the request, in the order of the API's reference"
}

# Written in halves so that this file does not find itself.
FORBIDDEN = {
    "a machine's path": re.compile(r"/(?:home|Users|root|tmp|work|opt/pypi)" + r"/[a-z]"),
    "a package index": re.compile(r"py" + r"pi\.org|files\.python" + r"hosted|registry\.npm" + r"js|deb\.deb" + r"ian"),
    "something left to do": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b|raise Not" + r"ImplementedError"),
    "a key": re.compile(r"sk-(?:ant-|proj-)?[A-Za-z0-9]{2}[A-Za-z0-9_-]{30,}|-----BEGIN [A-Z ]*PRIVATE " + r"KEY"),
}
# Paths that are nobody's machine: inside the image, or an example of what must not leak.
ALLOWED = re.compile(r"/root/\.cache/pip|/home/nobody")


@cache
def repository_files() -> tuple[Path, ...]:
    """Return what git holds or would add; where there is no git, everything but what tools leave behind."""
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    names = found.stdout.split("\0") if found.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or [
        path
        for path in ROOT.rglob("*")
        if not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(ROOT).parts)
    ]
    return tuple(sorted(path for path in paths if path.is_file()))


def texts() -> list[tuple[str, str]]:
    found = []
    for path in repository_files():
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue  # a picture, or bytes that a test replays
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    wrong = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if FORBIDDEN[what].search(ALLOWED.sub("", line)) and name != ".gitignore"
    ]
    assert not wrong, "\n".join(wrong)


def test_the_patterns_find_what_they_are_for() -> None:
    samples = {
        "a machine's path": "open('/ho" + "me/ann/x')",
        "a package index": "https://py" + "pi.org/simple",
        "something left to do": "# TO" + "DO later",
        "a key": "sk-" + "a" * 40,
    }
    assert samples.keys() == FORBIDDEN.keys()
    for what, sample in samples.items():
        assert FORBIDDEN[what].search(sample), what


def most_lines(name: str) -> int:
    return MOST_LINES.get(name.partition("/")[0], MOST_LINES[""])


def test_no_source_file_is_longer_than_a_sitting() -> None:
    lengths = {name: text.count("\n") for name, text in texts() if name.endswith(".py")}
    assert {name: n for name, n in lengths.items() if n > most_lines(name)} == {}


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0].lower().replace("_", "-").replace(".", "-")


def locked(lock: str) -> set[str]:
    lines = (ROOT / "requirements" / lock).read_text("utf-8").splitlines()
    return {name_of(line.partition("==")[0]) for line in lines if re.match(r"[A-Za-z0-9]", line)}


def test_the_list_of_dependencies_is_closed() -> None:
    table = project()["project"]
    assert isinstance(table, dict)
    assert {name_of(re.split("[<>=]", entry)[0]) for entry in table["dependencies"]} == DEPENDENCIES
    extras = {name: {name_of(each) for each in given} for name, given in table["optional-dependencies"].items()}
    assert extras == {**EXTRAS, "all": set().union(*EXTRAS.values())}


def test_the_lock_holds_the_closed_list_and_what_it_brings() -> None:
    assert locked("run.txt") == DEPENDENCIES | BROUGHT_ALONG


@pytest.mark.parametrize("lock", sorted(path.name for path in (ROOT / "requirements").glob("*.txt")))
def test_a_lock_pins_every_line_with_a_hash_and_names_no_index(lock: str) -> None:
    entries = (ROOT / "requirements" / lock).read_text("utf-8").replace("\\\n", " ").splitlines()
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ]+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+$", entry), (
            entry
        )


def test_a_checkout_and_the_image_bring_every_extra() -> None:
    assert locked("all.txt") >= DEPENDENCIES.union(*EXTRAS.values())


@pytest.mark.parametrize("lock", ["run.txt", "build.txt", "all.txt"])
def test_what_is_tested_with_is_what_runs(lock: str) -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / "requirements" / name).read_text("utf-8").splitlines()
        return {line.split(" ")[0] for line in lines if "==" in line.split(" ")[0]}

    assert pins(lock) <= pins("dev.txt")


def test_the_home_opens_with_the_editors_schema_comment() -> None:
    for home in ROOT.glob("examples/*/gateway.yaml"):
        first = home.read_text("utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=../../config/schema.json", home
    first = (ROOT / "gateway.yaml").read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=config/schema.json"


def test_the_image_leaves_secrets_and_history_outside() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {".env", ".git"} <= set(ignored)
    assert not any(line.startswith("!") and (".env" in line or ".git" in line) for line in ignored)


def test_make_targets_that_are_promised_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"run", "test", "test-real", "check", "bench", "fuzz", "soak", "lock"} <= targets


def test_ci_runs_the_lint_and_every_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text("utf-8").splitlines()
    assert "set -euo pipefail" in lines
    assert {"make lint", "make test", "make test-real"} <= set(lines)


def test_a_skip_is_a_failure_under_ci_and_not_elsewhere(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text("utf-8"))
    pytester.makepyfile(
        test_one="import pytest\n\ndef test_needs_a_browser():\n    pytest.skip('no browser')\n",
        test_two="import pytest\n\npytest.skip('no database', allow_module_level=True)\n",
    )
    monkeypatch.delenv("CI", raising=False)
    pytester.runpytest_subprocess().assert_outcomes(skipped=2)
    monkeypatch.setenv("CI", "true")
    result = pytester.runpytest_subprocess("-k", "browser or two")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*may not be skipped when CI=true*"])
    result.assert_outcomes(errors=1)  # the module; one error ends collection
    pytester.runpytest_subprocess("test_one.py").assert_outcomes(failed=1)
