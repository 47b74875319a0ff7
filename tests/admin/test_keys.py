"""Keys on the dashboard: every one with its place, what it may and did; made, rotated and revoked."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest

from gateway.ledger.ledger import Row, SavedKey
from gateway.testing import ManualClock
from tests.admin.opened import Opened, opened

FILED = "sha256:" + "ab" * 32
FILE = f"""
    ledger: sqlite:var/ledger.db
    plugins:
      - auth:
          keys_file: more.yaml
          keys:
            - {{name: filed, hash: "{FILED}", models: "gpt-*", budget: $5/day, limits: {{requests: 60/min, burst: 7}}}}
      - rate_limit: {{limits: [{{per: key, tokens: 1k/day}}]}}
      - budget: {{limits: [{{per: key, cost: $20/month}}]}}
    providers: {{echo: {{}}}}
    routes: [{{name: all, targets: [echo/echo]}}]
"""
MORE = {"more.yaml": f'- {{name: "a/b", hash: "sha256:{"cd" * 32}", tags: {{team: red}}, expires: "2020-01-01"}}\n'}
BARE = "providers: {echo: {}}\nroutes: [{name: all, targets: [echo/echo]}]\n"
SAVING = "ledger: sqlite:var/ledger.db\nplugins: [auth, rate_limit, budget]\n" + BARE


async def until_let_in(admin: Opened, key: str, status: int) -> None:
    """Return once the key is answered with `status`: what the ledger keeps holds within a second."""
    async with asyncio.timeout(10):
        while await admin.chat(key) != status:
            await asyncio.sleep(0)


def made(told: Any) -> str:
    assert re.fullmatch(r"gw-[\w-]{43}", told["key"])
    return str(told["key"])


async def test_every_key_is_listed_with_its_place_and_bounds_and_never_a_hash() -> None:
    async with opened(FILE, files=MORE) as admin:
        await admin.ledger.save_key(SavedKey(name="saved", hash="sha256:" + "ef" * 32, created_at=5.0))
        status, told = await admin.ask("/api/keys")
        by = {each["name"]: each for each in told["keys"]}
        assert status == 200 and list(by) == ["filed", "saved", "a/b"] and told["total"] == 3
        assert by["filed"]["place"] == {"file": "gateway.yaml", "line": 8, "column": 11}
        assert by["filed"]["limits"] == {"requests": "60/min", "burst": 7} and by["filed"]["budget"] == "$5/day"
        assert by["filed"]["models"] == ["gpt-*"] and by["filed"]["hash"] == "abababab" and not by["filed"]["saved"]
        assert by["a/b"]["place"]["file"] == "more.yaml" and by["a/b"]["place"]["line"] == 1
        assert (by["a/b"]["state"], by["a/b"]["expires_at"], by["a/b"]["tags"]) == (
            "expired",
            1577836800,
            {"team": "red"},
        )
        assert by["saved"]["saved"] and by["saved"]["place"] is None and by["saved"]["created_at"] == 5.0
        assert told["counts"] == {"active": 2, "expired": 1, "revoked": 0}
        status, page = await admin.text("/keys")
        assert status == 200 and "gateway.yaml:8" in page and "more.yaml:1" in page and 'href="/keys/a%2Fb"' in page
        for text in (str(told), page, (await admin.text("/keys/filed"))[1], str(await admin.ask("/api/keys/filed"))):
            assert "ab" * 5 not in text and "ef" * 5 not in text


async def test_keys_are_found_by_a_part_of_name_tag_model_or_hash_and_by_state() -> None:
    async with opened(FILE, files=MORE) as admin:
        for query, found in (
            ("q=FIL", ["filed"]), ("q=red", ["a/b"]), ("q=gpt", ["filed"]), ("q=cdcd", ["a/b"]), ("q=nobody", []),
            ("state=expired", ["a/b"]), ("state=revoked", []), ("state=active&q=red", []),
        ):  # fmt: skip
            assert [each["name"] for each in (await admin.ask(f"/api/keys?{query}"))[1]["keys"]] == found, query
        assert (await admin.ask("/api/keys?state=lost"))[0] == 400 and (await admin.ask("/api/keys?page=0"))[0] == 400


async def test_a_made_key_is_shown_once_gets_in_and_is_kept_as_its_hash() -> None:
    async with opened(SAVING) as admin:
        bounds = {"models": ["ec*"], "routes": ["all"], "tags": {"team": "red"}, "budget": "$9.50/month",
                  "limits": {"requests": "100/month", "burst": 3}, "expires_in": "12h"}  # fmt: skip
        status, told = await admin.ask("/api/keys", "POST", {"name": "team-a", **bounds})
        key = made(told)
        assert status == 201 and told["warnings"] == [] and told["hash"] == sha256(key.encode()).hexdigest()[:8]
        await until_let_in(admin, key, 200)
        assert await admin.chat(key, model="other") == 403
        status, one = await admin.ask("/api/keys/team-a")
        (entry,) = one["keys"]
        assert {name: entry[name] for name in ("models", "routes", "tags", "budget", "limits")} == {
            name: bounds[name] for name in ("models", "routes", "tags", "budget", "limits")
        }
        assert 12 * 3600 - 1 <= entry["expires_at"] - entry["created_at"] <= 12 * 3600
        for told_later in (one, await admin.ask("/api/keys"), await admin.text("/keys/team-a"), admin.gateway.log):
            assert key not in str(told_later) and sha256(key.encode()).hexdigest() not in str(told_later)
        assert not any(key.encode() in file.read_bytes() for file in admin.gateway.home.rglob("*") if file.is_file())
        (noted,) = admin.gateway.events("admin_action")
        assert (noted["action"], noted["key"], noted["by"]) == ("key_created", "team-a", "loopback")


async def test_a_form_makes_a_key_as_a_script_does() -> None:
    async with opened(SAVING) as admin:
        form = {"name": "team-b", "models": "a*, b", "routes": "", "tags": "team=red, stage=test", "budget": "$1/day",
                "requests": "5/min", "burst": "", "tokens": "1k/h", "concurrency": "2", "expires_in": ""}  # fmt: skip
        status, page = await admin.text("/keys", form)
        assert status == 200 and len(set(re.findall(r"gw-[\w-]{43}", page))) == 1 and "<html" not in page
        (entry,) = (await admin.ask("/api/keys/team-b"))[1]["keys"]
        assert entry["models"] == ["a*", "b"] and entry["routes"] is None and entry["expires_at"] is None
        assert entry["tags"] == {"team": "red", "stage": "test"} and entry["budget"] == "$1/day"
        assert entry["limits"] == {"requests": "5/min", "tokens": "1000/h", "concurrency": 2}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({}, "name"), ({"name": "two words"}, "name"), ({"name": "ä"}, "name"), ({"name": 5}, "name"),
        ({"name": "a" * 129}, "name"), ({"name": "a", "budget": "5"}, "budget"), ({"name": "a", "models": [1]}, "models"),
        ({"name": "a", "models": [""]}, "models"), ({"name": "a", "limits": {"requests": "many"}}, "limits.requests"),
        ({"name": "a", "limits": {"burst": 5}}, "limits.burst"), ({"name": "a", "limits": {"cost": 5}}, "limits.cost"),
        ({"name": "a", "limits": {"concurrency": 0}}, "limits.concurrency"), ({"name": "a", "limits": [1]}, "limits"),
        ({"name": "a", "limits": {"concurrency": True}}, "limits.concurrency"), ({"name": "a", "tags": {"x": 1}}, "tags"),
        ({"name": "a", "expires_in": "0s"}, "expires_in"), ({"name": "a", "expires_in": "999999w"}, "expires_in"),
        ({"name": "a", "expires_in": "soon"}, "expires_in"), ({"name": "a", "hash": FILED}, "hash"),
        # What names nothing would be taken for "all", or for no limit.
        ({"name": "a", "models": []}, "models"), ({"name": "a", "models": 0}, "models"), ({"name": "a", "models": {}}, "models"),
        ({"name": "a", "routes": ""}, "routes"), ({"name": "a", "models": " , "}, "models"), ({"name": "a", "limits": []}, "limits"),
        ({"name": "a", "models": ["\ud800"]}, "models"), ({"name": "a", "models": ["\0"]}, "models"),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_400_naming_the_field_and_makes_no_key(given: dict[str, Any], param: str) -> None:
    async with opened(SAVING) as admin:
        status, told = await admin.ask("/api/keys", "POST", given)
        assert status == 400 and param in told["error"]["message"] and told["error"]["code"] == "invalid_request"
        assert (await admin.ask("/api/keys"))[1]["total"] == 0 and not admin.gateway.events("admin_action")


async def test_one_name_has_one_active_key_however_many_ask_at_once() -> None:
    async with opened(FILE, files=MORE) as admin:
        answers = await asyncio.gather(*(admin.ask("/api/keys", "POST", {"name": "twin"}) for _ in range(5)))
        assert sorted(status for status, _ in answers) == [201, 409, 409, 409, 409]
        status, told = await admin.ask("/api/keys", "POST", {"name": "filed"})
        assert status == 409 and "gateway.yaml:8" in told["error"]["message"] and told["error"]["code"] == "conflict"
        assert (await admin.ask("/api/keys", "POST", {"name": "a/b"}))[0] == 201  # the one in the file has expired
        assert (await admin.ask("/api/keys/twin", "DELETE"))[0] == 200
        assert (await admin.ask("/api/keys", "POST", {"name": "twin"}))[0] == 201


async def test_rotation_keeps_bounds_and_lets_the_old_key_work_for_the_grace_period() -> None:
    clock = ManualClock()
    async with opened(SAVING, clock=clock) as admin:
        await admin.ask("/api/keys", "POST", {"name": "a b".replace(" ", "/"), "models": ["echo"], "expires_in": "30d"})
        status, told = await admin.ask("/api/keys/a%2Fb/rotate", "POST", {"grace": "15m"})
        new = made(told)
        assert status == 201 and told["ended"] == 1 and told["old_end_at"] == clock.time() + 900
        one = (await admin.ask("/api/keys/a%2Fb"))[1]
        assert [(each["state"], each["models"], each["expires_at"]) for each in one["keys"]] == [
            ("active", ["echo"], clock.time() + 30 * 86_400), ("active", ["echo"], clock.time() + 900),
        ] or len({each["created_at"] for each in one["keys"]}) == 1  # fmt: skip
        assert {each["expires_at"] - clock.time() for each in one["keys"]} == {900, 30 * 86_400}
        assert sha256(new.encode()).hexdigest()[:8] in {each["hash"] for each in one["keys"]}
        clock.advance(901)
        status, told = await admin.ask("/api/keys/a%2Fb/rotate", "POST", {"grace": "0s", "expires_in": "1d"})
        assert status == 201 and told["ended"] == 1
        states = [
            (each["state"], each["expires_at"] - clock.time())
            for each in (await admin.ask("/api/keys/a%2Fb"))[1]["keys"]
        ]
        assert [state for state, _ in states].count("active") == 1 and ("active", 86_400) in states
        assert [line["action"] for line in admin.gateway.events("admin_action")] == [
            "key_created",
            "key_rotated",
            "key_rotated",
        ]
        clock.advance(86_401)
        status, told = await admin.ask("/api/keys/a%2Fb/rotate", "POST")
        assert status == 400 and "say how long" in told["error"]["message"]


async def test_the_old_key_works_beside_the_new_one_and_a_revoked_one_nowhere() -> None:
    async with opened(SAVING) as admin:
        old = made((await admin.ask("/api/keys", "POST", {"name": "a"}))[1])
        await until_let_in(admin, old, 200)
        status, page = await admin.text("/keys/a/rotate", {"grace": "1h"})
        (new,) = set(re.findall(r"gw-[\w-]{43}", page))
        assert status == 200 and "ends in 1 h" in page
        await until_let_in(admin, new, 200)
        assert await admin.chat(old) == 200
        status, page = await admin.text("/keys/a/revoke", {})
        assert status == 200 and "2 keys of a" in page
        await until_let_in(admin, new, 401)
        assert await admin.chat(old) == 401
        assert (await admin.ask("/api/keys/a", "DELETE"))[0] == 404
        assert (await admin.ask("/api/keys/a/rotate", "POST"))[0] == 404


async def test_a_key_of_a_file_is_changed_there_and_that_is_said() -> None:
    async with opened(FILE, files=MORE) as admin:
        for path, method in (("/api/keys/filed/rotate", "POST"), ("/api/keys/filed", "DELETE")):
            status, told = await admin.ask(path, method)
            assert status == 409 and "gateway.yaml:8" in told["error"]["message"]
        page = (await admin.text("/keys/filed"))[1]
        assert "/rotate" not in page and "/revoke" not in page
    async with opened(FILE.replace("ledger: sqlite:var/ledger.db", "ledger: none"), files=MORE) as admin:
        status, told = await admin.ask("/api/keys/filed", "DELETE")
        assert status == 409 and "gateway.yaml:8" in told["error"]["message"]


async def test_a_key_shows_what_remains_what_it_spent_and_when_it_asked() -> None:
    clock = ManualClock()
    async with opened(
        SAVING.replace("rate_limit", "rate_limit: {limits: [{per: key, tokens: 1k/day}]}"), clock=clock
    ) as admin:
        given = {"name": "team-a", "limits": {"requests": "60/min", "concurrency": 2}, "budget": "$2/month"}
        await admin.ask("/api/keys", "POST", given)
        admin.ledger.record(Row(exchange_id="e", ts=clock.time() - 60, request_id="r", principal="team-a", status=200,
                                outcome="completed", cost_usd=Decimal("0.5"), prompt_tokens=7, completion_tokens=1))  # fmt: skip
        await admin.ledger.flush()
        one = (await admin.ask("/api/keys/team-a"))[1]
        told = {(each["what"], each["limit"]): each for each in one["limits"]}
        assert told["requests", "60/min"]["left"] == 60 and told["concurrency", "2 at once"]["left"] == 2
        assert told["tokens", "1000/day"]["left"] == 1000
        assert (told["cost", "$2/month"]["spent"], told["cost", "$2/month"]["left"]) == ("0.5", "1.5")
        assert one["used"] == {
            "requests": 1,
            "cost_usd": "0.5",
            "unpriced": 0,
            "last_used_at": clock.time() - 60,
        }
        assert len(one["days"]) == 30 and one["days"][-1]["tokens"] == 8 and one["days"][-1]["day"] % 86_400 == 0
        listed = (await admin.ask("/api/keys"))[1]["keys"][0]
        assert (listed["cost_usd"], listed["last_used_at"]) == ("0.5", clock.time() - 60)
        status, page = await admin.text("/keys/team-a")
        assert status == 200 and "/requests?principal=team-a" in page and "25% used" in page and "60/min" in page


async def test_a_caller_without_a_key_has_a_page_when_it_has_asked() -> None:
    clock = ManualClock()
    async with opened(
        SAVING.replace("budget]", "budget: {limits: [{per: team, cost: $8/day}]}]"), clock=clock
    ) as admin:
        assert (await admin.ask("/api/keys/sub%3Aalice"))[0] == 404
        admin.ledger.record(Row(exchange_id="e", ts=clock.time(), request_id="r", principal="sub:alice", status=200,
                                tags={"team": "red"}, outcome="completed"))  # fmt: skip
        await admin.ledger.flush()
        status, one = await admin.ask("/api/keys/sub%3Aalice")
        assert status == 200 and one["keys"] == [] and one["can_rotate"] is False
        assert [(each["who"], each["limit"]) for each in one["limits"]] == [("red", "$8/day")]
        assert "No key has this name" in (await admin.text("/keys/sub%3Aalice"))[1]


async def test_without_a_ledger_or_the_plugins_the_page_says_what_to_do() -> None:
    async with opened(BARE) as admin:
        status, told = await admin.ask("/api/keys")
        assert status == 200 and told["keys"] == [] and not told["can_save"] and "ledger:" in told["why_not"]
        assert "auth" in told["warnings"][0]
        status, page = await admin.text("/keys")
        assert status == 200 and "Nobody is asked for a key" in page and "sqlite:var/ledger.db" in page
        for path, method in (("/api/keys", "POST"), ("/api/keys/x/rotate", "POST"), ("/api/keys/x", "DELETE")):
            status, told = await admin.ask(path, method, {"name": "x"} if path == "/api/keys" else {})
            assert status == 404 and "ledger" in told["error"]["message"]
    async with opened("ledger: sqlite:var/ledger.db\nplugins: [auth]\n" + BARE) as admin:
        told = (await admin.ask("/api/keys", "POST", {"name": "a", "budget": "$1/day", "limits": {"requests": "1/s"}}))[
            1
        ]
        assert len(told["warnings"]) == 2 and "budget" in told["warnings"][0]
        assert len((await admin.ask("/api/keys/a"))[1]["warnings"]) == 2


async def test_a_lost_state_leaves_the_page_and_says_what_is_not_known() -> None:
    async with opened("state: redis://127.0.0.1:1\n" + SAVING) as admin:
        await admin.ask("/api/keys", "POST", {"name": "a", "limits": {"requests": "5/min"}, "budget": "$1/day"})
        status, one = await admin.ask("/api/keys/a")
        assert status == 200 and one["limits"] == [] and len(one["problems"]) == 2
        status, page = await admin.text("/keys/a")
        assert status == 200 and "cannot be known at the moment" in page


async def test_ten_thousand_keys_are_paged_and_searched() -> None:
    entries = [f'- {{name: key-{n:05}, hash: "sha256:{n:064x}"}}' for n in range(3000)]
    config = FILE.replace("keys_file: more.yaml", "keys_file: more.yaml")
    async with opened(config, files={"more.yaml": "\n".join(entries)}) as admin:
        for n in range(10):
            await admin.ledger.save_key(SavedKey(name=f"saved-{n}", hash=f"sha256:{n:063x}f", created_at=1.0 * n))
        told = (await admin.ask("/api/keys?page=2"))[1]
        assert (told["total"], told["pages"], len(told["keys"])) == (3011, 61, 50)
        assert told["keys"][0]["name"] == "key-00049"
        assert [each["name"] for each in (await admin.ask("/api/keys?q=02999"))[1]["keys"]] == ["key-02999"]
        status, page = await admin.text("/keys?page=61&q=")
        assert status == 200 and "saved-9" in page and "page 61 of 61" in page


async def test_the_overview_tells_the_budget_beside_a_key_of_the_file() -> None:
    async with opened(FILE, files=MORE) as admin:
        await admin.ledger.save_key(
            SavedKey(
                name="saved",
                hash="sha256:" + "ef" * 32,
                created_at=5.0,
                facts={"budget": {"amount_usd": "3", "period": "week"}},
            )
        )
        status, told = await admin.ask("/api/overview")
        assert status == 200 and told["budgets_problem"] is None
        assert {(each["who"], each["limit"]) for each in told["budgets"]} == {
            ("filed", "$5/day"), ("filed", "$20/month"), ("saved", "$3/week"), ("saved", "$20/month"),
        }  # fmt: skip


async def test_a_key_that_cannot_be_read_is_shown_as_such_and_breaks_no_page() -> None:
    async with opened(SAVING) as admin:
        odd = SavedKey(name="odd", hash="sha256:" + "ef" * 32, created_at=5.0, facts={"limits": {"speed": 1}})
        await admin.ledger.save_key(odd)
        (listed,) = (await admin.ask("/api/keys"))[1]["keys"]
        assert (listed["state"], listed["limits"]) == ("unreadable", {})
        assert (await admin.ask("/api/keys/odd"))[1]["limits"] == []
        assert (await admin.text("/keys/odd"))[0] == 200 == (await admin.ask("/api/overview"))[0]
        assert (await admin.ask("/api/keys/odd/rotate", "POST"))[0] == 409
        assert (await admin.ask("/api/keys/odd", "DELETE"))[0] == 200


async def test_a_process_that_does_not_answer_is_no_limit_that_is_not_there() -> None:
    async with opened(SAVING) as admin:
        await admin.ask("/api/keys", "POST", {"name": "a", "limits": {"requests": "5/min"}})
        del admin.gateway.core.answers["plugin rate_limit: remaining"]  # as while workers are being replaced
        one = (await admin.ask("/api/keys/a"))[1]
        assert one["limits"] == [] and "no process of this gateway answers" in one["problems"][0]
