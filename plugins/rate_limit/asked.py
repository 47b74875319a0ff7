"""What one request takes of the limits over it, and what of that is settled at its end."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.plugin import Bucket, Claim, Exchange, Lease, StateStore

from .limits import Over, tokens_of


class Asked:
    """The claims of a request, each beside its limit; `held` are those that its end settles. With a `share` that many
    processes divide the limits, because each counts for itself."""

    __slots__ = ("claims", "held", "over")

    def __init__(self, exchange: Exchange, over: Sequence[Over], share: int = 1) -> None:
        self.over: list[Over] = []
        self.claims: list[Claim] = []
        self.held: list[Claim] = []
        tokens = 0
        for each in over:
            claim = each.always
            if claim is None or share > 1:
                kind = each.limit.kind
                if kind == "tokens" and not tokens:
                    tokens = tokens_of(exchange)
                claim = each.claim(exchange, tokens, share)
                if claim is None:
                    continue
                if kind != "requests":
                    self.held.append(claim)
            self.over.append(each)
            self.claims.append(claim)


class Held:
    """What of an exchange's claims is settled at its end, in which store: tokens, and places. `inside` is what was used
    by children that passed no limit themselves."""

    __slots__ = ("claims", "inside", "store")

    def __init__(self, store: StateStore, claims: list[Claim]) -> None:
        self.store, self.claims, self.inside = store, claims, 0

    @property
    def has_leases(self) -> bool:
        """Whether any of them has to be renewed."""
        return Lease in map(type, self.claims)

    @property
    def leases(self) -> list[Lease]:
        """The places among them."""
        return [claim for claim in self.claims if type(claim) is Lease]

    def corrections(self, exchange: Exchange) -> list[Claim]:
        """Return what to settle now that `exchange` has ended: tokens to what was used, places left."""
        usage = exchange.own_usage
        used = usage.total_tokens + self.inside if usage is not None else None
        if used is None and (exchange.status >= 400 or not exchange.attempts):
            used = self.inside
        corrections: list[Claim] = []
        for claim in self.claims:
            if type(claim) is not Bucket:
                corrections.append(claim)
            elif used is not None and used != claim.amount:
                corrections.append(Bucket(claim.key, used - claim.amount, claim.burst, claim.rate_per_s))
        return corrections
