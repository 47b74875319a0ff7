"""Virtual keys and tokens: how they are made, kept and judged. No I/O and no clock; used by plugins/auth and the cli.

`keys` needs the standard library alone. `tokens` needs PyJWT and cryptography, which take 100 ms to import, so it is
loaded by the first who asks for a signer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gateway.credentials.claims import Claims, TokenRules, UnknownSigner, judge, looks_like_token
from gateway.credentials.keys import (
    GENERATED,
    digest_of,
    hash_of,
    kept_facts,
    new_key,
    read_expiry,
    read_facts,
    read_hash,
    write_expiry,
)  # fmt: skip
from gateway.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import ModuleType

    from gateway.credentials.tokens import PublicKeys, SharedSecret

__all__ = [
    "GENERATED", "Claims", "Secret", "TokenRules", "UnknownSigner", "digest_of", "hash_of", "judge", "kept_facts",
    "looks_like_token", "mint", "new_key", "public_keys", "read_expiry", "read_facts", "read_hash", "shared_secret",
    "write_expiry",
]  # fmt: skip


def shared_secret(secret: Secret) -> SharedSecret:
    """Return who reads HS256 tokens made with `secret`."""
    signer: SharedSecret = _tokens().SharedSecret(secret)
    return signer


def public_keys(document: bytes, algorithms: Collection[str]) -> PublicKeys:
    """Return who reads tokens signed by the keys of a JWK set. Raises: ValueError when it is none."""
    signer: PublicKeys = _tokens().PublicKeys(document, algorithms)
    return signer


def mint(secret: Secret, claims: dict[str, object]) -> str:
    """Return an HS256 token with these claims."""
    token: str = _tokens().mint(secret, claims)
    return token


def _tokens() -> ModuleType:
    return importlib.import_module("gateway.credentials.tokens")
