"""Workflows made ready to run. Whoever imports this imports LangGraph."""

from __future__ import annotations

from gateway.plugin import Services

from .chain import Chain
from .checkpoints import Keeper
from .loading import load
from .orchestrator import Orchestrator
from .own import Own
from .written import Written


def made(one: Written, services: Services, modules: list[str]) -> Chain | Orchestrator | Own:
    """Return the workflow, its graph compiled. Raises: ConfigError."""
    keeper = Keeper(services.state, one.checkpoint_ttl_s) if one.checkpoint else None
    if one.kind == "chain":
        return Chain(one.steps, keeper)
    if one.kind == "orchestrator":
        coordinator, worker, synthesizer = one.steps
        return Orchestrator(coordinator, worker, one.at_most, synthesizer, keeper)
    return Own(load(one.use, services.home, one.where, modules), keeper)
