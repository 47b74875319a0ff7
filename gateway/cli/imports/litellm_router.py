"""What LiteLLM's router is told in numbers, and where it shares them.

Facts from docs.litellm.ai (routing, proxy/config_settings; November 2026): times are seconds; `num_retries` counts
tries after the first; a deployment rests for `cooldown_time` once it has failed more than `allowed_fails` times, and
never where that is 0 or `disable_cooldowns` is set; `redis_url`, or `redis_host`, `redis_port` and `redis_password`,
name what several proxies count in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.cli.imports.draft import Draft, seconds_of
from gateway.runtime import written

REDIS: Final = ("redis_url", "redis_host", "redis_port", "redis_password")
_ADDRESS: Final = re.compile(r"rediss?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[0-9]{1,3})?")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def numbers(section: Mapping[str, Any], name: str, draft: Draft) -> None:
    """Carry over retries, timeouts and cooldowns of `section`, which is called `name`; routes are there already."""
    retries = section.get("num_retries")
    if isinstance(retries, int) and not isinstance(retries, bool) and 0 <= retries < 100:
        for route in draft.routes:
            route.setdefault("retry", {"attempts": retries + 1})
    elif retries is not None:
        draft.lose(f"{name}.num_retries", "is no number of retries")
    for key in ("timeout", "request_timeout"):
        if (seconds := seconds_of(section.get(key))) is not None:
            draft.plugin("timeouts", {"total": written.duration(seconds)}, f"{name}.{key}")
        elif section.get(key) is not None:
            draft.lose(f"{name}.{key}", "is no time in seconds")
    _breaker(section, name, draft)


def _breaker(section: Mapping[str, Any], name: str, draft: Draft) -> None:
    fails, rest, off = (section.get(key) for key in ("allowed_fails", "cooldown_time", "disable_cooldowns"))
    if off is True or (rest == 0 and not isinstance(rest, bool)):
        draft.without.add("circuit_breaker")
        return
    breaker: dict[str, Any] = {}
    if isinstance(fails, int) and not isinstance(fails, bool) and 0 <= fails < 1_000_000:
        breaker["failures"] = fails + 1  # LiteLLM rests a target once it exceeds them
    elif fails is not None:
        draft.lose(f"{name}.allowed_fails", "is no number of failures")
    if (seconds := seconds_of(rest)) is not None:
        breaker["open_for"] = written.duration(seconds)
    elif rest is not None:
        draft.lose(f"{name}.cooldown_time", "is no time in seconds")
    if breaker:
        given = " and ".join(key for key in ("allowed_fails", "cooldown_time") if key in section)
        draft.plugin("circuit_breaker", breaker, f"{name}.{given}")


def state(router: Mapping[str, Any], draft: Draft) -> None:
    """Carry over where counts are shared, when that is written out and needs no credential."""
    given = [key for key in REDIS if router.get(key) not in (None, "")]
    if not given:
        return
    url, host, port = (router.get(key) for key in ("redis_url", "redis_host", "redis_port"))
    if given == ["redis_url"] and isinstance(url, str) and _ADDRESS.fullmatch(url):
        draft.state = url
    elif "redis_host" in given and set(given) <= {"redis_host", "redis_port"} and _is_place(host, port):
        draft.state = f"redis://{host}:{port or 6379}"
    else:
        for key in given:
            draft.lose(f"router_settings.{key}", "write state: redis://… by hand, its password as ${VARIABLE}")


def _is_place(host: Any, port: Any) -> bool:
    if not isinstance(host, str) or not _HOST.fullmatch(host) or isinstance(port, bool):
        return False
    return port is None or (str(port).isascii() and str(port).isdigit() and 0 < int(port) < 65536)
