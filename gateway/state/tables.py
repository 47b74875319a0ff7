"""The SQL of the SQLite store: one function an operation, each inside a transaction that somebody else began."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from gateway.state.claims import (
    bucket_wait,
    forgotten_in,
    full_in,
    lease_wait,
    level_now,
    quota_wait,
    whole,
)
from gateway.state.store import Bucket, Claim, Lease, Quota, Taken

VERSION: Final = 1
VALUE, COUNTER, LIST = 0, 1, 2
SCHEMA: Final = """
CREATE TABLE meta(id INTEGER PRIMARY KEY, version INTEGER, boot TEXT, offset REAL, seen REAL, wall REAL);
CREATE TABLE kept(key TEXT PRIMARY KEY, kind INTEGER, value, ends REAL);
CREATE TABLE items(key TEXT, number INTEGER, value BLOB, PRIMARY KEY(key, number));
CREATE TABLE levels(key TEXT PRIMARY KEY, level REAL, at REAL, ends REAL) WITHOUT ROWID;
CREATE TABLE leases(key TEXT, holder TEXT, ends REAL, PRIMARY KEY(key, holder)) WITHOUT ROWID;
CREATE INDEX kept_ends ON kept(ends);
CREATE INDEX levels_ends ON levels(ends);
CREATE INDEX leases_ends ON leases(ends)
"""
_KEEP: Final = "INSERT OR REPLACE INTO kept VALUES(?, ?, ?, ?)"
_LEVEL: Final = "INSERT OR REPLACE INTO levels VALUES(?, ?, ?, ?)"
_LEASE: Final = "INSERT OR REPLACE INTO leases VALUES(?, ?, ?)"


def get(db: sqlite3.Connection, now: float, key: str) -> bytes | None:
    row = db.execute("SELECT value FROM kept WHERE key = ? AND kind = 0 AND ends > ?", (key, now)).fetchone()
    return row[0] if row else None


def put(db: sqlite3.Connection, now: float, key: str, value: bytes, lifetime_s: float, if_absent: bool) -> bool:
    kept = db.execute("SELECT kind, ends FROM kept WHERE key = ?", (key,)).fetchone()
    if kept and if_absent and kept[1] > now:
        return False
    if kept and kept[0] == LIST:
        db.execute("DELETE FROM items WHERE key = ?", (key,))
    db.execute(_KEEP, (key, VALUE, value, now + lifetime_s))
    return True


def delete(db: sqlite3.Connection, now: float, *keys: str) -> int:
    there = 0
    for key in keys:
        kept = db.execute("DELETE FROM kept WHERE key = ? RETURNING kind, ends", (key,)).fetchall()
        there += any(ends > now for _, ends in kept)
        if any(kind == LIST for kind, _ in kept):
            db.execute("DELETE FROM items WHERE key = ?", (key,))
    return there


def add(db: sqlite3.Connection, now: float, key: str, amount: int, lifetime_s: float) -> int:
    counted, ends_at = _counted(db, now, key, lifetime_s)
    db.execute(_KEEP, (key, COUNTER, counted + amount, ends_at))
    return counted + amount


def push(
    db: sqlite3.Connection,
    now: float,
    key: str,
    values: Sequence[bytes],
    lifetime_s: float,
    at_most: int,
    only_with: str | None,
) -> int:
    if only_with is not None and not touch(db, now, only_with, lifetime_s):
        return -1
    kept = db.execute("SELECT kind, value, ends FROM kept WHERE key = ?", (key,)).fetchone()
    following = 0
    if kept and kept[0] == LIST and kept[2] > now:
        following = kept[1]
    elif not values:
        return 0
    else:
        db.execute("DELETE FROM items WHERE key = ?", (key,))  # whatever an earlier list left
    numbered = [(key, number, value) for number, value in enumerate(values, following)]
    db.executemany("INSERT INTO items VALUES(?, ?, ?)", numbered)
    following += len(values)
    db.execute(_KEEP, (key, LIST, following, now + lifetime_s))
    if at_most:
        db.execute("DELETE FROM items WHERE key = ? AND number < ?", (key, following - at_most))
    length: int = db.execute("SELECT count(*) FROM items WHERE key = ?", (key,)).fetchone()[0]
    return length


def items(db: sqlite3.Connection, now: float, key: str) -> list[bytes]:
    if not db.execute("SELECT 1 FROM kept WHERE key = ? AND kind = 2 AND ends > ?", (key, now)).fetchone():
        return []
    return [value for (value,) in db.execute("SELECT value FROM items WHERE key = ? ORDER BY number", (key,))]


def touch(db: sqlite3.Connection, now: float, key: str, lifetime_s: float) -> bool:
    return db.execute("UPDATE kept SET ends = ? WHERE key = ? AND ends > ?", (now + lifetime_s, key, now)).rowcount > 0


def names(db: sqlite3.Connection, now: float, prefix: str, at_most: int) -> list[str]:
    # A range, not LIKE, which is slower and has characters of its own. No key holds a character after U+10FFFF.
    end = prefix + "\U0010ffff"
    found = db.execute(
        "SELECT key FROM kept WHERE key >= ? AND key < ? AND ends > ? LIMIT ?", (prefix, end, now, at_most)
    )
    return [key for (key,) in found]


def take(db: sqlite3.Connection, now: float, prefix: str, claims: Sequence[Claim]) -> Taken:
    refused: list[int] = []
    seen: list[tuple[tuple[int, float], tuple[int, float]]] = []
    writes: list[tuple[str, tuple[object, ...]]] = []
    retry_after_s = 0.0
    for number, claim in enumerate(claims):
        key = prefix + claim.key
        if isinstance(claim, Bucket):
            level = _level(db, now, key, claim)
            wait, after = bucket_wait(claim, level), level - max(0, claim.amount)
            if claim.amount > 0:
                writes.append((_LEVEL, (key, after, now, now + forgotten_in(claim, after))))
            states = ((whole(level), full_in(claim, level)), (whole(after), full_in(claim, after)))
        elif isinstance(claim, Quota):
            counted, ends_at = _counted(db, now, key, claim.lifetime_s)
            wait, total = quota_wait(claim, counted, ends_at, now), counted + max(0, claim.amount)
            if claim.amount > 0:
                writes.append((_KEEP, (key, COUNTER, total, ends_at)))
            states = ((claim.limit - counted, ends_at - now), (claim.limit - total, ends_at - now))
        else:
            live = dict(db.execute("SELECT holder, ends FROM leases WHERE key = ? AND ends > ?", (key, now)).fetchall())
            wait = lease_wait(claim, claim.holder in live, live.values(), now)
            before = (claim.limit - len(live), max(live.values(), default=now) - now)
            live[claim.holder] = now + claim.lifetime_s
            writes.append((_LEASE, (key, claim.holder, live[claim.holder])))
            states = (before, (claim.limit - len(live), max(live.values()) - now))
        if wait:
            refused.append(number)
            retry_after_s = max(retry_after_s, wait)
        seen.append(states)
    if not refused:
        for sql, row in writes:
            db.execute(sql, row)
    # What each claim's state is before the decision, and after it when all are allowed.
    left, reset_s = zip(*(states[not refused] for states in seen), strict=True) if seen else ((), ())
    return Taken(not refused, tuple(refused), retry_after_s, left, reset_s)


def settle(db: sqlite3.Connection, now: float, prefix: str, claims: Sequence[Claim]) -> None:
    for claim in claims:
        key = prefix + claim.key
        match claim:
            case Lease():
                db.execute("DELETE FROM leases WHERE key = ? AND holder = ?", (key, claim.holder))
            case Bucket():
                level = min(float(claim.burst), _level(db, now, key, claim) - claim.amount)
                db.execute(_LEVEL, (key, level, now, now + forgotten_in(claim, level)))
            case Quota():
                counted, ends_at = _counted(db, now, key, claim.lifetime_s)
                if counted or claim.amount > 0:
                    db.execute(_KEEP, (key, COUNTER, max(0, counted + claim.amount), ends_at))


def renew(db: sqlite3.Connection, now: float, prefix: str, leases: Sequence[Lease]) -> None:
    db.executemany(_LEASE, [(prefix + lease.key, lease.holder, now + lease.lifetime_s) for lease in leases])


def sweep(db: sqlite3.Connection, now: float, at_most: int) -> int:
    """Remove up to `at_most` rows of each table whose lifetime is over; return the most removed of one."""
    lists = db.execute("SELECT key FROM kept WHERE ends <= ? AND kind = 2 LIMIT ?", (now, at_most)).fetchall()
    db.executemany("DELETE FROM items WHERE key = ?", lists)
    db.executemany("DELETE FROM kept WHERE key = ?", lists)
    removed = [len(lists)]
    for table, key, also in (
        ("kept", "rowid", "AND kind <> 2"),
        ("levels", "key", ""),
        ("leases", "(key, holder)", ""),
    ):
        inner = key.strip("()")
        removed.append(
            db.execute(
                f"DELETE FROM {table} WHERE {key} IN (SELECT {inner} FROM {table} WHERE ends <= ? {also} LIMIT ?)",
                (now, at_most),
            ).rowcount
        )
    return max(removed)


def _level(db: sqlite3.Connection, now: float, key: str, bucket: Bucket) -> float:
    row = db.execute("SELECT level, at FROM levels WHERE key = ? AND ends > ?", (key, now)).fetchone()
    return level_now(bucket, row[0], row[1], now) if row else float(bucket.burst)


def _counted(db: sqlite3.Connection, now: float, key: str, lifetime_s: float) -> tuple[int, float]:
    """Return the count and when it is forgotten."""
    row = db.execute("SELECT value, ends FROM kept WHERE key = ? AND kind = 1 AND ends > ?", (key, now)).fetchone()
    return (row[0], row[1]) if row else (0, now + lifetime_s)
