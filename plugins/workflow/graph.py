"""A LangGraph graph as a request runs it: with checkpoints where the run has a thread, and never traced to anybody."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from langsmith import tracing_context

from .checkpoints import Keeper
from .run import Run

__all__ = ["Graph", "Keeper"]


def untraced() -> AbstractContextManager[None]:
    """Return a context in which LangChain sends nothing to LangSmith.

    SECURITY: LangGraph hands prompts and answers to whatever LANGSMITH_TRACING (or LANGCHAIN_TRACING_V2) in the
    environment turns on. An operator who wants traces of workflows has the tracing plugin, which holds no prompts.
    """
    return tracing_context(enabled=False)


class Graph:
    """A graph compiled once, with checkpoints and without: a run that cannot be taken up again saves itself the
    writes."""

    def __init__(self, graph: Any, keeper: Keeper | None) -> None:
        """`graph` is compiled, or still to be."""
        self._keeper = keeper
        self._plain = self._kept = graph if hasattr(graph, "ainvoke") else graph.compile()
        if keeper is not None:
            self._kept = self._plain.copy({"checkpointer": keeper})

    async def run(
        self, run: Run, given: Mapping[str, Any], *, most_steps: int | None = None, **configurable: Any
    ) -> Mapping[str, Any]:
        """Return the state that the graph ends in; a run that was interrupted goes on. Raises: what a node raises."""
        config: dict[str, Any] = {"configurable": {**configurable, "run": run}}
        if most_steps is not None:
            config["recursion_limit"] = most_steps + 1
        with untraced():
            if self._keeper is None or not run.thread:
                return dict(await self._plain.ainvoke(given, config))
            config["configurable"]["thread_id"] = run.thread
            run.forget = self._keeper.forget
            start = await self._keeper.start(run, given)
            # sync: a step is kept before the next one begins, so that a gateway killed at any time repeats none.
            return dict(await self._kept.ainvoke(start, config, durability="sync"))
