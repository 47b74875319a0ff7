"""Checkpoints of interrupted runs, in the gateway's shared state: memory, SQLite or Redis, whatever `state:` names.

Of each run only the last checkpoint is kept, with what the tasks behind it have written since; both are forgotten when
the run ends, or `ttl_s` after their last change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    writes_sort_key,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from gateway.plugin import StateLost, StateStore

from .run import Run


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A checkpoint as it is stored; `parent` is the id of the one before."""

    id: str
    parent: str | None
    checkpoint: tuple[str, bytes]
    metadata: tuple[str, bytes]


class Written(msgspec.Struct, frozen=True, array_like=True):
    """What a task has written to one channel."""

    task: str
    path: str
    number: int
    channel: str
    value: tuple[str, bytes]


_encode = msgspec.msgpack.encode
_kept = msgspec.msgpack.Decoder(Kept).decode
_written = msgspec.msgpack.Decoder(Written).decode


class Going:
    """A run that goes on: what is stored of it, and whether the state was lost meanwhile."""

    def __init__(self, run: Run) -> None:
        self.run, self.is_lost = run, False
        self.keys: set[str] = set()


class Keeper(BaseCheckpointSaver[int]):
    """LangGraph's checkpointer over a `StateStore`. A state that cannot be reached costs the run its checkpoints, and
    nothing else: they are insurance, not the answer."""

    def __init__(self, state: StateStore, ttl_s: float) -> None:
        # SECURITY: None lets nothing be made of stored bytes but LangGraph's own list of plain types (and what a
        # graph's state names); the default would import whatever they name.
        super().__init__(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._state, self._ttl_s = state, ttl_s
        self._going: dict[str, Going] = {}

    async def start(self, run: Run, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what the graph is started with: `given`, or None to go on where `run` was interrupted."""
        self._going.setdefault(run.thread, Going(run))
        if await self.aget_tuple({"configurable": {"thread_id": run.thread}}) is None:
            return given
        run.log.info("workflow_resumed", request_id=run.exchange.id, workflow=run.name)
        return None

    async def forget(self, thread: str, *, is_done: bool) -> None:
        """Let go of a run: of what is stored only when it `is_done`."""
        going = self._going.pop(thread, None)
        if going is not None and going.keys and is_done:
            try:
                await self._state.delete(*going.keys)
            except StateLost:
                return  # it lives no longer than its time

    # --- what LangGraph calls ----------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the last checkpoint of a thread, None when there is none or it is not the one asked for."""
        thread, space, wanted = _place(config)
        try:
            found = await self._state.get(_checkpoint_key(thread, space))
            if found is None:
                return None
            kept = _kept(found)
            if wanted is not None and wanted != kept.id:
                return None
            items = await self._state.items(_writes_key(thread, space, kept.id))
        except StateLost:
            self._lost(thread)
            return None
        self._note(thread, _checkpoint_key(thread, space), _writes_key(thread, space, kept.id))
        writes = {(one.task, one.number): one for one in map(_written, items)}
        in_order = sorted(writes.values(), key=lambda one: writes_sort_key(one.path, one.task, one.number))
        return CheckpointTuple(
            config=_config(thread, space, kept.id),
            checkpoint=self.serde.loads_typed(kept.checkpoint),
            metadata=self.serde.loads_typed(kept.metadata),
            parent_config=None if kept.parent is None else _config(thread, space, kept.parent),
            pending_writes=[(one.task, one.channel, self.serde.loads_typed(one.value)) for one in in_order],
        )

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint in place of the one before it."""
        thread, space, parent = _place(config)
        kept = Kept(checkpoint["id"], parent, self.serde.dumps_typed(checkpoint), self.serde.dumps_typed(metadata))
        keys = self._note(thread, _checkpoint_key(thread, space))
        try:
            await self._state.put(_checkpoint_key(thread, space), _encode(kept), self._ttl_s)
            if parent is not None and (gone := _writes_key(thread, space, parent)) in keys:
                keys.discard(gone)
                await self._state.delete(gone)
        except StateLost:
            self._lost(thread)
        return _config(thread, space, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote: it is not run again."""
        thread, space, checkpoint = _place(config)
        key = _writes_key(thread, space, checkpoint or "")
        values = [
            _encode(Written(task_id, task_path, WRITES_IDX_MAP.get(name, number), name, self.serde.dumps_typed(value)))
            for number, (name, value) in enumerate(writes)
        ]
        self._note(thread, key)
        try:
            await self._state.push(key, values, self._ttl_s)
        except StateLost:
            self._lost(thread)

    async def adelete_thread(self, thread_id: str) -> None:
        """Forget a run."""
        await self.forget(thread_id, is_done=True)

    def _note(self, thread: str, *keys: str) -> set[str]:
        """Note what is stored of a run that goes on, for its end; of one that has ended nothing is noted any more."""
        going = self._going.get(thread)
        known: set[str] = set() if going is None else going.keys
        known.update(keys)
        return known

    def _lost(self, thread: str) -> None:
        """Tell once a run that it goes on without."""
        if (going := self._going.get(thread)) is not None and not going.is_lost:
            going.is_lost = True
            going.run.warn("workflow_not_kept")


def _place(config: RunnableConfig) -> tuple[str, str, str | None]:
    """Return the thread, the namespace (of a graph inside a graph) and the checkpoint's id, None for the last one."""
    given = config["configurable"]
    return given["thread_id"], given.get("checkpoint_ns", ""), given.get("checkpoint_id")


def _config(thread: str, space: str, checkpoint: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": space, "checkpoint_id": checkpoint}}


# In braces the hash tag: a run's keys lie together on one shard of a cluster.
def _checkpoint_key(thread: str, space: str) -> str:
    return f"{{{thread}}}/last/{space}"


def _writes_key(thread: str, space: str, checkpoint: str) -> str:
    return f"{{{thread}}}/writes/{space}/{checkpoint}"
