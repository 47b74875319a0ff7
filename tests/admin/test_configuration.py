"""The configuration page: what is in force, what changed, what is wrong with a file, and no secret anywhere."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway.errors import ConfigError
from tests.admin.desks import Dashboard, dashboard

KEY, PASSWORD, HIDDEN = "plain-key-in-the-file", "pass-in-a-plugin", "marked-by-the-schema"
CONFIG = f"""
version: 1
include: [routes.yaml]
plugins:
  - mine: {{db_password: {PASSWORD}, colour: {HIDDEN}}}
providers:
  up: {{dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: {KEY}}}  # {KEY} once more
  other: {{dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: "${{OTHER}}"}}
routes:
  - {{name: first, match: {{model: m}}, targets: ["up/*"]}}
"""
INCLUDED = "routes:\n  - {name: second, targets: ['other/*']}\n"
MINE = """
    from gateway.plugin import ConfigError, Plugin

    class Mine(Plugin):
        options_schema = {"type": "object", "properties": {
            "db_password": {"type": "string"}, "colour": {"type": "string", "writeOnly": True}}}

        def __init__(self, options, services):
            super().__init__(options, services)
            if options["colour"] == "never":
                raise ConfigError("never is no colour", cure="write another")
"""
HOME = {
    "plugins": {"mine": MINE},
    "files": {"routes.yaml": INCLUDED},
    "environ": {"OTHER": "key-out-of-the-environment"},
}
SECRETS = (KEY, PASSWORD, HIDDEN, "key-out-of-the-environment")


def written(desk: Dashboard, text: str, name: str = "gateway.yaml") -> None:
    (desk.gateway.home / name).write_text(text)


async def test_the_files_in_force_are_shown_line_for_line_without_secrets() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        told = await desk.get("/api/configuration")
        assert [file["name"] for file in told["files"]] == ["gateway.yaml", "routes.yaml"]
        lines = told["files"][0]["text"].split("\n")
        assert len(lines) == len(CONFIG.split("\n")) and "name: first" in lines[9]
        assert 'api_key: "${OTHER}"' in told["files"][0]["text"]
        page = await desk.page("/configuration")
        assert 'href="#text1-L10"' in page and "name: second" in page
        for text in (str(told), page):
            assert not [secret for secret in SECRETS if secret in text]


async def test_in_force_is_what_was_read_then_and_not_what_is_on_the_disk_now() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        written(desk, CONFIG.replace("name: first", "name: changed"))
        text = (await desk.get("/api/configuration"))["files"][0]["text"]
        assert "name: first" in text and "name: changed" not in text


async def test_a_reload_tells_what_changed_and_when() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        before = await desk.get("/api/configuration")
        assert before["previous"] is None and before["reloads"] == []
        written(desk, CONFIG.replace("name: first", "name: changed").replace(PASSWORD, "another-password"))
        status, body = await desk.ask("POST", "/api/reload", {})
        assert status == 200 and body["reloaded"] is True
        told = await desk.get("/api/configuration")
        assert told["digest"] == body["digest"] != before["digest"] == told["previous"]["digest"]
        (diff,) = told["previous"]["diff"]
        changed = [line for line in diff["lines"] if re.match(r"[-+] ", line)]
        assert [line[0] for line in changed] == ["-", "+"] and "first" in changed[0] and "changed" in changed[1]
        (reload,) = told["reloads"]
        assert (reload["why"], reload["digest"], reload["errors"]) == ("admin", told["digest"], [])
        page = await desk.page("/configuration")
        assert "Lines with + are new" in page
        assert "another-password" not in page and not [secret for secret in SECRETS if secret in page]


async def test_a_changed_secret_alone_is_told_without_a_line() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        written(desk, CONFIG.replace(PASSWORD, "another-password"))
        answer, _ = await desk.press("/configuration/reload")
        assert answer.headers["hx-redirect"] == "/configuration"
        assert "what changed is a secret" in await desk.page("/configuration")


async def test_validate_tells_which_lines_would_change_and_changes_nothing() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        told = await desk.get("/api/configuration/pending")
        assert told["valid"] and told["is_in_force"] and told["diff"] == []
        written(desk, INCLUDED.replace("second", "third"), "routes.yaml")
        told = await desk.get("/api/configuration/pending")
        assert told["valid"] and not told["is_in_force"] and [each["file"] for each in told["diff"]] == ["routes.yaml"]
        _, page = await desk.press("/configuration/validate")
        assert "these lines differ" in page and "name: third" in page
        assert (await desk.get("/api/configuration"))["reloads"] == []


async def test_a_bad_file_is_told_with_its_place_each_linked_to_its_line_and_on_every_page() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        digest = (await desk.get("/api/configuration"))["digest"]
        written(desk, CONFIG.replace('["up/*"]', '["nobody/*"]'))
        for button, says in (("validate", "a reload would change nothing"), ("reload", "what was in force before")):
            answer, page = await desk.press(f"/configuration/{button}")
            assert answer.status == 200 and says in page and "nobody" in page
            assert 'href="#disk0-L10"' in page and 'class="line marked" id="disk0-L10"' in page
            assert not [secret for secret in SECRETS if secret in page]
        told = await desk.get("/api/configuration")
        assert told["digest"] == digest and told["last_reload_failed"]
        (reload,) = told["reloads"]
        assert reload["digest"] is None and reload["errors"][0]["line"] == 10
        assert "The last reload failed" in await desk.page("/configuration")
        written(desk, CONFIG)
        await desk.press("/configuration/reload")
        assert "The last reload failed" not in await desk.page("/configuration")


async def test_a_file_that_is_no_yaml_is_shown_without_its_secrets() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        written(desk, CONFIG.replace("routes:\n", "routes: [\n").replace(KEY, "a-new-key-not-known-yet"))
        _, page = await desk.press("/configuration/validate")
        assert "not valid YAML" in page and 'id="disk0-L' in page
        assert "a-new-key-not-known-yet" not in page and not [secret for secret in SECRETS if secret in page]


async def test_what_a_plugin_would_refuse_is_not_valid() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        written(desk, CONFIG.replace(HIDDEN, "never"))
        status, body = await desk.ask("POST", "/api/validate", {})
        assert status == 400 and "never is no colour" in body["error"]["message"]
        assert body["errors"][0]["line"] == 5


async def test_ten_reloads_are_remembered_the_newest_first() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        for number in range(12):
            written(desk, CONFIG + f"# {number}\n")
            await desk.gateway.reloader.reload(f"reason {number}")
        told = await desk.get("/api/configuration")
        assert [each["why"] for each in told["reloads"]] == [f"reason {number}" for number in range(11, 1, -1)]


async def test_reloads_at_once_and_trials_beside_them_all_end_well() -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        answers = await asyncio.gather(
            *(desk.ask("POST", f"/api/{what}", {}) for what in ("reload", "validate", "reload", "validate"))
        )
        assert [status for status, _ in answers] == [200] * 4


@pytest.mark.parametrize("payload", ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>"])
async def test_nothing_in_a_file_is_markup_on_the_page(payload: str) -> None:
    async with dashboard(CONFIG, **HOME) as desk:
        written(desk, CONFIG + f"# {payload}\n")
        _, differs = await desk.press("/configuration/validate")
        await desk.gateway.reloader.reload("test")
        written(desk, CONFIG + f"# {payload}\nwrong: '{payload}'\n")
        with pytest.raises(ConfigError):
            await desk.gateway.reloader.reload("test")
        _, wrong = await desk.press("/configuration/validate")
        for page in (differs, wrong, await desk.page("/configuration")):
            assert payload not in page and payload.replace("<", "&lt;").replace(">", "&gt;") in page
