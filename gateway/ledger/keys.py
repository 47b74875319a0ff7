"""Virtual keys in the ledger. Every change raises a number, which other processes may poll at next to no cost."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, or_, select, update

from gateway.ledger.ledger import SavedKey
from gateway.ledger.schema import KEYS, META
from gateway.ledger.written import as_json, text


def _changed(conn: Connection) -> None:
    conn.execute(update(META).where(META.c.name == "keys").values(value=META.c.value + 1))


def version(conn: Connection) -> int:
    """Return the number that every change of a key raises."""
    return int(conn.execute(select(META.c.value).where(META.c.name == "keys")).scalar_one())


def save(conn: Connection, key: SavedKey) -> None:
    """Keep `key`; one of the same hash is replaced."""
    _changed(conn)  # first: it locks the number's row, so that two savers take turns
    conn.execute(delete(KEYS).where(KEYS.c.hash == key.hash))
    conn.execute(
        KEYS.insert().values(
            hash=key.hash,
            name=text(key.name),
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            facts=as_json(key.facts),
        )
    )


def every(conn: Connection) -> list[SavedKey]:
    """Return every key ever kept, oldest first."""
    return [
        SavedKey(
            name=row.name,
            hash=row.hash,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            facts=msgspec.json.decode(row.facts),
        )
        for row in conn.execute(select(KEYS).order_by(KEYS.c.created_at, KEYS.c.hash))
    ]


def revoke(conn: Connection, name: str, at: float, but: str | None) -> int:
    """Revoke every key of that name that is not revoked, but the one of that hash; return how many there were."""
    return _set(conn, KEYS.c.name == text(name), KEYS.c.hash != (but or ""), revoked_at=at)


def end(conn: Connection, name: str, at: float, but: str) -> int:
    """Let every key of that name that holds longer expire then, but the one of that hash; return their number."""
    longer = or_(KEYS.c.expires_at.is_(None), KEYS.c.expires_at > at)
    return _set(conn, KEYS.c.name == text(name), KEYS.c.hash != but, longer, expires_at=at)


def _set(conn: Connection, *where: ColumnElement[bool], **values: float) -> int:
    """Change keys that are not revoked; return how many."""
    changed = conn.execute(update(KEYS).where(*where, KEYS.c.revoked_at.is_(None)).values(values)).rowcount
    if changed:
        _changed(conn)
    return changed
