"""The end of an exchange: every plugin hears how it ended, exactly once, and a failure is logged once."""

from __future__ import annotations

from gateway.chain import Chain
from gateway.errors import GatewayError, InternalError, UpstreamError
from gateway.exchange import Exchange
from gateway.plugin import Log
from gateway.runtime.snapshot import Snapshot


async def finish(exchange: Exchange, snapshot: Snapshot, log: Log) -> None:
    """Tell every plugin how `exchange` ended. Must not be cancelled: see `Connection.finishing`."""
    exchange.ended_at_s = exchange.deadline.now()
    chain = chain_of(exchange, snapshot)
    error = exchange.error
    if error is not None and (error.status >= 500 or isinstance(error, UpstreamError)):
        report(exchange, chain, log, error)
    for name, tell in chain.finishers:
        try:
            await tell(exchange)
        except Exception as failure:  # a plugin's: the others still have to finish
            log.error(
                "plugin_finish_failed",
                request_id=exchange.id,
                plugin=name,
                error=f"{type(failure).__name__}: {failure}",
            )
    # Cycles would leave two dozen objects of every request to the collector.
    exchange.on_abort(None)
    exchange.sources.clear()
    for attempt in exchange.attempts:
        del attempt.exchange


def chain_of(exchange: Exchange, snapshot: Snapshot) -> Chain:
    """Return the chain that `exchange` went through: its route's, or the global one."""
    route = exchange.route
    return route.chain if route is not None and route.chain is not None else snapshot.chain


def report(exchange: Exchange, chain: Chain, log: Log, error: GatewayError) -> None:
    """Log a failure once, where its story ends, with cause and target."""
    cause = error.__cause__ if isinstance(error, InternalError) else None
    log.error(
        "request_failed",
        request_id=exchange.id,
        route=exchange.route.name if exchange.route is not None else None,
        target=exchange.headers.get("x-gateway-target"),
        status=exchange.status,
        error_code=error.code,
        error=error.message,
        cause=f"{type(cause).__name__}: {cause}" if cause is not None else None,
        at=_place(cause),
        plugin=chain.blame(cause if cause is not None else error),
    )


def _place(cause: BaseException | None) -> str | None:
    """Return `file:line` where `cause` was raised."""
    if cause is None or cause.__traceback__ is None:
        return None
    last = cause.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    return f"{last.tb_frame.f_code.co_filename.rpartition('/')[2]}:{last.tb_lineno}"
