"""Who has a key: those of gateway.yaml with their places, and those that the ledger keeps. Never a hash whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway import credentials
from gateway.ledger.ledger import Ledger, SavedKey
from gateway.runtime.config import Config, Place
from gateway.runtime.issued import as_written, entry_of

SHOWN_OF_HASH: Final = 8
"""So many hex digits tell keys apart, and say nothing of the key."""
STATES: Final = ("active", "expired", "revoked")
HELD_BY: Final = {
    "auth": "nobody is asked for a key",
    "budget": "nothing holds budgets",
    "rate_limit": "nothing holds limits",
}


@dataclass(frozen=True, slots=True)
class Holder:
    """A key: its name, where it stands (None: the ledger has it), and when it holds. `source` is what it was made from:
    an entry of `auth.keys` with its amounts read, or what the ledger keeps."""

    name: str
    hash: str
    place: Place | None
    created_at: float | None
    expires_at: float | None
    revoked_at: float | None
    source: Mapping[str, Any] | SavedKey

    def state(self, now: float) -> str:
        """Return whether it is active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def mentions(self, words: str) -> bool:
        """Whether `words`, in lower case, stand in its name, its tags or models, or begin its hash."""
        facts = self.source.facts if isinstance(self.source, SavedKey) else self.source
        tags, models = facts.get("tags") or {}, facts.get("models") or ()
        said = [self.name, *map(str, tags.values()), *((models,) if isinstance(models, str) else map(str, models))]
        return self.hash.startswith(words) or any(words in each.lower() for each in said)

    def kept(self) -> dict[str, Any]:
        """Return tags, limits and budget as plugins take them: JSON that `credentials.read_facts` reads; nothing of a
        key that cannot be read, which no gateway lets in."""
        if isinstance(self.source, SavedKey):
            facts: Mapping[str, Any] = self.source.facts
        else:
            facts = credentials.kept_facts({name: self.source.get(name) for name in ("tags", "limits", "budget")})
        try:
            credentials.read_facts(facts)
        except ValueError:
            return {}
        return {name: facts[name] for name in ("tags", "limits", "budget") if facts.get(name)}

    @property
    def is_readable(self) -> bool:
        """Whether its bounds can be read: a key without that is let in nowhere."""
        return self._entry() is not None

    def facts(self, now: float) -> dict[str, Any]:
        """Return all of it that may be shown."""
        entry, state = self._entry(), self.state(now)
        place = self.place
        return {
            "name": self.name,
            "hash": self.hash[:SHOWN_OF_HASH],
            "saved": place is None,
            "place": None if place is None else {"file": place.file, "line": place.line, "column": place.column},
            "state": "unreadable" if entry is None else state,
            "models": _several((entry or {}).get("models")),
            "routes": _several((entry or {}).get("routes")),
            "tags": dict((entry or {}).get("tags") or {}),
            "limits": dict((entry or {}).get("limits") or {}),
            "budget": (entry or {}).get("budget"),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
        }

    def _entry(self) -> Mapping[str, Any] | None:
        if isinstance(self.source, SavedKey):
            try:
                return entry_of(self.source)
            except ValueError:
                return None
        budget = self.source.get("budget")
        return {
            **self.source,
            "budget": None if budget is None else as_written(budget),
            "limits": {name: as_written(value) for name, value in (self.source.get("limits") or {}).items()},
        }


def in_file(config: Config) -> list[Holder]:
    """Return the keys of `auth.keys` and of its `keys_file`, in their order."""
    auth = next((each for each in config.plugins if each.name == "auth"), None)
    if auth is None or auth.options is None:
        return []
    places = auth.listed.get("keys", ())
    found = []
    for number, entry in enumerate(auth.options.get("keys", ())):
        expires_at = credentials.read_expiry(entry["expires"]) if "expires" in entry else None
        place = places[number] if number < len(places) else auth.place
        hash = str(entry["hash"]).removeprefix("sha256:").lower()
        found.append(Holder(entry["name"], hash, place, None, expires_at, None, entry))
    return found


def saved(keys: Iterable[SavedKey]) -> list[Holder]:
    """Return the ledger's keys."""
    return [
        Holder(key.name, key.hash.removeprefix("sha256:"), None, key.created_at, key.expires_at, key.revoked_at, key)
        for key in keys
    ]


class Book:
    """The ledger's keys, read again when they have changed: ten thousand take a while to read."""

    def __init__(self) -> None:
        self._known: tuple[int, list[Holder]] = (-1, [])

    async def saved(self, ledger: Ledger) -> list[Holder]:
        """Return them. Raises: StateLost."""
        version = await ledger.keys_version()  # first: what changes after it is found the next time
        if version != self._known[0]:
            self._known = version, saved(await ledger.keys())
        return list(self._known[1])


def running(config: Config, plugin: str) -> set[str | None]:
    """Return on which routes `plugin` stands by an entry of the route's own; None stands for the global chain."""
    found: set[str | None] = {
        route.name
        for route in config.routes
        if any(each.name == plugin and each.options is not None for each in route.plugins)
    }
    if any(each.name == plugin for each in config.plugins):
        found.add(None)
    return found


def unheld(config: Config, facts: Mapping[str, Any]) -> list[str]:
    """Return, for a key with these facts, which of the plugins that it needs run nowhere, and what that means."""
    needed = ["auth", *(["budget"] if facts.get("budget") else []), *(["rate_limit"] if facts.get("limits") else [])]
    return [
        f'the plugin {name} is in no chain, so {HELD_BY[name]}: add "- {name}" to plugins in gateway.yaml'
        for name in needed
        if not running(config, name)
    ]


def month_of(now: float) -> float:
    """Return when the calendar month began, in UTC."""
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def _several(value: Any) -> list[str] | None:
    if value is None:
        return None
    return [value] if isinstance(value, str) else [str(each) for each in value]
