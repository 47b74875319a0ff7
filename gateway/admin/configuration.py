"""The configuration: what is in force, without its secrets, what changed last, and what a reload would do.

In a group of processes it is the hub's: what it put in force, every worker has.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from gateway.admin.asked import body_of
from gateway.admin.desk import Desk
from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.config import Config
from gateway.runtime.reload import Earlier, Reloaded
from gateway.runtime.veiled import Clean, Loader, secrets_of, veil
from gateway.secret import Secret

MOST_BYTES: Final = 1024 * 1024
"""Of a file that is shown because something is wrong with it: no configuration may be larger."""
MARKS: Final = {"+": "added", "-": "removed", "@": "hunk"}

Texts = Mapping[str, str]
"""Files as they may be shown, by name."""


class Shown:
    """Texts as they may be shown, made when they are first asked for and kept until another is in force."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._made: dict[str, Texts] = {}

    @property
    def clean(self) -> Clean:
        """What knows every secret that this process ever had."""
        return self._desk.gateway.log.redactor.clean

    async def in_force(self) -> Texts:
        """Return the files as they were when they were put in force."""
        snapshot = self._desk.gateway.snapshot
        return await self._shown(_earlier(snapshot.config, snapshot.catalog))

    async def before(self) -> Texts | None:
        """Return the files that were in force before, None when there were none."""
        previous = self._desk.reloader.previous
        return None if previous is None else await self._shown(previous)

    async def _shown(self, what: Earlier) -> Texts:
        if what.digest not in self._made:
            made = await asyncio.to_thread(veiled, what, self.clean)
            previous = self._desk.reloader.previous
            kept = {self._desk.gateway.snapshot.digest, previous.digest if previous is not None else ""}
            self._made = {digest: texts for digest, texts in self._made.items() if digest in kept} | {what.digest: made}
            return made
        return self._made[what.digest]


def veiled(what: Earlier, clean: Clean) -> Texts:
    """Return a configuration's files without their secrets."""
    return {name: veil(text.reveal(), what.secrets, clean) for name, text in what.texts}


async def facts(desk: Desk, shown: Shown) -> dict[str, Any]:
    """Return what is in force, what changed when it was put there, and how the last reloads ended."""
    reloader, config = desk.reloader, desk.gateway.snapshot.config
    now, before = await shown.in_force(), await shown.before()
    changed = None
    if before is not None and reloader.previous is not None:
        diff = await asyncio.to_thread(diff_of, before, now)
        changed = {"digest": reloader.previous.digest, "diff": diff}
    return {
        "digest": config.digest,
        "since": reloader.since_s,
        "files": [{"name": name, "text": text} for name, text in now.items()],
        "warnings": list(config.warnings),
        "previous": changed,
        "reloads": [told(each) for each in reversed(reloader.history)],
        "last_reload_failed": desk.gateway.last_reload_failed,
    }


async def pending(desk: Desk, shown: Shown) -> dict[str, Any]:
    """Return what a reload would do now: what is wrong with the files, or which lines differ from those in force."""
    config = desk.gateway.snapshot.config
    try:
        read, catalog = await desk.reloader.trial()
    except ConfigError as error:
        errors = errors_of(error)
        secrets = secrets_of(config, desk.gateway.snapshot.catalog)
        names = dict.fromkeys(each["file"] for each in errors if each["line"])
        files = await asyncio.to_thread(_on_disk, config.home, names, secrets, shown.clean)
        return {"valid": False, "errors": errors, "files": files}
    texts = await asyncio.to_thread(veiled, _earlier(read, catalog), shown.clean)
    diff = await asyncio.to_thread(diff_of, await shown.in_force(), texts)
    return {
        "valid": True,
        "digest": read.digest,
        "is_in_force": read.digest == config.digest,
        "warnings": list(read.warnings),
        "diff": diff,
    }


def diff_of(before: Texts, after: Texts) -> list[dict[str, Any]]:
    """Return the files that differ, each with the lines of a unified diff."""
    found = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, "").split("\n"), after.get(name, "").split("\n")
        lines = list(difflib.unified_diff(old, new, lineterm=""))[2:] if old != new else []
        if lines:
            found.append({"file": name, "lines": lines})
    return found


def told(reload: Reloaded) -> dict[str, Any]:
    """Return one reload: when, why, and how it ended."""
    return {
        "at": reload.at_s,
        "why": reload.why,
        "digest": reload.digest,
        "errors": [error_facts(each) for each in reload.errors],
    }


def errors_of(error: ConfigError) -> list[dict[str, Any]]:
    """Return everything that is wrong with a configuration, each with its place."""
    return [error_facts(each) for each in (error.errors if isinstance(error, ConfigErrors) else [error])]


def error_facts(error: ConfigError) -> dict[str, Any]:
    """Return one error of a configuration."""
    return {
        "message": str(error),
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "path": error.path,
        "problem": error.problem,
        "cure": error.cure,
    }


def invalid(error: ConfigError) -> web.Response:
    """Return a configuration's errors as 400, each with its place."""
    errors = errors_of(error)
    told = {"error": {"message": errors[0]["message"], "code": "invalid_configuration"}, "errors": errors}
    return web.json_response(told, status=400)


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""
    shown = Shown(desk)

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(await facts(desk, shown))

    async def tell_pending(_: web.Request) -> web.Response:
        return web.json_response(await pending(desk, shown))

    async def validate(request: web.Request) -> web.Response:
        """Say what is wrong with the files as they are now; nothing changes."""
        await body_of(request, frozenset())
        try:
            config, _catalog = await desk.reloader.trial()
        except ConfigError as error:
            return invalid(error)
        return web.json_response({"valid": True, "digest": config.digest, "warnings": list(config.warnings)})

    async def reload(request: web.Request) -> web.Response:
        """Reload the configuration; a bad one is a 400 with every error, and changes nothing."""
        await body_of(request, frozenset())
        desk.note(request, "reload")
        try:
            snapshot = await desk.reloader.reload("admin")
        except ConfigError as error:
            return invalid(error)
        return web.json_response({"reloaded": True, "digest": snapshot.digest})

    async def page(request: web.Request) -> web.Response:
        return await desk.page(request, "configuration.html", _with_marks(await facts(desk, shown)))

    async def page_validate(request: web.Request) -> web.Response:
        return await desk.page(
            request, "partials/checked.html", _with_marks(await pending(desk, shown)) | {"tried": False}
        )

    async def page_reload(request: web.Request) -> web.Response:
        desk.note(request, "reload")
        try:
            await desk.reloader.reload("admin")
        except ConfigError:
            checked = await pending(desk, shown)
            return await desk.page(request, "partials/checked.html", _with_marks(checked) | {"tried": True})
        return web.Response(headers={"hx-redirect": "/configuration"})

    return (
        web.get("/configuration", page),
        web.post("/configuration/validate", page_validate),
        web.post("/configuration/reload", page_reload),
        web.get("/api/configuration", tell),
        web.get("/api/configuration/pending", tell_pending),
        web.post("/api/validate", validate),
        web.post("/api/reload", reload),
    )


def _earlier(config: Config, catalog: Loader) -> Earlier:
    return Earlier(config.digest, config.texts, secrets_of(config, catalog))


def _on_disk(home: Path, names: Iterable[str], secrets: frozenset[Secret], clean: Clean) -> list[dict[str, str]]:
    """Return files as they are on the disk now, without secrets; of those that errors name, the YAML ones."""
    found = []
    for name in names:
        path = home / name
        if path.suffix not in (".yaml", ".yml"):
            continue
        try:
            with path.open("rb") as file:
                text = file.read(MOST_BYTES).decode("utf-8-sig", "replace")
        except OSError:
            continue  # what cannot be read has been told of
        found.append({"name": name, "text": veil(text, secrets, clean)})
    return found


def _with_marks(told: dict[str, Any]) -> dict[str, Any]:
    """Return facts with what a page shows of them beside: which lines are marked, and how."""
    diffs = [each for each in (told.get("diff"), (told.get("previous") or {}).get("diff")) if each]
    for each in (one for diff in diffs for one in diff):
        each["marks"] = {n: MARKS[line[0]] for n, line in enumerate(each["lines"], 1) if line[:1] in MARKS}
    for file in told.get("files", ()):
        wrong = [error for error in told.get("errors", ()) if error["file"] == file["name"]]
        file["marks"] = {error["line"]: "marked" for error in wrong}
    numbers = {file["name"]: n for n, file in enumerate(told.get("files", ()))}
    return told | {"numbers": numbers}
