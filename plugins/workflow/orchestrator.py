"""`kind: orchestrator`: a coordinator makes tasks, workers do them at the same time, a synthesizer's words are the
answer."""

from __future__ import annotations

import operator
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from gateway.plugin import Event, GatewayError, UpstreamError

from .gates import Unfit
from .graph import Graph, Keeper
from .prompts import task, tasks_done, told
from .run import Run, gate_failed
from .steps import Step

COORDINATE, WORK = "coordinate", "work"


class Work(TypedDict):
    """The tasks, and what came of each, in the order in which they ended: its `number`, the `text` or why there is
    none, and whether it `is_done`."""

    tasks: list[str]
    # No class of ours: typing keeps the last 128 of these for ever, and a reload brings new classes.
    done: Annotated[list[dict[str, Any]], operator.add]


class Given(TypedDict):
    """What one worker is sent."""

    number: int
    task: str


class Orchestrator:
    """Coordinator and workers are the graph, the synthesizer stands outside as a chain's last step does. Each worker's
    result is kept by itself: what an interruption leaves undone is done again, and nothing else."""

    def __init__(self, coordinator: Step, worker: Step, at_most: int, synthesizer: Step, keeper: Keeper | None) -> None:
        self._coordinator, self._worker, self._at_most, self._last = coordinator, worker, at_most, synthesizer
        self._graph = Graph(self._built(), keeper)

    async def events(self, run: Run) -> AsyncGenerator[Event, None]:
        """Yield the answer. Raises: GatewayError."""
        state = await self._graph.run(run, {"tasks": [], "done": []}, most_steps=2)
        done = sorted(state["done"], key=lambda each: int(each["number"]))
        if not any(each["is_done"] for each in done):
            raise UpstreamError(
                "bad_response", f"every task failed; the first: {done[0]['text']}", code="upstream_error"
            )
        added = tasks_done(state["tasks"], [(each["text"], each["is_done"]) for each in done])
        async with aclosing(run.answer(self._last, told(self._last.prompt, run.conversation, added))) as events:
            async for event in events:
                yield event

    def _built(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(Work)
        builder.add_node(COORDINATE, self._coordinate)
        builder.add_node(WORK, self._work, input_schema=Given)
        builder.add_edge(START, COORDINATE)
        builder.add_conditional_edges(COORDINATE, _workers, [WORK])
        builder.add_edge(WORK, END)
        return builder

    async def _coordinate(self, state: Work, config: RunnableConfig) -> dict[str, Any]:
        run: Run = config["configurable"]["run"]
        said = await run.ask(self._coordinator, told(self._coordinator.prompt, run.conversation))
        tasks = [each for each in msgspec.json.decode(said)["tasks"] if each.strip()]
        if not tasks:
            raise gate_failed(self._coordinator.name, Unfit("tasks", "has no task in it"))
        if len(tasks) > self._at_most:
            run.warn("workflow_tasks_cut", tasks=len(tasks), at_most=self._at_most)
        return {"tasks": tasks[: self._at_most]}

    async def _work(self, state: Given, config: RunnableConfig) -> dict[str, Any]:
        run: Run = config["configurable"]["run"]
        step = replace(self._worker, name=f"{self._worker.name} {state['number'] + 1}")
        try:
            text, is_done = await run.ask(step, told(step.prompt, run.conversation, task(state["task"]))), True
        except GatewayError as error:  # the others may still be of use; who combines them is told
            text, is_done = error.message, False
            run.warn("workflow_worker_failed", step=step.name, error=error.message, error_code=error.code)
        return {"done": [{"number": state["number"], "text": text, "is_done": is_done}]}


def _workers(state: Work) -> list[Send]:
    return [Send(WORK, {"number": number, "task": text}) for number, text in enumerate(state["tasks"])]
