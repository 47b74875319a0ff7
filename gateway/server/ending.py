"""The end of an exchange: it is accounted for, every plugin hears how it ended, a failure is logged. All that once."""

from __future__ import annotations

from collections.abc import Callable

from gateway.chain import Chain
from gateway.errors import GatewayError, InternalError, UpstreamError
from gateway.exchange import Exchange
from gateway.plugin import Clock, Log
from gateway.runtime.snapshot import Snapshot
from gateway.server.account import Accounts
from gateway.server.record import row_of


async def finish(
    exchange: Exchange,
    snapshot: Snapshot,
    accounts: Accounts,
    clock: Clock,
    log: Log,
    leave: Callable[[], None],
    at_most_s: float | None = None,
) -> None:
    """Close what was opened and not relayed, settle what was used, leave the row, tell every plugin how `exchange`
    ended, then `leave`. `at_most_s` is how long prices may be waited for.

    Must not be cancelled: see `Connection.finishing`.
    """
    try:
        if exchange.sources:
            await _close(exchange, log)
        exchange.ended_at_s = ended_at_s = exchange.deadline.now()
        for attempt in exchange.attempts:
            if attempt.ended_at_s is None:
                attempt.end(ended_at_s)
        if not accounts.settle_soon(exchange, snapshot.pricing):
            await accounts.settle(exchange, snapshot.pricing, at_most_s)
        if snapshot.ledger is not None and exchange.admitted:
            snapshot.ledger.record(row_of(exchange, clock.time()))
        if (pulse := snapshot.shared.pulse) is not None:
            pulse.note(exchange)
        if exchange.marks is not None:
            snapshot.shared.plugin_times.note(exchange)
        chain = chain_of(exchange, snapshot)
        error_met = exchange.error
        if error_met is not None and (error_met.status >= 500 or isinstance(error_met, UpstreamError)):
            report(exchange, chain, log, error_met)
        for name, tell in chain.finishers:
            try:
                waits = tell(exchange)
                if waits is not None:
                    await waits
            except Exception as failure:  # a plugin's: the others still have to finish
                log.error(
                    "plugin_finish_failed",
                    request_id=exchange.id,
                    plugin=name,
                    error=f"{type(failure).__name__}: {failure}",
                )
    finally:
        leave()
        # Cycles would leave two dozen objects of every request to the collector.
        exchange.on_abort(None)
        if exchange.sources:
            exchange.sources.clear()
        for attempt in exchange.attempts:
            del attempt.exchange


async def _close(exchange: Exchange, log: Log) -> None:
    """Close what was opened and not relayed."""
    for source in tuple(exchange.sources):  # a child takes itself out
        try:
            await source.close()
        except Exception as error:  # the end of an exchange: what it held must not keep it from ending
            log.error("upstream_close_failed", request_id=exchange.id, error=f"{type(error).__name__}: {error}")


async def account(exchange: Exchange, snapshot: Snapshot, accounts: Accounts, clock: Clock) -> None:
    """Settle what an exchange used that has ended without `finish`, and leave its row."""
    if not accounts.settle_soon(exchange, snapshot.pricing):
        await accounts.settle(exchange, snapshot.pricing)
    if snapshot.ledger is not None and exchange.admitted:
        snapshot.ledger.record(row_of(exchange, clock.time()))


def chain_of(exchange: Exchange, snapshot: Snapshot) -> Chain:
    """Return the chain that `exchange` went through: its route's, or the global one."""
    route = exchange.route
    return route.chain if route is not None and route.chain is not None else snapshot.chain


def report(exchange: Exchange, chain: Chain, log: Log, error: GatewayError) -> None:
    """Log a failure once, where its story ends, with cause and target."""
    cause = error.__cause__ if isinstance(error, InternalError) else None
    origin = exchange.origin
    write, told = (log.error, {}) if origin is None else (log.warning, {"step": origin.step})  # its parent may go on
    write(
        "request_failed" if origin is None else "child_failed",
        request_id=exchange.id,
        **told,
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
