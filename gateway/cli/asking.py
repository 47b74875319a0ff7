"""What `gateway chat` asks, and how it tells what came of it. The one place that imports the openai package."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx2
import openai
from openai import Stream
from openai.types.chat import ChatCompletionChunk

COST_KNOWN_S = 2.0
"""How long the ledger may take to tell what a stream cost: a row is safe 200 ms after the end, and a machine may be
busy."""
LOOK_AGAIN_S = 0.05


class Refused(Exception):
    """What a person is told instead of an answer."""


@dataclass(frozen=True, slots=True)
class Where:
    """A gateway: `base` is its URL without `/v1`, `shown` how people call it, `socket` the path of a UNIX socket;
    `admin` the admin listener that knows what a stream cost."""

    base: str
    shown: str
    socket: str | None = None
    admin: str = ""
    admin_token: str = ""


class Console:
    """Asks, prints the answer to stdout as it comes, tells on stderr what it took."""

    def __init__(self, where: Where, key: str, max_tokens: int | None, request_id: str | None) -> None:
        self.where, self.model = where, ""
        self.session: str | None = None
        self._max_tokens, self._request_id = max_tokens, request_id
        transport = httpx2.HTTPTransport(uds=where.socket) if where.socket is not None else None
        # trust_env: a proxy in the environment is for the world outside, and would be asked for 127.0.0.1 too.
        self._http = httpx2.Client(transport=transport, trust_env=False, timeout=httpx2.Timeout(600.0, connect=5.0))
        self._client = openai.OpenAI(
            # The gateway decides whether a key is needed; the package refuses to go without one.
            api_key=key or "none",
            base_url=f"{where.base}/v1",
            max_retries=0,  # the gateway has spent its own
            http_client=self._http,
        )
        self._turns: list[dict[str, str]] = []

    def forget(self) -> None:
        """Begin a new conversation."""
        self._turns.clear()

    def first_model(self) -> str:
        """Return the first model that is served. Raises: Refused."""
        try:
            for model in self._client.models.list():
                return model.id
        except openai.APIError as error:
            raise self._refused(error) from error
        raise Refused("the gateway lists no model; name one with --model")

    def new_session(self) -> str | None:
        """Return a new session's id, None where the gateway keeps none. Raises: Refused."""
        try:
            made = self._client.post("/sessions", body={}, cast_to=dict[str, Any])
        except openai.NotFoundError:
            return None
        except openai.APIError as error:
            raise self._refused(error) from error
        return str(made["id"])

    def ask(self, words: str) -> None:
        """Ask `words` and print the answer. Raises: Refused, also when the answer was cut: what came of it is out."""
        asked = {"role": "user", "content": words}
        options: dict[str, Any] = {"stream_options": {"include_usage": True}}
        if self._max_tokens is not None:
            options["max_tokens"] = self._max_tokens
        if self.session is not None:
            options["extra_body"] = {"session_id": self.session}
        if self._request_id is not None:
            options["extra_headers"] = {"x-request-id": self._request_id}
        began = time.monotonic()
        messages: Any = [*self._turns, asked]
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                model=self.model, messages=messages, stream=True, **options
            )
            answer = self._print(raw.parse(), raw.headers, began)
        except openai.APIError as error:
            raise self._refused(error) from error
        except httpx2.HTTPError as error:
            raise Refused(f"the answer broke off: {error or type(error).__name__}") from error
        if self.session is None:
            self._turns += [asked, {"role": "assistant", "content": answer}]

    def _print(self, stream: Stream[ChatCompletionChunk], headers: Mapping[str, str], began: float) -> str:
        said: list[str] = []
        usage = None
        finish: str | None = None
        calls: dict[int, str] = {}
        try:
            for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices[:1]:
                    finish = choice.finish_reason or finish
                    words = (choice.delta.content or "") + (choice.delta.refusal or "")
                    for call in choice.delta.tool_calls or ():
                        named = call.function.name if call.function is not None else None
                        calls[call.index] = calls.get(call.index, "") + (named or "")
                    if words:
                        said.append(words)
                        sys.stdout.write(words)
                        sys.stdout.flush()
        finally:
            stream.close()
            if said and not said[-1].endswith("\n"):
                sys.stdout.write("\n")
                sys.stdout.flush()
            tokens = f"{usage.prompt_tokens}+{usage.completion_tokens}" if usage is not None else "unknown"
            self._tell(headers, tokens, began)
        for name in calls.values():
            sys.stderr.write(f"the model asked for the tool {name}, which this client has not\n")
        if finish == "length":
            sys.stderr.write("the answer was cut at the longest it may be\n")
        return "".join(said)

    def _tell(self, headers: Mapping[str, str], tokens: str, began: float) -> None:
        took_s = time.monotonic() - began
        id = headers.get("x-request-id", "")
        facts = {
            "request": id,
            "route": headers.get("x-gateway-route", ""),
            "target": headers.get("x-gateway-target", ""),
            "tokens": tokens,
            "cost": self._cost(id) if id else "unknown",
            "time": f"{took_s:.2f}s",
        }
        sys.stderr.write("  ".join(f"{name}={fact}" for name, fact in facts.items() if fact) + "\n")
        sys.stderr.flush()

    def _cost(self, id: str) -> str:
        """Return what the request cost, as the ledger has it: a stream's head goes out before that is known."""
        if not self.where.admin:
            return "unknown"
        headers = {"authorization": f"Bearer {self.where.admin_token}"} if self.where.admin_token else {}
        until = time.monotonic() + COST_KNOWN_S
        while time.monotonic() < until:
            try:
                answer = self._http.get(f"{self.where.admin}/api/requests/{id}", headers=headers, timeout=COST_KNOWN_S)
            except httpx2.HTTPError:
                return "unknown"
            if answer.status_code == 200:
                return _sum(answer.json())
            if answer.status_code != 404 or answer.json()["error"].get("code") == "no_ledger":
                return "unknown"
            time.sleep(LOOK_AGAIN_S)
        return "unknown"

    def _refused(self, error: openai.APIError) -> Refused:
        """Return `error` as a person reads it: what happened, and what to do."""
        if isinstance(error, openai.APITimeoutError):
            return Refused(f"{self.where.shown} did not answer in time")
        if isinstance(error, openai.APIConnectionError):
            cause = error.__cause__ or error
            return Refused(f"cannot reach {self.where.shown}: {cause}; is the gateway running? (gateway serve)")
        body = error.body if isinstance(error.body, dict) else {}
        code = error.code or body.get("code") or body.get("type") or ""
        message = body.get("message") or error.message
        if not isinstance(error, openai.APIStatusError):  # an error event inside a stream
            return Refused(f"the answer broke off: {code}: {message}" if code else f"the answer broke off: {message}")
        headers = error.response.headers
        parts = [f"{error.status_code} {code}: {message}".replace(" :", ":")]
        if "retry-after" in headers:
            parts.append(f"try again in {headers['retry-after']} s")
        if error.status_code == 401:
            parts.append("give a key with --key or GATEWAY_API_KEY")
        if "x-request-id" in headers:
            parts.append(f"request={headers['x-request-id']}")
        return Refused("; ".join(parts))


def _sum(told: Mapping[str, Any]) -> str:
    """Return what a request cost, its children with it: their parent's own row costs nothing."""
    costs = [row["cost_usd"] for row in (told["row"], *told["children"])]
    return "unknown" if None in costs else f"${sum(map(Decimal, costs), Decimal(0)):f}"
