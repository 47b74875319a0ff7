"""What holds for every test: the machine's environment stays outside, and under CI nothing is skipped."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path

import genai_prices.data  # noqa: F401 — half a second that the first exchange with a price would wait for
import pytest
from hypothesis import settings

# No deadline: a test never asserts a wall-clock time. `fuzz` is `make fuzz`.
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("fuzz", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile("default")

FROM_OUTSIDE = ("GATEWAY_", "LOG_", "OPENAI_", "ANTHROPIC_", "OLLAMA_")


def pytest_configure(config: pytest.Config) -> None:
    """Drop what would make a test depend on whose machine it is: keys, addresses and proxies."""
    for name in list(os.environ):
        if name.startswith(FROM_OUTSIDE) or name.endswith("_API_KEY") or name.lower().endswith("_proxy"):
            del os.environ[name]


# Where files are that take long for the tests they have: processes are started and killed there, browsers driven, SDKs
# loaded. Over several workers (a file stays on one) they come first, so that none is left alone with one at the end.
LONG = ("fleet", "endure", "examples", "admin", "clients", "test_packaging.py", "workflow", "cli", "server", "metrics")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of `LONG` first; within each, and of all others, the order stays."""
    tests = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        first = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        return LONG.index(first) if first in LONG else len(LONG)

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the collector from what is collected, millions of objects that stay: it would walk them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def skips_are_failures() -> bool:
    return os.environ.get("CI") == "true"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure when CI=true: there, what a test needs is installed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and skips_are_failures():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may not be skipped when CI=true: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for a module that skips itself while it is imported."""
    report = yield
    if report.skipped and skips_are_failures():
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} may not be skipped when CI=true: {report.longrepr}"
    return report
