"""The numbers in prometheus-client's own forms, made when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_async.aio.web import server_stats
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from gateway.plugin import web

from .cells import Counts
from .families import PREFIX, Family

STATES = {"closed": 0, "half_open": 1, "open": 2}

# prometheus-async shows the default registry. What that holds from the start tells of one process; any may answer.
for _collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
    try:
        REGISTRY.unregister(_collector)
    except KeyError:  # this file has been loaded before
        pass


async def answer(
    request: web.Request, told: Mapping[str, Mapping[str, Any]] | None, now: Sequence[Mapping[str, Any]]
) -> web.StreamResponse:
    """Answer a scrape: `told` the sums over all processes, `now` how each of them is."""
    shown = Shown(told, now)
    REGISTRY.register(shown)  # nothing waits between here and the end: one scrape at a time
    try:
        response: web.StreamResponse = await server_stats(request)
    finally:
        REGISTRY.unregister(shown)
    if response.headers["content-type"].startswith("text/plain"):
        # The client says 1.0.0 unasked; all names here are of the older form too, which every scraper reads.
        response.headers["content-type"] = CONTENT_TYPE_PLAIN_0_0_4
    return response


class Shown(Collector):
    """What one scrape gets."""

    def __init__(self, told: Mapping[str, Mapping[str, Any]] | None, now: Sequence[Mapping[str, Any]]) -> None:
        counts = self._counts = Counts()
        counts.take(told or {})
        families = counts.families
        families["in_flight"].add((), sum(each["in_flight"] for each in now))
        families["loop_lag_seconds"].add((), max((each["lag_s"] for each in now), default=0.0))
        for digest in {each["digest"] for each in now}:
            families["config_info"].cells[families["config_info"].fold((digest,))] = 1
        for result in ("ok", "failed"):  # all processes tell of the same ones
            families["config_reloads_total"].add((result,), max((each["reloads"][result] for each in now), default=0))
        states = families["circuit_state"]
        for target, state in sorted(
            (target, STATES[state]) for each in now for target, state in each["breakers"].items()
        ):
            labels = states.fold((target,))
            states.cells[labels] = max(states.cells.get(labels, 0), state)

    def describe(self) -> list[Metric]:
        """Return nothing: names are not looked for in advance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family, those without a number yet too, optional ones excepted."""
        for cells in self._counts.families.values():
            if cells.family.is_optional and not cells.cells:
                continue
            yield _metric(cells.family, cells.cells)


def _metric(family: Family, cells: Mapping[tuple[Any, ...], Any]) -> Metric:
    name = PREFIX + family.name
    metric: Any
    if family.kind == "histogram":
        metric = HistogramMetricFamily(name, family.help, labels=family.labels)
        bounds = [*map(str, family.bounds), "+Inf"]
        for labels, cell in cells.items():
            metric.add_metric(labels, list(zip(bounds, accumulate(cell[:-1]), strict=True)), cell[-1])
        return metric  # type: ignore[no-any-return]
    metric = (CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily)(
        name, family.help, labels=family.labels
    )
    for labels, value in cells.items():
        metric.add_metric([str(label) for label in labels], value)
    return metric  # type: ignore[no-any-return]
