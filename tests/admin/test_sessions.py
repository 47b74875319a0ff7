"""Sessions on the dashboard: listed newest first, shown as they are, ended; and only there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.runtime.group import opened as told_by
from gateway.state.memory import MemoryStore
from gateway.testing import ManualClock
from tests.admin.opened import Opened, opened

WHO = """
    from gateway.plugin import Plugin, Principal

    class Who(Plugin):
        async def identify(self, request):
            return Principal(request.headers["x-who"]) if "x-who" in request.headers else None
"""
CONFIG = """
    plugins: [who, session: {ttl: 1h, max_messages: 2000}]
    providers: {echo: {}}
    routes: [{name: all, targets: [echo/echo]}]
"""
BARE = "providers: {echo: {}}\nroutes: [{name: all, targets: [echo/echo]}]\n"
PAYLOAD = "<script>window.ran = 1</script><img src=x onerror=alert(1)>"


def kept(clock: ManualClock | None = None, config: str = CONFIG, **more: Any) -> Any:
    return opened(config, plugins={"who": WHO}, clock=clock, **more)


async def begin(admin: Opened, who: str | None = None, **body: Any) -> str:
    headers = {"x-who": who} if who else {}
    answer = await admin.gateway.post("/v1/sessions", body, headers=headers)
    assert answer.status == 201
    return str(answer.json()["id"])


async def say(admin: Opened, id: str, text: str, who: str | None = None) -> None:
    body = {"model": "echo", "session_id": id, "messages": [{"role": "user", "content": text}]}
    answer = await admin.gateway.post("/v1/chat/completions", body, headers={"x-who": who} if who else {})
    assert answer.status == 200


async def test_sessions_are_listed_newest_first_page_by_page_and_by_principal() -> None:
    clock = ManualClock()
    async with kept(clock) as admin:
        ids = []
        for number in range(120):
            ids.append(await begin(admin, "ann" if number % 3 == 0 else "bob" if number % 3 == 1 else None))
            clock.advance(0.002)
        await say(admin, ids[0], "one", "ann")
        status, first = await admin.ask("/api/sessions")
        assert status == 200 and first["kept"] and first["is_whole"]
        assert [each["id"] for each in first["sessions"]] == ids[:-51:-1]
        second = (await admin.ask(f"/api/sessions?after={first['next']}"))[1]
        third = (await admin.ask(f"/api/sessions?after={second['next']}"))[1]
        assert [each["id"] for each in (*second["sessions"], *third["sessions"])] == ids[69::-1]
        assert third["next"] is None
        whose = (await admin.ask("/api/sessions?principal=ann"))[1]
        assert [each["id"] for each in whose["sessions"]] == ids[::-1][2::3]
        assert {each["principal"] for each in whose["sessions"]} == {"ann"} and whose["next"] is None
        assert whose["sessions"][0]["ttl_s"] == 3600 and whose["sessions"][0]["has_context"] is False
        status, page = await admin.text("/sessions")
        assert status == 200 and ids[-1] in page and f"/sessions?after={first['next']}" in page and "show" not in page


async def test_a_session_is_shown_as_it_is_escaped_and_long_words_folded() -> None:
    async with kept() as admin:
        id = await begin(admin, "ann", context={"taxonomy": [PAYLOAD]}, ttl_seconds=600)
        await say(admin, id, PAYLOAD, "ann")
        await say(admin, id, "x" * 3000, "ann")
        status, told = await admin.ask(f"/api/sessions/{id}")
        assert status == 200 and told["principal"] == "ann" and told["context"] == {"taxonomy": [PAYLOAD]}
        assert [each["role"] for each in told["messages"]] == ["user", "assistant"] * 2 and told["messages_total"] == 4
        assert told["messages"][0]["content"] == PAYLOAD and told["messages"][2]["content"] == "x" * 3000
        assert told["expires_at"] == told["last_at"] + 600 and told["last_at"] >= told["created_at"]
        status, page = await admin.text(f"/sessions/{id}")
        assert status == 200 and "&lt;script&gt;window.ran" in page and "<script>window.ran" not in page
        assert "<img src=x" not in page and "show all 3,000 characters" in page and 'href="/keys/ann"' in page


async def test_what_tools_were_called_with_stands_in_the_session() -> None:
    async with kept() as admin:
        id = await begin(admin)
        call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"q": "books"}'}}
        messages = [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "found three"},
        ]
        body = {"model": "echo", "session_id": id, "messages": messages}
        assert (await admin.gateway.post("/v1/chat/completions", body)).status == 200
        page = (await admin.text(f"/sessions/{id}"))[1]
        assert "calls look_up" in page and "&#34;books&#34;" in page
        assert "Tool result" in page and "found three" in page and "nobody in particular" in page


async def test_ending_a_session_takes_its_messages_and_is_noted_without_them() -> None:
    async with kept() as admin:
        id, other = await begin(admin, "ann"), await begin(admin, "ann")
        for each in (id, other):
            await say(admin, each, "my secret words", "ann")
        assert (await admin.ask(f"/api/sessions/{id}", "DELETE")) == (200, {"id": id, "ended": True})
        assert (await admin.gateway.get(f"/v1/sessions/{id}", {"x-who": "ann"})).status == 404
        assert (await admin.ask(f"/api/sessions/{id}"))[0] == 404
        assert (await admin.ask(f"/api/sessions/{id}", "DELETE"))[0] == 404
        status, text = await admin.text(f"/sessions/{other}/end", {})
        assert (status, text) == (200, "") and (await admin.ask("/api/sessions"))[1]["sessions"] == []
        state = admin.gateway.core.snapshot.shared.state
        assert await state.names("session:{sess_", 10) == []
        noted = admin.gateway.events("admin_action")
        assert [(each["action"], each["session"], each["principal"]) for each in noted] == [
            ("session_ended", id, "ann"), ("session_ended", other, "ann"),
        ]  # fmt: skip
        assert "my secret words" not in str(admin.gateway.log)


@pytest.mark.parametrize("id", ["sess_nobody", "nonsense", "sess_%7Bx%7D", "sess_" + "a" * 200])
async def test_an_id_that_is_none_is_refused(id: str) -> None:
    async with kept() as admin:
        for path, method in ((f"/api/sessions/{id}", "GET"), (f"/api/sessions/{id}", "DELETE")):
            assert (await admin.ask(path, method))[0] in (400, 404)


async def test_without_the_plugin_or_the_state_the_page_says_what_to_do() -> None:
    async with opened(BARE) as admin:
        status, told = await admin.ask("/api/sessions")
        assert status == 200 and told["sessions"] == [] and told["kept"] is False
        assert (await admin.ask("/api/sessions/sess_x"))[0] == 404
        assert "No sessions are kept" in (await admin.text("/sessions"))[1]
    async with kept(config="state: redis://127.0.0.1:1\n" + CONFIG.replace("    ", "")) as admin:
        status, told = await admin.ask("/api/sessions")
        assert status == 200 and told["problem"] and told["sessions"] == []
        assert (await admin.ask("/api/sessions/sess_x"))[0] == 503
        status, page = await admin.text("/sessions")
        assert status == 200 and "cannot be shown at the moment" in page
    async with kept() as admin:
        assert "No session yet" in (await admin.text("/sessions"))[1]


async def test_of_many_sessions_a_look_reads_a_list_and_what_it_shows() -> None:
    reads: list[str] = []

    class Counting(MemoryStore):
        async def get(self, key: str) -> bytes | None:
            reads.append(key)
            return await super().get(key)

        async def names(self, prefix: str, at_most: int) -> list[str]:
            raise AssertionError("a store may hold millions of names")

    clock = ManualClock()
    async with kept(clock) as admin:
        (plugin,) = [each for each in admin.gateway.core.snapshot.plugins if each.name == "session"]
        store = Counting(clock.monotonic)
        await type(plugin)(plugin.options, replace(plugin.services, state=store)).start()
        first, meta = await begin(admin, "ann"), b'{"principal":"ann","created_at":1.0,"ttl_s":60.0,"context":{}}'
        ids = [first[:5] + f"2{number:08}" + first[14:] for number in range(2_500)]
        for id in ids:
            if int(id[5:14]) % 2:
                await store.put(f"{{{id}}}", meta, 60.0)
        await store.push("{newest}", [id.encode() for id in ids], 60.0, at_most=2000)
        given: dict[str, Any] = {"at_most": 50}
        found = told_by(await admin.gateway.core.group.ask("plugin session: sessions", given))
        assert [each["id"] for each in found["sessions"]] == ids[:-101:-2] and len(reads) == 100
        assert found["is_whole"] is False and found["next"] == ids[-99]
        last = told_by(await admin.gateway.core.group.ask("plugin session: sessions", {**given, "after": ids[520]}))
        assert [each["id"] for each in last["sessions"]] == ids[519:500:-2] and last["next"] is None
        assert "only the newest" in (await admin.text("/sessions"))[1]
