"""What gateway.yaml may hold, section by section, as JSON Schema: what the loader checks and editors read.

Keys beginning `x-` are the loader's own and are not published: `x-later` lists what a later version will
have, to be refused by name. A plugin's options are its own (`Plugin.options_schema`).
"""

from __future__ import annotations

from typing import Final

from gateway.runtime.parts import Schema, form, globs, listing, mapping, text
from gateway.runtime.quirks import QUIRKS

MOST_WORKERS: Final = 1024
"""More than any machine's cores: a number that was meant for something else."""
_ADDRESS: Final = "host:port, [v6]:port or unix:/path; port 0 picks a free one"

SERVER: Final[Schema] = mapping(
    "The data listener and its limits.",
    {
        "listen": text(_ADDRESS, default="127.0.0.1:8080"),
        "workers": {
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_WORKERS,
            "default": 1,
            "description": "Processes on one port.",
        },
        "max_body": form("size", "The largest request body; above it 413.", "20MiB"),
        "max_in_flight": {
            "type": "integer",
            "minimum": 1,
            "default": 2000,
            "description": "Requests at once; above it an immediate 503 with retry-after.",
        },
        "timeouts": mapping(
            "How long a slow client is waited for.",
            {
                "headers": form("duration", "For the whole request head.", "10s"),
                "body": form("duration", "For the whole request body.", "2m"),
                "write": form("duration", "For a client that does not read.", "30s"),
                "keep_alive": form("duration", "For the next request on a connection.", "75s"),
            },
        ),
        "drain": mapping(
            "What SIGTERM does.",
            {
                "lame_duck": form("duration", "Serve on, but answer 503 on /ready.", "5s"),
                "grace": form("duration", "Let what runs finish; then cut it.", "30s"),
            },
        ),
        "trusted_proxies": listing(
            "Networks whose X-Forwarded-* is believed, such as 10.0.0.0/8.", {"type": "string"}, default=[]
        ),
    },
)
ADMIN: Final[Schema] = mapping(
    "The dashboard's listener.",
    {
        "listen": text(_ADDRESS + "; off for none", default="127.0.0.1:8081"),
        "token": {
            "type": ["string", "null"],
            "writeOnly": True,
            "description": "Asked for by the dashboard; required unless listen is loopback.",
        },
        "hosts": listing(
            "Further Host names the dashboard answers to.", {"type": "string", "minLength": 1}, default=[]
        ),
    },
)
_LEDGER_URL: Final = "sqlite:path (relative to the home), postgresql://user:password@host/database, or none"
LEDGER: Final[Schema] = {
    "type": ["string", "object"],
    "default": "none",
    "description": f"Where a row for every exchange is kept: {_LEDGER_URL}.",
    "properties": {
        "url": text(f"{_LEDGER_URL[:1].upper()}{_LEDGER_URL[1:]}.", writeOnly=True),
        "keep": form("duration", "How long rows are kept, an hour or more; absent: for ever. Sums stay for two years."),
    },
    "required": ["url"],
    "additionalProperties": False,
}
PROVIDER: Final[Schema] = {
    "type": ["object", "null"],
    "description": "An upstream. A known name needs no dialect and no base_url; see config/providers.yaml.",
    "properties": {
        "dialect": text(
            "The wire format: openai (chat and responses), openai_chat, openai_responses, anthropic, ollama, echo.",
            enum=["openai", "openai_chat", "openai_responses", "anthropic", "ollama", "echo"],
        ),
        "base_url": text("http:// or https://; with /v1 for an OpenAI dialect, without it for anthropic and ollama."),
        "api_key": {
            "type": ["string", "null"],
            "writeOnly": True,
            "description": "Empty disables the provider. Absent: the known key variable.",
        },
        "api_keys": listing(
            "Several keys, rotated; one that is refused or exhausted rests.",
            {"type": ["string", "null"], "writeOnly": True},
            minItems=1,
        ),
        "auth": text(
            "passthrough: the client's own credential goes upstream.", enum=["key", "passthrough"], default="key"
        ),
        "headers": {
            "type": "object",
            "description": "Headers added to every request.",
            "additionalProperties": {"type": "string", "writeOnly": True},
        },
        "tls": mapping(
            "How the upstream's certificate is checked.",
            {
                "verify": {"type": "boolean", "default": True, "description": "false accepts any certificate."},
                "ca": text("A PEM file of authorities to trust, relative to this file.", minLength=1),
            },
        ),
        "transport": text("direct: the lean client. http: aiohttp's.", enum=["direct", "http"], default="direct"),
        "proxy": {
            "type": ["string", "null"],
            "description": "An HTTP proxy, http://host:port; implies transport http.",
        },
        "free": {"type": "boolean", "description": "Its tokens cost nothing."},
        "num_ctx": {"type": "integer", "minimum": 1, "description": "Ollama: the context in tokens."},
        "keep_alive": text("Ollama: how long the model stays loaded, such as 5m."),
        "quirks": QUIRKS,
        "delay": form("duration", "echo: before the answer begins.", "0ms"),
        "fail": form("percent", "echo: how many requests fail.", "0%"),
    },
    "additionalProperties": False,
}
TARGET: Final[Schema] = {
    "type": ["string", "object"],
    "description": "provider/model; model * keeps the client's.",
    "properties": {
        "target": text("provider/model; model * keeps the client's."),
        "weight": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000000,
            "default": 1,
            "description": "Its share among the targets.",
        },
        "params": {
            "type": "object",
            "description": "Top-level body fields for requests that lack them, in the target's dialect.",
        },
        "override": {"type": "object", "description": "Top-level body fields that replace the client's."},
    },
    "required": ["target"],
    "additionalProperties": False,
}
_TARGETS: Final[Schema] = listing("Tried in order.", TARGET)
ROUTE: Final[Schema] = mapping(
    "Which requests, and where they go. The first route that matches takes a request.",
    {
        # It becomes a header value and a metric label.
        "name": text("Visible ASCII without spaces; shown in headers, logs and metrics.", pattern="^[!-~]{1,100}$"),
        "match": mapping(
            "Conditions, all of which must hold; inside a list one is enough. Absent: every request.",
            {
                "model": globs("Model names or globs."),
                "path": globs("Paths: * is one part, ** the rest, which is appended to the base_url."),
                "header": {
                    "type": "object",
                    "description": "Header values as globs, by name.",
                    "additionalProperties": globs("A glob or several."),
                },
                "key": globs("Who asks: names of keys or token subjects."),
                "tags": {
                    "type": "object",
                    "description": "Tags of who asks, as globs.",
                    "additionalProperties": globs("A glob or several."),
                },
            },
        ),
        "targets": {**_TARGETS, "minItems": 1},
        "balance": text(
            "How the first target is chosen.",
            enum=["ordered", "weighted", "round_robin", "least_busy", "fastest", "cheapest", "sticky"],
            default="ordered",
        ),
        "fallbacks": {
            "type": ["array", "object"],
            "description": "Tried after the targets; a list, or one per cause.",
            "items": TARGET,
            "properties": {
                "any": {**_TARGETS, "description": "For every failure."},
                "context_length": {**_TARGETS, "description": "When the prompt is too long."},
                "content_filter": {**_TARGETS, "description": "When a content filter refused."},
            },
            "additionalProperties": False,
        },
        "retry": mapping(
            "When a failed try is followed by another.",
            {
                "attempts": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 100,
                    "default": 3,
                    "description": "Tries in all.",
                },
                "on": listing(
                    "Failures worth another try.", {"enum": ["connect", "timeout", 429, "429", "5xx", "broken"]}
                ),
                "backoff": form(
                    "duration-range", "The wait before repeating a target, at random between the two.", "200ms..5s"
                ),
            },
        ),
        "plugins": listing("Added inside the global chain; {name: off} takes one out.", {}),
        "on_unsupported": text(
            "What to do with a field the target cannot take.", enum=["drop", "warn", "error"], default="drop"
        ),
        "model_echo": text(
            "Whose model name the answer carries. Unset: the asked one when translated, the upstream's when verbatim.",
            enum=["requested", "upstream"],
        ),
        "hedge": mapping(
            "A second attempt, at another target, when a stream's first token is late; the first content wins.",
            {
                "after": text(
                    "p95 (a percentile of the target's recent times to first token) or a duration such as 2s.",
                    default="p95",
                ),
                "budget": form("percent", "The most extra attempts, as a share of the route's streams.", "5%"),
            },
        ),
        "shadow": mapping(
            "A copy of chat requests to another target; its answer is thrown away.",
            {
                "target": text("provider/model; model * keeps the client's."),
                "percent": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 100,
                    "default": 100,
                    "description": "How many of the requests are copied, 0 to 100.",
                },
            },
            required=["target"],
        ),
    },
    required=["name", "targets"],
)
CHECK: Final[Schema] = mapping(
    "A request, and what must come of it.",
    {
        "given": mapping(
            "The request.",
            {
                "model": text("The model asked for."),
                "path": text("The path; a chat endpoint when absent."),
                "key": text("The name of the caller's key."),
                "tags": {
                    "type": "object",
                    "description": "The caller's tags.",
                    "additionalProperties": {"type": "string"},
                },
                "header": {
                    "type": "object",
                    "description": "Headers, by name.",
                    "additionalProperties": {"type": "string"},
                },
                "down": listing("Providers taken as down.", {"type": "string"}),
            },
        ),
        "expect": mapping(
            "What must hold.",
            {"route": text("The route's name."), "target": text("The first target tried.")},
            minProperties=1,
        ),
    },
    required=["given", "expect"],
)
INCLUDED: Final = ("providers", "routes", "plugins")
"""What an included file may hold."""


def sections() -> Schema:
    """Return the schema of each top-level key; of lists and of `providers`, their items' is checked one by one."""
    return {
        "version": {"const": 1, "default": 1, "description": "The version of this file's form."},
        "include": listing(
            "Further files or globs holding providers, routes and plugins, appended in order.",
            {"type": "string", "minLength": 1},
            default=[],
        ),
        "server": SERVER,
        "admin": ADMIN,
        "state": {
            "type": "string",
            "default": "memory:",
            # SECURITY: a URL may hold a password.
            "writeOnly": True,
            "description": "Where limits, budgets, sessions and cached answers are kept: memory:, sqlite:path, "
            "redis://host:6379, rediss://…, redis+sentinel://host,host/service or redis+cluster://host,host.",
        },
        "ledger": LEDGER,
        "plugins": listing("The chain, outermost first: a name, or {name: options}.", {}, default=[]),
        "providers": {"type": "object", "description": "The upstreams, by name."},
        "routes": listing("First match wins.", {}, default=[]),
        "checks": listing("Proved by `gateway check`.", {}, default=[]),
    }
