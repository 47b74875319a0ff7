"""`kind: chain`: steps one after the other; the last one's words are the answer."""

from __future__ import annotations

import operator
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph

from gateway.plugin import Event

from .graph import Graph, Keeper
from .prompts import results, told
from .run import Run
from .steps import Step


class Said(TypedDict):
    """By step, what it said."""

    said: Annotated[dict[str, str], operator.or_]


class Chain:
    """All steps but the last are the graph. The last is asked outside of it: its words go to the client as they come,
    at the client's own speed."""

    def __init__(self, steps: Sequence[Step], keeper: Keeper | None) -> None:
        *before, self._last = steps
        self._graph = Graph(_built(before), keeper) if before else None
        self._names = [step.name for step in before]

    async def events(self, run: Run) -> AsyncGenerator[Event, None]:
        """Yield the answer. Raises: GatewayError."""
        said: Mapping[str, str] = {}
        if self._graph is not None:
            said = (await self._graph.run(run, {"said": {}}, most_steps=len(self._names)))["said"]
        in_order = {name: said[name] for name in self._names}
        messages = told(self._last.prompt, run.conversation, results(in_order))
        async with aclosing(run.answer(self._last, messages)) as events:
            async for event in events:
                yield event


def _built(steps: Sequence[Step]) -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(Said)
    before = START
    for step in steps:
        node = f"step {step.name}"
        builder.add_node(node, _node(step))
        builder.add_edge(before, node)
        before = node
    builder.add_edge(before, END)
    return builder


def _node(step: Step) -> Any:
    async def node(state: Said, config: RunnableConfig) -> dict[str, Any]:
        run: Run = config["configurable"]["run"]
        messages = told(step.prompt, run.conversation, results(state["said"]))
        return {"said": {step.name: await run.ask(step, messages)}}

    return node
