"""The `hedge:` of a route: after how long, and how often at most."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.errors import ConfigError
from gateway.route import Hedge
from gateway.runtime.config import TargetConfig
from gateway.runtime.document import Node
from gateway.runtime.text import duration, percent
from gateway.runtime.validate import shown

_PERCENTILE = re.compile(r"p([0-9]{1,3}(?:\.[0-9]{1,3})?)", re.ASCII)
_CURE = "write p95, or a duration such as 2s"


def read_hedge(
    node: Node | None, path: str, listed: Sequence[TargetConfig] | None, errors: list[ConfigError]
) -> Hedge | None:
    """Return what the node says, None when there is none or it is wrong; why is then in `errors`.

    `listed` are the route's targets and its fallbacks for any failure, None when they are not all known.
    """
    if node is None or not isinstance(node.value, dict) or node.is_broken():
        return None
    if listed is not None and len({(each.provider, each.model) for each in listed}) < 2:
        problem = "the route has no second target to hedge with"
        errors.append(node.error(problem, path=path, cure="add a target or a fallback, or remove hedge"))
    try:
        return Hedge(
            *_after(node.value.get("after"), f"{path}.after", errors),
            _budget(node.value.get("budget"), f"{path}.budget", errors),
        )
    except ValueError:
        return None  # told by the schema


def _after(node: Node | None, path: str, errors: list[ConfigError]) -> tuple[float | None, float]:
    if node is None or not isinstance(node.value, str):
        return 0.95, 0.0
    said = shown(node, "")
    if (found := _PERCENTILE.fullmatch(node.value)) is not None:
        quantile = float(found[1]) / 100
        if not 0 < quantile < 1:
            errors.append(node.error(f"{said} is not a percentile between p0 and p100", path=path, cure=_CURE))
        return quantile, 0.0
    try:
        after_s = duration(node.value)
    except ValueError:
        errors.append(node.error(f"{said} is neither a percentile nor a duration", path=path, cure=_CURE))
        return None, 0.0
    if after_s <= 0:
        errors.append(node.error(f"after {said} every stream would be late", path=path, cure=_CURE))
    return None, after_s


def _budget(node: Node | None, path: str, errors: list[ConfigError]) -> float:
    """Return the share. Raises: ValueError."""
    if node is None or not isinstance(node.value, str):
        return 0.05
    share = percent(node.value)
    if share == 0:
        errors.append(node.error("a budget of 0% would never hedge", path=path, cure="write 5%, or remove hedge"))
    return share
