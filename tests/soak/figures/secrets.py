"""Secrets: canaries planted where keys and texts live turn up nowhere they should not, at DEBUG.

Twenty of them: in the configuration (keys, several keys, headers, the environment, a file, the admin token, and where a
broken configuration has them), in a client's headers and query, and in what it sends. Looked for in the log,
in every answer, and in what the admin listener says. A client's own text may come back to that client; its
credentials may not.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterable

from tests.soak.client import PATHS, Gone, get, post, request
from tests.soak.row import Row, Size, SoakError, progress
from tests.soak.running import Gateway, gateway, once, upstream

CONFIGURED = (
    "api_key", "key_a", "key_b", "provider_header", "environment", "file", "admin_token",
    "broken_key", "broken_list", "broken_header", "broken_twice",
)  # fmt: skip
SENT = ("bearer", "x_api_key", "cookie", "query", "passthrough")
TEXTS = ("prompt", "broken_body", "tool", "user")
CLIENTS = 8


def home_of(port: int, canary: dict[str, str], more: str = "", bodies: bool = False) -> str:
    return f"""\
version: 1
admin: {{token: {canary["admin_token"]}}}
plugins: [request_id, {{access_log: {{bodies: {str(bodies).lower()}}}}}, security_headers, cors, timeouts]
providers:
  up: {{dialect: openai_chat, base_url: "http://127.0.0.1:{port}/v1", api_key: {canary["api_key"]}, headers: {{x-team: {canary["provider_header"]}}}}}
  several: {{dialect: openai_chat, base_url: "http://127.0.0.1:{port}/v1", api_keys: [{canary["key_a"]}, {canary["key_b"]}]}}
  environment: {{dialect: openai_chat, base_url: "http://127.0.0.1:{port}/v1", api_key: "${{SOAK_KEY}}"}}
  file: {{dialect: openai_chat, base_url: "http://127.0.0.1:{port}/v1", api_key: "${{file:key}}"}}
  passing: {{dialect: openai_chat, base_url: "http://127.0.0.1:{port}/v1", auth: passthrough}}
  away: {{dialect: openai_chat, base_url: "http://127.0.0.1:1/v1", api_key: {canary["api_key"]}}}
{more}
routes:
  - {{name: several, match: {{model: several}}, targets: [several/m], retry: {{attempts: 1}}}}
  - {{name: environment, match: {{model: environment}}, targets: [environment/m], retry: {{attempts: 1}}}}
  - {{name: file, match: {{model: file}}, targets: [file/m], retry: {{attempts: 1}}}}
  - {{name: passing, match: {{model: passing}}, targets: [passing/m], retry: {{attempts: 1}}}}
  - {{name: away, match: {{model: away}}, targets: [away/m], retry: {{attempts: 1}}}}
  - {{name: all, match: {{model: "*"}}, targets: ["up/*"], retry: {{attempts: 1}}}}
"""


def broken(canary: dict[str, str]) -> Iterable[str]:
    """Yield what makes a configuration wrong right where a secret stands."""
    yield f'  bad: {{dialect: openai_chat, base_url: "http://127.0.0.1:1/v1", api_key: {{{canary["broken_key"]}: 1}}}}'
    yield f'  bad: {{dialect: openai_chat, base_url: "http://127.0.0.1:1/v1", api_keys: {canary["broken_list"]}}}'
    yield f'  bad: {{dialect: openai_chat, base_url: "http://127.0.0.1:1/v1", api_key: k, headers: [{canary["broken_header"]}]}}'
    twice = canary["broken_twice"]
    yield f'  bad: {{dialect: openai_chat, base_url: "http://127.0.0.1:1/v1", api_key: {twice}, api_key: {twice}x}}'


async def measure(size: Size) -> list[Row]:
    canary = {
        name: f"sk-{secrets.token_hex(12)}-{number:02}" for number, name in enumerate((*CONFIGURED, *SENT, *TEXTS))
    }
    answers: list[bytes] = []
    admin: list[bytes] = []
    logs: list[bytes] = []
    asked = 0
    environ = {"SOAK_KEY": canary["environment"], "LOG_LEVEL": "debug"}
    async with upstream() as up:
        for bodies in (False, True):
            text = home_of(up.port, canary, bodies=bodies).replace("${file:key}", canary["file"])
            async with gateway(text, admin=True, environ=environ) as running:
                (running.folder / "key").write_text(canary["file"] + "\n")
                running.write(home_of(up.port, canary, bodies=bodies))
                admin += await _reload(running, canary["admin_token"])
                asked += await _ask(running, canary, answers)
                for mode in ("500", "reset"):
                    await up.tell(f"/mode/{mode}")
                    asked += await _ask(running, canary, answers)
                await up.tell("/mode/ok")
                for more in broken(canary):
                    running.write(home_of(up.port, canary, more, bodies))
                    admin += await _reload(running, canary["admin_token"], 400)
            # The log of the run with bodies may hold what clients said, and no credential.
            logs.append(running.kept)
            if not bodies and b'"level":"debug"' not in running.kept:
                progress("note: nothing was logged at DEBUG")
    hits = [f"{name} in the log" for name in (*CONFIGURED, *SENT, *TEXTS) if canary[name].encode() in logs[0]]
    hits += [f"{name} in the log with bodies" for name in (*CONFIGURED, *SENT) if canary[name].encode() in logs[1]]
    said = b"\n".join(admin)
    hits += [f"{name} in what the admin listener says" for name in canary if canary[name].encode() in said]
    told = b"\n".join(answers)
    hits += [f"{name} in an answer" for name in (*CONFIGURED, *SENT) if canary[name].encode() in told]
    return [
        Row(
            "secrets",
            "0 hits of 20 planted canaries in logs at DEBUG, errors, admin answers",
            f"{len(hits)} hits of {len(canary)} canaries over {asked} requests and {len(admin)} admin answers"
            + (f": {'; '.join(hits[:6])}" if hits else ""),
            not hits,
            {"hits": hits, "canaries": len(canary), "asked": asked},
        )
    ]


async def _reload(running: Gateway, token: str, expected: int = 200) -> list[bytes]:
    """Reload, and ask all else there is, with the token and without; return what was said."""
    said = []
    for method, path in (("POST", "/api/reload"), ("POST", "/api/validate"), ("GET", "/api/status")):
        for credential in (f"Authorization: Bearer {token}\r\n", f"Authorization: Bearer {token}x\r\n"):
            asked = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{credential}"
            answer = await once(running.admin_port, f"{asked}Content-Length: 2\r\n\r\n{{}}".encode())
            if path == "/api/reload" and not credential.endswith("x\r\n") and answer.status != expected:
                raise SoakError(f"the reload was answered {answer.status}: {answer.body[:300]!r}")
            said.append(answer.body)
    return said


async def _ask(running: Gateway, canary: dict[str, str], answers: list[bytes]) -> int:
    """Ask in every way that goes wrong, with every canary; return how many requests that were."""
    headers = (
        f"Authorization: Bearer {canary['bearer']}\r\nx-api-key: {canary['x_api_key']}\r\n"
        f"Cookie: session={canary['cookie']}\r\n"
    )
    asked = [get("/"), get("/ready"), get("/openapi.json"), get("/v1/models"), get("/v1/providers"), get("/metrics")]
    for path in PATHS:
        for model in ("m", "several", "environment", "file", "away"):
            for order in ("soak:plain:10", "soak:tell", "soak:cut:500"):
                text = f"{order} {canary['prompt']}"
                asked.append(request(text, path, model=model, headers=headers, stream=order == "soak:cut:500"))
        asked.append(post(b'{"model": "m", "messages": [' + canary["broken_body"].encode(), path, headers))
        asked.append(request("soak:tell", f"{path}?key={canary['query']}", headers=headers))
        passing = f"Authorization: Bearer {canary['passthrough']}\r\n"
        asked.append(request("soak:tell", path, model="passing", headers=passing))
        asked.append(request("soak:cut:300", path, model="passing", headers=passing, stream=True))
    tool = {
        "type": "function",
        "function": {"name": "t", "description": canary["tool"], "parameters": {"type": "object"}},
    }
    messages = [{"role": "user", "content": "soak:tell"}]
    body = {"model": "m", "messages": messages, "tools": [tool], "user": canary["user"]}
    asked.append(post(json.dumps(body).encode(), headers=headers))
    waiting = iter(asked)

    async def work() -> None:
        for data in waiting:
            try:
                answer = await once(running.port, data)
                answers.extend((answer.body, str(answer.headers).encode()))
            except Gone as gone:
                answers.append(gone.came)

    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return len(asked)
