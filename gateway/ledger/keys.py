"""Virtual keys in the ledger. Every change raises a number, which other processes may poll at next to no cost."""

from __future__ import annotations

import msgspec

from gateway.ledger.ledger import SavedKey
from gateway.ledger.store import Plain
from gateway.ledger.written import as_json, text


def _changed(db: Plain) -> None:
    db.change("UPDATE ledger_meta SET value = value + 1 WHERE name = 'keys'")


def version(db: Plain) -> int:
    """Return the number that every change of a key raises."""
    [[value]] = db.rows("SELECT value FROM ledger_meta WHERE name = 'keys'")
    return int(value)


def save(db: Plain, key: SavedKey) -> None:
    """Keep `key`; one of the same hash is replaced."""
    _changed(db)  # first: it locks the number's row, so that two savers take turns
    db.change("DELETE FROM ledger_keys WHERE hash = :hash", {"hash": key.hash})
    facts = key.hash, text(key.name), key.created_at, key.expires_at, key.revoked_at, as_json(key.facts)
    db.insert("INSERT INTO ledger_keys (hash, name, created_at, expires_at, revoked_at, facts)", [facts])


def every(db: Plain) -> list[SavedKey]:
    """Return every key ever kept, oldest first."""
    return [
        SavedKey(
            name=name,
            hash=hash,
            created_at=created_at,
            expires_at=expires_at,
            revoked_at=revoked_at,
            facts=msgspec.json.decode(facts),
        )
        for name, hash, created_at, expires_at, revoked_at, facts in db.rows(
            "SELECT name, hash, created_at, expires_at, revoked_at, facts FROM ledger_keys ORDER BY created_at, hash"
        )
    ]


def revoke(db: Plain, name: str, at: float, but: str | None) -> int:
    """Revoke every key of that name that is not revoked, but the one of that hash; return how many there were."""
    return _set(db, "revoked_at = :at", "", name, at, but or "")


def end(db: Plain, name: str, at: float, but: str) -> int:
    """Let every key of that name that holds longer expire then, but the one of that hash; return their number."""
    return _set(db, "expires_at = :at", " AND (expires_at IS NULL OR expires_at > :at)", name, at, but)


def _set(db: Plain, what: str, longer: str, name: str, at: float, but: str) -> int:
    """Change keys that are not revoked; return how many."""
    changed = db.change(
        f"UPDATE ledger_keys SET {what} WHERE name = :name AND hash != :but{longer} AND revoked_at IS NULL",
        {"name": text(name), "at": float(at), "but": but},
    )
    if changed:
        _changed(db)
    return changed
