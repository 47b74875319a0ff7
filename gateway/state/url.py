"""Where state is kept, read out of `state:`.

memory:                                              this process
sqlite:path                                          the workers of one machine; relative to the home
redis://[user:password@]host[:port][/db]             one server
rediss://…?ca=path                                   the same over TLS; `ca` is a PEM file of authorities
redis+sentinel://host:port,host:port/service[/db]    the master that the sentinels name
redis+cluster://host:port,host:port                  a cluster; any of its nodes
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote

from gateway.secret import Secret

Kind = Literal["memory", "sqlite", "single", "sentinel", "cluster"]
Address = tuple[str, int]
FORMS: Final = (
    "write memory:, sqlite:path, redis://host:6379, rediss://host:6379, "
    "redis+sentinel://host:26379,host:26379/service or redis+cluster://host:6379,host:6379"
)
_SCHEMES: Final[dict[str, tuple[Kind, bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_OPTIONS: Final = ("db", "ca", "prefix", "sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True)
class StateUrl:
    """What a `state:` says. `path` is of SQLite; the rest of Redis. `ca` is as written."""

    kind: Kind
    path: str = ""
    addresses: tuple[Address, ...] = ()
    service: str = ""
    db: int = 0
    tls: bool = False
    ca: str = ""
    prefix: str = "llm-gateway:"
    # SECURITY: no repr shows a credential.
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def is_shared(self) -> bool:
        """True when several processes count together."""
        return self.kind != "memory"

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Return what no log line may show, as it is and as the URL writes it."""
        every = (self.username, self.password, self.sentinel_username, self.sentinel_password)
        known = [each for each in every if each and each != "default"]
        return tuple(Secret(form) for each in known for form in dict.fromkeys((each, quote(each, safe=""))))

    @property
    def shown(self) -> str:
        """Return where it is, without credentials."""
        if self.kind in ("memory", "sqlite"):
            return f"{self.kind}:{self.path}"
        hosts = ",".join(f"{host}:{port}" for host, port in self.addresses)
        return f"redis {self.kind} {hosts}" + (f" {self.service}" if self.service else "")


def parse_state(text: str) -> StateUrl:
    """Return what `text` says. Raises: ValueError with `problem; cure`, and no part of a Redis URL in it, which may
    hold a password."""
    if text == "memory:":
        return StateUrl("memory")
    scheme, colon, rest = text.partition(":")
    if scheme == "sqlite" and colon:
        return _sqlite(rest)
    if scheme not in _SCHEMES or not rest.startswith("//"):
        raise ValueError(f"no such state; {FORMS}")
    return _redis(*_SCHEMES[scheme], rest[2:])


def _sqlite(path: str) -> StateUrl:
    # sqlite:///x is what SQLAlchemy and others write for a relative path, and sqlite:////x for an absolute one.
    if path.startswith("///"):
        path = path[3:]
    elif path.startswith("//"):
        raise ValueError("a SQLite file has no host; write sqlite:state.db or sqlite:/var/lib/gateway/state.db")
    if not path or path.endswith("/") or "\0" in path:
        raise ValueError("sqlite: lacks its file; write sqlite:state.db")
    if path == ":memory:" or "?" in path:
        raise ValueError("sqlite: takes a file alone; write memory: or sqlite:state.db")
    return StateUrl("sqlite", path=path)


def _redis(kind: Kind, tls: bool, rest: str) -> StateUrl:
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    username, colon, password = credentials.partition(":")
    if "#" in rest or "@" in path:
        raise ValueError("the URL holds @, / or # in its password as they are; write %40, %2F or %23")
    options = _options(query)
    parts = [unquote(part) for part in path.split("/") if part]
    service = ""
    if kind == "sentinel":
        if not parts:
            raise ValueError("the sentinels' service is not named; write redis+sentinel://host:26379/service")
        service = parts.pop(0)
    if len(parts) > 1 or (parts and "db" in options):
        raise ValueError("the URL's path holds more than a database; write redis://host:6379/0")
    db = _number(parts[0] if parts else options.get("db", "0"), "database", 0, 2**31 - 1)
    if kind == "cluster" and db:
        raise ValueError("a cluster has database 0 alone; leave the database out")
    if "ca" in options and not tls:
        raise ValueError("ca= needs TLS; write rediss:// (or rediss+sentinel://, rediss+cluster://)")
    addresses = tuple(_address(host, 26379 if kind == "sentinel" else 6379) for host in hosts.split(","))
    if kind == "single" and len(addresses) > 1:
        raise ValueError("redis:// takes one host; write redis+cluster:// or redis+sentinel:// for several")
    return StateUrl(
        kind,
        addresses=addresses,
        service=service,
        db=db,
        tls=tls,
        ca=options.get("ca", ""),
        prefix=options.get("prefix", "llm-gateway:"),
        username=unquote(username) or None if at else None,
        password=unquote(password) if colon else None,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("the query cannot be read; write for example ?db=1") from None
    options = dict(pairs)
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown or len(options) != len(pairs):
        raise ValueError(f"the query holds an unknown or doubled option; there are {', '.join(_OPTIONS)}")
    if "prefix" in options and not options["prefix"].replace("-", "").replace("_", "").replace(":", "").isalnum():
        raise ValueError("prefix= takes letters, digits, - _ and :; write for example ?prefix=staging:")
    return options


def _address(text: str, default_port: int) -> Address:
    host, _, port = text.rpartition(":") if text.rfind(":") > text.rfind("]") else (text, "", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or "[" in host or "]" in host:
        raise ValueError("an IPv6 address stands in brackets; write redis://[::1]:6379")
    if not host or not host.isascii() or any(each <= " " for each in host):
        raise ValueError("the URL lacks a host; write redis://host:6379")
    return host, _number(port, "port", 1, 65535) if port else default_port


def _number(text: str, what: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise ValueError(f"the {what} is no number from {least} to {most}; write redis://host:6379/0")
    return int(text)
