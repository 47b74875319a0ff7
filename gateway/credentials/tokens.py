"""Signatures of tokens, read and made by PyJWT.

A signer knows its algorithms before it sees a token: what the token says of its algorithm only has to agree. Nothing
else in its head is acted on: `kid` is a name to look up among the keys at hand, and no address (`jku`, `x5u`) and no
key (`jwk`, `x5c`) is ever taken from there. Issuers state them, so with a key set they are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from jwt import InvalidSignatureError, PyJWK, PyJWTError
from jwt.api_jws import PyJWS

from gateway.credentials.claims import MAX_TOKEN_CHARS, UnknownSigner
from gateway.errors import PermissionDenied
from gateway.secret import Secret

MOST_KEYS: Final = 100
KEY_TYPES: Final = {"RS256": ("RSA", None), "ES256": ("EC", "P-256")}
"""The key type and curve of each algorithm that a key set may be used with."""
_HMAC: Final = "HS256"
_ELSEWHERE: Final = ("jku", "x5u", "jwk", "x5c")
_KEY_NAME: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9._~:@/+=-]{1,256}")


def mint(secret: Secret, claims: dict[str, object]) -> str:
    """Return an HS256 token with these claims."""
    payload = msgspec.json.encode(claims)
    return PyJWS(algorithms=[_HMAC]).encode(payload, secret.reveal().encode(), algorithm=_HMAC)


class SharedSecret:
    """Reads HS256 tokens made with one secret."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._jws = _jws([_HMAC])

    def payload(self, token: str) -> bytes:
        """Return the payload of a token whose signature is right. Raises: PermissionDenied."""
        _refuse_odd(token)
        head, payload = _read(self._jws, token, self._secret.reveal().encode(), [_HMAC])
        # There is one secret and no choice: who names another key, or where one is, means something else by the token.
        if any(name in head for name in _ELSEWHERE) or not _KEY_NAME.fullmatch(head.get("kid", "-")):
            raise PermissionDenied("the token is refused: it names a key that has no place here")
        return payload


class PublicKeys:
    """Reads tokens signed by a key of one JWK set (RFC 7517); only public keys for `algorithms` are taken from it."""

    def __init__(self, document: bytes, algorithms: Collection[str]) -> None:
        try:
            listed = msgspec.json.decode(document)["keys"]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
            raise ValueError("the answer is no JWK set") from None
        if not isinstance(listed, list) or len(listed) > MOST_KEYS:
            raise ValueError(f"the set is not a list of at most {MOST_KEYS} keys")
        self._jws = _jws(algorithms)
        self._by_name: dict[tuple[str | None, str], list[PyJWK]] = {}
        for one in listed:
            for algorithm in algorithms:
                if isinstance(one, dict) and _is_for(one, algorithm) and (key := _key(one, algorithm)) is not None:
                    self._by_name.setdefault((one.get("kid"), algorithm), []).append(key)
                    if one.get("kid") is not None:
                        self._by_name.setdefault((None, algorithm), []).append(key)
        if not self._by_name:
            raise ValueError(f"the set holds no public key for {', '.join(sorted(algorithms))}")

    def payload(self, token: str) -> bytes:
        """Return the payload of a token whose signature is right. Raises: UnknownSigner when it names a key that is
        not here, PermissionDenied."""
        _refuse_odd(token)
        try:
            head = self._jws.get_unverified_header(token)
        except (PyJWTError, RecursionError, ValueError):
            raise PermissionDenied("the token is refused: it has not the form of one") from None
        name, algorithm = head.get("kid"), head.get("alg")
        if not isinstance(algorithm, str) or algorithm not in KEY_TYPES:
            raise PermissionDenied("the token is refused: its algorithm is not allowed")
        found = self._by_name.get((name, algorithm), [])
        if not found:
            raise UnknownSigner("the token is refused: no known key has signed it")
        if len(found) > 1:  # trying all would let one request cost a hundred signatures
            raise PermissionDenied("the token is refused: it does not say which key has signed it")
        return _read(self._jws, token, found[0], [algorithm])[1]


def _jws(algorithms: Collection[str]) -> PyJWS:
    return PyJWS(algorithms=list(algorithms), options={"enforce_minimum_key_length": True})


def _refuse_odd(token: str) -> None:
    # Before anything is decoded: a megabyte costs no more than this. PyJWT takes base64 with its padding; RFC 7515, 2,
    # has none, and a token has one form only.
    if len(token) > MAX_TOKEN_CHARS or not token.isascii() or "=" in token:
        raise PermissionDenied("the token is refused: it has not the form of one")


def _read(jws: PyJWS, token: str, key: Any, algorithms: list[str]) -> tuple[Mapping[str, Any], bytes]:
    try:
        found = jws.decode_complete(token, key, algorithms)
    except InvalidSignatureError:
        raise PermissionDenied("the token is refused: its signature is wrong") from None
    except (PyJWTError, RecursionError, ValueError, TypeError) as error:
        # Only the kind: the text may repeat what the token holds.
        raise PermissionDenied(f"the token is refused: {type(error).__name__}") from None
    if "crit" in found["header"]:  # RFC 7515, 4.1.11: none of the extensions there may be is understood here
        raise PermissionDenied("the token is refused: it asks for an extension")
    return found["header"], found["payload"]


def _is_for(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = KEY_TYPES[algorithm]
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and isinstance(key.get("kid"), str | None)
        and "d" not in key  # a private key that somebody published is anybody's
    )


def _key(one: dict[str, Any], algorithm: str) -> PyJWK | None:
    try:
        return PyJWK(one, algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None  # one broken key must not take the others down
