"""What is measured: the contract's names, what each means, and how many series each may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "llm_gateway_"
OTHER = "other"

DURATIONS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
FIRST_TOKENS_S = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
OVERHEADS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.02, 0.1, 1.0)

Fold = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is the contract's.

    `folds`: once there are so many label sets, new ones get `other` in these places; past the last fold, in all.
    `is_optional`: it is told only once it has a number, because most gateways never have one.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    bounds: tuple[float, ...] = ()
    is_optional: bool = False


def _per(label: str, most: int) -> tuple[tuple[str, ...], tuple[Fold, ...]]:
    return (label,), ((most, (0,)),)


_ROUTE, _PROVIDER = _per("route", 24), _per("provider", 16)

# The worst case is 1,967 series: 25 routes with 15 + 12 each for their histograms, 17 providers with 15 + 15, 341 kinds
# of requests, 93 of attempts, 88 of errors, 83 of tools, and the rest.
FAMILIES = (
    Family(
        "requests_total",
        "counter",
        "Requests that ended, refused ones and pages included.",
        ("method", "endpoint", "route", "status"),
        ((240, (2,)), (300, (0, 1, 2)), (340, (0, 1, 2, 3))),
    ),
    Family("request_duration_seconds", "histogram", "From a request's first byte to the end of its answer.",
           *_ROUTE, DURATIONS_S),
    Family("overhead_seconds", "histogram", "What of that was not spent waiting for upstreams.", *_ROUTE, OVERHEADS_S),
    Family("time_to_first_token_seconds", "histogram", "From sending a streamed request to its first content.",
           *_PROVIDER, FIRST_TOKENS_S),
    Family("provider_requests_total", "counter", "Attempts, by the provider they were made at.", *_PROVIDER),
    Family("provider_latency_seconds", "histogram", "From sending a request upstream to the last of its answer.",
           *_PROVIDER, DURATIONS_S),
    Family("provider_errors_total", "counter", "Attempts that failed, by how.", ("provider", "kind"), ((80, (0,)),)),
    Family("tokens_total", "counter", "Tokens used, estimated ones included; direction is input or output.",
           ("provider", "direction"), ((32, (0,)),)),
    Family("cost_usd_total", "counter", "What they cost in USD, unknown prices left out.", *_PROVIDER),
    Family("attempts_total", "counter", "Tries at a target by how they ended: completed, failed or disconnected.",
           ("target", "outcome"), ((90, (0,)),)),
    Family("fallbacks_total", "counter", "Requests that went to another target than the first, or to a fallback.",
           *_ROUTE),
    Family("circuit_state", "gauge", "A target's breaker: 0 closed, 1 half-open, 2 open; the worst of all processes.",
           *_per("target", 40)),
    Family("rate_limited_total", "counter", "Requests that a limit refused, as who:what.", *_per("limit", 20)),
    Family("tool_calls_total", "counter", "Calls of tools by how they ended: ok, failed, timeout, refused, cancelled …",
           ("tool", "outcome"), ((76, (0,)),), is_optional=True),
    Family("in_flight", "gauge", "Requests that are being answered."),
    Family("client_disconnects_total", "counter", "Requests whose client left before the end."),
    Family("stream_errors_total", "counter", "Streams that failed after their head had gone out, by how.",
           *_per("kind", 10)),
    Family("config_reloads_total", "counter", "Reloads of the configuration: ok or failed.", ("result",)),
    Family("config_info", "gauge", "1, with the digest of the configuration in force.", ("digest",), ((3, (0,)),)),
    Family("loop_lag_seconds", "gauge", "How late the event loop was at the worst, over the last minute."),
    Family("ledger_rows_total", "counter", "Rows written to the ledger."),
    Family("ledger_dropped_total", "counter", "Rows that the ledger lost."),
    Family("state_errors_total", "counter", "Operations on the shared state that failed."),
)  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}
