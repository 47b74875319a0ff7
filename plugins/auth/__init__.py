"""Who is asking: virtual keys and JWTs, before anything else is decided."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from hmac import compare_digest
from typing import Any

from gateway.plugin import (
    ClientRequest,
    ConfigError,
    Plugin,
    Principal,
    Services,
    StateLost,
    Unauthenticated,
    credentials,
)

from .guesses import Guesses
from .issuer import Issuer
from .options import SCHEMA
from .saved import Entry, SavedKeys

ANONYMOUS = Principal("anonymous")
MOST_REMEMBERED = 4096
"""Tokens whose signature is not looked at again until they expire."""
CHALLENGE = {"www-authenticate": "Bearer"}
PUBLIC = ("RS256", "ES256")


class Auth(Plugin):
    """Options:

    keys: virtual keys, each `{name, hash, models, routes, tags, expires, budget, limits}`; only name and hash are
    required. Several entries of one name are one principal: add the new key, let clients change over, remove the old.
    keys_file: a YAML or JSON file with a list of further such entries, relative to the home; watched like the home's.
    Keys that `gateway keys new --save` put into the ledger count as well.
    jwt: tokens. `secret` (HS256, 32 characters or more; empty: none), or `jwks_url`, `issuer` and `audience` (RS256,
    ES256); `leeway` (30s), `max_lifetime` (30d), `revoked` (ids). The principal is `sub`, its tags the claim `tags`.
    anonymous: never (default), or when_unconfigured: while no key and no token is configured and the ledger never held
    a key, every caller is the principal `anonymous`.
    """

    options_schema = SCHEMA

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._time = services.clock.time
        self._keys = _entries(options["keys"])
        self._may_be_open: bool = options["anonymous"] == "when_unconfigured"
        self._rules = credentials.TokenRules()
        self._secret: Any = None
        self._issuer: Issuer | None = None
        self._read_jwt(options.get("jwt") or {})
        self._has_tokens = self._secret is not None or self._issuer is not None
        self._remembered: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._seen_changes = 0
        ledger, clock, log = services.ledger, services.clock, services.log
        self._saved: SavedKeys | None = None
        if ledger is not None:
            self._saved = services.lasting("saved", lambda: SavedKeys(ledger, clock, log))
        self._guesses: Guesses = services.lasting("guesses", lambda: Guesses(clock.monotonic, log))

    def _read_jwt(self, given: Mapping[str, Any]) -> None:
        secret, url = str(given.get("secret") or ""), str(given.get("jwks_url") or "")
        if not secret and not url:
            return
        if secret and url:
            raise ConfigError("jwt has both secret and jwks_url", cure="keep the one that signs your tokens")
        algorithms = given.get("algorithms") or (["HS256"] if secret else list(PUBLIC))
        audience = given.get("audience") or []
        # SECURITY: a public key used as an HMAC secret is the classic confusion; neither kind takes the other's.
        if secret and algorithms != ["HS256"]:
            raise ConfigError("jwt: a secret signs HS256 only", cure="leave algorithms out, or set jwks_url instead")
        if url and "HS256" in algorithms:
            raise ConfigError("jwt: HS256 needs a secret, which no jwks_url holds", cure="write [RS256, ES256]")
        if url and not (given.get("issuer") and audience):
            raise ConfigError(
                "jwt: jwks_url needs issuer and audience", cure="an issuer signs for others too; say who you are to it"
            )
        if given["max_lifetime"] <= 0:
            raise ConfigError("jwt: max_lifetime is 0, which refuses every token", cure="write for example 30d")
        self._rules = credentials.TokenRules(
            issuer=given.get("issuer"),
            audiences=frozenset([audience] if isinstance(audience, str) else audience),
            leeway_s=given["leeway"],
            max_lifetime_s=given["max_lifetime"],
            revoked=frozenset(given["revoked"]),
        )
        if secret:
            self._secret = credentials.shared_secret(credentials.Secret(secret))
            return
        http, clock, log = self.services.http, self.services.clock, self.services.log
        self._issuer = self.services.lasting(
            f"issuer {url} {' '.join(sorted(algorithms))}", lambda: Issuer(url, algorithms, http, clock, log)
        )

    async def start(self) -> None:
        """Read the saved keys once, ask for the issuer's, and say when everybody or nobody may."""
        if self._saved is not None:
            await self._saved.hold()
        if self._issuer is not None:
            self._issuer.begin()
        if self._keys or self._has_tokens:
            return
        try:
            is_open = self._is_open()
        except StateLost:  # until the ledger can be read nobody gets in, and the gateway starts nevertheless
            return
        if is_open:
            if not self.services.is_loopback:
                self.services.log.warning(
                    "auth_open", warning="no key is configured and others can connect: everybody may use this gateway"
                )
        elif self._saved is None:
            self.services.log.warning(
                "auth_closed", warning="no key and no token is configured, so every request is answered with 401"
            )

    async def close(self) -> None:
        """Let go of the saved keys."""
        if self._saved is not None:
            await self._saved.let_go()

    def identify(self, request: ClientRequest) -> Awaitable[Principal | None] | Principal | None:
        """Return whose key or token the request has. Raises: Unauthenticated, PermissionDenied, RateLimited, and
        StateLost when it cannot be told."""
        credential, header = _credential(request)
        if not credential:
            if self._is_open():
                return ANONYMOUS
            raise Unauthenticated("no key; send authorization: Bearer KEY, or x-api-key: KEY", headers=CHALLENGE)
        digest = credentials.digest_of(credential)
        entry = self._keys.get(digest) or self._find_saved(credential, digest)
        # SECURITY: found by digest, which says nothing of a key's first bytes, and compared in constant time.
        if entry is not None and compare_digest(entry.digest, digest):
            if entry.principal.expires is not None and entry.principal.expires <= self._time():
                raise Unauthenticated("this key has expired; ask for a new one", headers=CHALLENGE)
            if not credentials.GENERATED.fullmatch(credential):  # a person made it up, so a person may guess it
                self._guesses.right(request.remote, digest)
            request.credential_header = header
            return entry.principal
        if self._is_token(credential):
            return self._identify_by_token(request, credential, digest, header)
        if self._is_open():
            return ANONYMOUS
        self._guesses.wrong(request.remote, digest)
        raise Unauthenticated("this key is not known here; it may have been revoked", headers=CHALLENGE)

    async def _identify_by_token(
        self, request: ClientRequest, credential: str, digest: bytes, header: str
    ) -> Principal | None:
        principal = await self._of_token(credential, digest)
        request.credential_header = header
        return principal

    def _find_saved(self, credential: str, digest: bytes) -> Entry | None:
        if self._saved is None:
            return None
        try:
            return self._saved.find(digest)
        except StateLost:
            if self._has_tokens and credentials.looks_like_token(credential):
                return None  # no saved key looks like that
            raise

    def _is_open(self) -> bool:
        """Whether nobody is configured, so that everybody may."""
        if not self._may_be_open or self._keys or self._has_tokens:
            return False
        return self._saved is None or not self._saved.were_ever()

    def _is_token(self, credential: str) -> bool:
        if not self._has_tokens:
            return False
        if credentials.looks_like_token(credential):
            return True
        return not (self._keys or (self._saved is not None and self._saved.were_ever()))

    async def _of_token(self, token: str, digest: bytes) -> Principal:
        issuer, remembered = self._issuer, self._remembered
        if issuer is not None:
            issuer.begin()
            if issuer.changes != self._seen_changes:  # a key that signed some of them may be gone
                self._seen_changes = issuer.changes
                remembered.clear()
        known = remembered.get(digest)
        if known is not None and self._time() < known[0]:
            remembered.move_to_end(digest)
            return known[1]
        payload = self._secret.payload(token) if issuer is None else await issuer.payload(token)
        claims = credentials.judge(payload, self._rules, self._time())
        principal = Principal(claims.name, claims.tags, expires=claims.expires_at)
        remembered[digest] = (claims.expires_at, principal)
        if len(remembered) > MOST_REMEMBERED:
            remembered.popitem(last=False)
        return principal


def _credential(request: ClientRequest) -> tuple[str, str]:
    """Return what the client shows, and in which header: `Authorization: Bearer` before `x-api-key`. An empty one is
    none, and another scheme is meant for somebody else."""
    given = request.headers.get("authorization")
    if given is not None:
        if given.startswith("Bearer ") and (credential := given[7:].strip()):
            return credential, "authorization"
        scheme, _, credential = given.partition(" ")
        if scheme.lower() == "bearer" and (credential := credential.strip()):
            return credential, "authorization"
    return request.headers.get("x-api-key", ""), "x-api-key"


def _entries(keys: list[Mapping[str, Any]]) -> dict[bytes, Entry]:
    entries: dict[bytes, Entry] = {}
    first: dict[bytes, int] = {}
    for number, key in enumerate(keys):
        digest = credentials.read_hash(key["hash"])
        if digest in first:
            raise ConfigError(
                f'keys[{number}] ("{key["name"]}") has the hash of keys[{first[digest]}]',
                cure="remove one; for another key run `gateway keys new`",
            )
        first[digest] = number
        try:
            expires = credentials.read_expiry(key["expires"]) if "expires" in key else None
        except ValueError as error:
            problem, _, cure = str(error).partition("; ")
            raise ConfigError(f"keys[{number}].expires: {problem}", cure=cure) from None
        entries[digest] = Entry(
            digest,
            Principal(
                key["name"],
                dict(key.get("tags") or {}),
                models=_several(key.get("models")),
                routes=_several(key.get("routes")),
                limits=key.get("limits") or {},
                budget=key.get("budget"),
                expires=expires,
            ),
        )
    return entries


def _several(value: str | list[str] | None) -> tuple[str, ...] | None:
    return value if value is None else (value,) if isinstance(value, str) else tuple(value)
