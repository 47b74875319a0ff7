"""What a token claims, once its signature is known to be right.

PyJWT reads the signature only: what it makes of the claims is too kind (an `exp` of digits, no `exp` at all, no bound
on the lifetime). Expiry is looked at last, so that 401 says "renew it" only of a token that was good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import msgspec

from gateway.errors import PermissionDenied, Unauthenticated

MAX_TOKEN_CHARS: Final = 16 * 1024
MOST_TAGS: Final = 32
NAMELESS: Final = "jwt"
"""The principal of tokens without `sub`."""
_NAME = re.compile(r"[\x21-\x7e]{1,128}")


class UnknownSigner(PermissionDenied):
    """The token names a key that is not in the set: a newer set may hold it."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What is asked of every token. `audiences` empty: the token must not be meant for anyone in particular.
    `revoked` are token ids (`jti`). Times are seconds."""

    issuer: str | None = None
    audiences: frozenset[str] = frozenset()
    leeway_s: float = 30.0
    max_lifetime_s: float = 30 * 86400.0
    revoked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Claims:
    """Who the token is for. `expires_at` is Unix seconds, leeway included."""

    name: str
    expires_at: float
    tags: Mapping[str, str] = field(default_factory=dict)


def looks_like_token(credential: str) -> bool:
    """Return whether it has a token's three parts."""
    return credential.count(".") == 2


def judge(payload: bytes, rules: TokenRules, now: float) -> Claims:
    """Return what the token claims. Raises: PermissionDenied when a claim is wrong, Unauthenticated when all is right
    but the time (code `token_expired`)."""
    try:
        claims = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _wrong("its payload is not JSON") from None
    if not isinstance(claims, dict):
        raise _wrong("its payload is not an object")
    expires = _moment(claims, "exp")
    if expires is None:
        raise _wrong('"exp" is missing; a token must end')
    _judge_times(claims, expires, rules, now)
    _judge_parties(claims, rules)
    identity = claims.get("jti")
    if identity is not None and not isinstance(identity, str):
        raise _wrong('"jti" is not text')
    if identity in rules.revoked:
        raise _wrong("it has been revoked")
    name, tags = _name(claims.get("sub")), _tags(claims.get("tags"))
    if expires + rules.leeway_s <= now:
        raise Unauthenticated("the token has expired; get a new one", code="token_expired")
    return Claims(name, expires + rules.leeway_s, tags)


def _wrong(why: str) -> PermissionDenied:
    return PermissionDenied(f"the token is refused: {why}")


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a time in Unix seconds: a number, with a fraction or without (RFC 7519, 2). Digits in quotes and true are
    none, and JSON has no NaN."""
    value = claims.get(name)
    if name in claims and type(value) not in (int, float):
        raise _wrong(f'"{name}" is not a number of seconds')
    return value


def _judge_times(claims: Mapping[str, Any], expires: float, rules: TokenRules, now: float) -> None:
    begins, issued = _moment(claims, "nbf"), _moment(claims, "iat")
    if begins is not None and begins > now + rules.leeway_s:
        raise _wrong('it is not valid yet ("nbf")')
    if issued is not None and issued > now + rules.leeway_s:
        raise _wrong('it was issued in the future ("iat")')
    if expires - (now + rules.leeway_s if issued is None else issued) > rules.max_lifetime_s:
        raise _wrong('it lives longer than is allowed ("exp")')


def _judge_parties(claims: Mapping[str, Any], rules: TokenRules) -> None:
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        raise _wrong('it is from another issuer ("iss")')
    given = claims.get("aud")
    if given is None and not rules.audiences and "aud" not in claims:
        return
    audiences = [given] if isinstance(given, str) else given
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise _wrong('"aud" is missing, or neither text nor a list of it')
    # RFC 7519, 4.1.3: who does not find himself among the audience must refuse.
    if rules.audiences.isdisjoint(audiences):
        raise _wrong('it is meant for somebody else ("aud")')


def _name(subject: object) -> str:
    """Return the principal's name: `sub`, or a digest of one that logs, labels and headers could not carry."""
    if subject is None or subject == "":
        return NAMELESS
    if not isinstance(subject, str):
        raise _wrong('"sub" is not text')
    if _NAME.fullmatch(subject):
        return subject
    return "sub:" + sha256(subject.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _tags(given: object) -> Mapping[str, str]:
    if given is None:
        return {}
    if (
        not isinstance(given, dict)
        or len(given) > MOST_TAGS
        or not all(isinstance(value, str) and len(value) <= 256 and len(name) <= 256 for name, value in given.items())
    ):
        raise _wrong(f'"tags" is not an object of at most {MOST_TAGS} short texts')
    return given
