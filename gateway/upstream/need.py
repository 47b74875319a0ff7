"""How many tokens a request may need, told from its size: what limits and prices are judged by before it is sent."""

from __future__ import annotations

import msgspec

from gateway.exchange import ClientRequest

MOST_COMPLETION_TOKENS = 1000
"""What is reserved for an answer: the request's own limit, but no more than this, and this where it has none."""
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def prompt_tokens(request: ClientRequest) -> int:
    """Return a request's own tokens: its body at four bytes a token, rounded up."""
    return -(-len(request.body) // 4)


def completion_tokens(request: ClientRequest) -> int:
    """Return the tokens its answer is reckoned with."""
    fields = request.members
    if fields is not None:
        for name in _LIMITS:
            raw = fields.get(name)
            if raw is not None:
                try:
                    return min(MOST_COMPLETION_TOKENS, max(0, msgspec.json.decode(raw, type=int)))
                except msgspec.DecodeError:
                    break  # the target will say what is wrong with it
    return MOST_COMPLETION_TOKENS


def tokens(request: ClientRequest) -> int:
    """Return what the request is reckoned with in all."""
    return prompt_tokens(request) + completion_tokens(request)
