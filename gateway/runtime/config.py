"""What the file says: frozen facts, defaults filled in, every value already in code's own units."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gateway.pricing import Entry
from gateway.route import Hedge
from gateway.secret import Secret
from gateway.state.url import StateUrl


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: file as shown to people, line and column from 1, path inside the document."""

    file: str
    line: int
    column: int
    path: str


@dataclass(frozen=True, slots=True)
class ServerConfig:
    listen: str = "127.0.0.1:8080"
    workers: int = 1
    max_body_bytes: int = 20 * 1024 * 1024
    max_in_flight: int = 2000
    headers_timeout_s: float = 10.0
    body_timeout_s: float = 120.0
    write_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    lame_duck_s: float = 5.0
    grace_s: float = 30.0
    trusted_proxies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """`listen` is None when the file says `off`."""

    listen: str | None = "127.0.0.1:8081"
    token: Secret | None = None
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """`url` is `none`, `sqlite:path` or PostgreSQL's; `keep_s` None keeps rows for ever."""

    url: Secret = field(default_factory=lambda: Secret("none"))
    keep_s: float | None = None
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """One entry of a chain. `use` is `package.module:Class` or `file.py:Class`, None for a plugin found by name.
    `options` None means `{name: off}`: taken out on this route. `listed` says of each option whose entries may also
    stand in a file of their own (`x-file`) where every entry stands."""

    name: str
    use: str | None
    # SECURITY: options, headers and a proxy's address may hold credentials, so no repr shows them.
    options: Mapping[str, Any] | None = field(repr=False)
    place: Place
    listed: Mapping[str, tuple[Place, ...]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """A provider, with what config/providers.yaml knows of it merged in.

    `credentials` are the non-empty keys in order; `needs_key` says whether having none disables it.
    `dialect` is openai, openai_chat, openai_responses, anthropic, ollama or echo.
    """

    name: str
    dialect: str
    base_url: str
    credentials: tuple[Secret, ...]
    needs_key: bool
    key_variable: str | None
    auth: Literal["key", "passthrough"]
    headers: Mapping[str, str] = field(repr=False)
    transport: Literal["direct", "http"]
    proxy: str | None = field(repr=False)
    tls_verify: bool
    tls_ca: Path | None
    free: bool
    quirks: Mapping[str, Any]
    place: Place

    @property
    def enabled(self) -> bool:
        """False when it needs a key and has none."""
        return bool(self.credentials) or not self.needs_key


@dataclass(frozen=True, slots=True)
class TargetConfig:
    provider: str
    model: str
    weight: int
    params: Mapping[str, Any]
    override: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class ShadowConfig:
    target: TargetConfig
    share: float


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """A route as written. `match` values are lists of patterns; `fallbacks` by cause. One that a plugin made for a
    model that it answers itself names it in `plugin`."""

    name: str
    model: tuple[str, ...] | None
    path: tuple[str, ...] | None
    header: Mapping[str, tuple[str, ...]] | None
    key: tuple[str, ...] | None
    tags: Mapping[str, tuple[str, ...]] | None
    targets: tuple[TargetConfig, ...]
    fallbacks: Mapping[str, tuple[TargetConfig, ...]]
    balance: str
    retry_attempts: int
    retry_on: frozenset[str]
    backoff_min_s: float
    backoff_max_s: float
    plugins: tuple[PluginConfig, ...]
    model_echo: Literal["requested", "upstream"] | None
    on_unsupported: Literal["drop", "warn", "error"]
    place: Place
    hedge: Hedge | None = None
    shadow: ShadowConfig | None = None
    plugin: str = ""


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """One of `checks:`: a request as given, and what must come of it."""

    given: Mapping[str, Any]
    expect: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file. `digest` is the first 12 hex digits of SHA-256 over every file read, in order;
    `files` are those files and `patterns` the globs among the includes, each with the folder it starts at, for the
    watcher; `warnings` are full sentences for the log; `secrets` are for the redactor: keys, tokens, and whatever
    came out of ${…} where a credential stands. `texts` are the files that people write, by name, as they were when
    they were read; kept as secrets, for a key may stand in them."""

    home: Path
    file: Path
    digest: str
    files: tuple[Path, ...]
    server: ServerConfig
    admin: AdminConfig
    state: StateUrl
    ledger: LedgerConfig
    plugins: tuple[PluginConfig, ...]
    providers: tuple[ProviderConfig, ...]
    routes: tuple[RouteConfig, ...]
    checks: tuple[CheckConfig, ...]
    prices: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    patterns: tuple[tuple[Path, str], ...] = ()
    texts: tuple[tuple[str, Secret], ...] = ()


def digest_of(contents: Iterable[bytes]) -> str:
    """Return the digest of files with these contents."""
    return hashlib.sha256(b"".join(contents)).hexdigest()[:12]
