"""What gateway.yaml may hold, section by section, as JSON Schema: what the loader checks and editors read.

Keys beginning `x-` are the loader's own and are not published: `x-later` lists what a later version will
have, to be refused by name. A plugin's options are its own (`Plugin.options_schema`).
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]


def _mapping(description: str, properties: Schema, **more: Any) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
        **more,
    }


def _form(form: str, description: str, default: str | None = None) -> Schema:
    schema: Schema = {"type": "string", "format": form, "description": description}
    return schema if default is None else {**schema, "default": default}


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _list(description: str, items: Schema, **more: Any) -> Schema:
    return {"type": "array", "description": description, "items": items, **more}


def _globs(description: str) -> Schema:
    one = {"type": "string", "minLength": 1}
    return {"type": ["string", "array"], "description": description, "minLength": 1, "items": one, "minItems": 1}


_ADDRESS: Final = "host:port, [v6]:port or unix:/path; port 0 picks a free one"

SERVER: Final[Schema] = _mapping(
    "The data listener and its limits.",
    {
        "listen": _text(_ADDRESS, default="127.0.0.1:8080"),
        "workers": {"type": "integer", "minimum": 1, "default": 1, "description": "Processes on one port."},
        "max_body": _form("size", "The largest request body; above it 413.", "20MiB"),
        "max_in_flight": {
            "type": "integer",
            "minimum": 1,
            "default": 2000,
            "description": "Requests at once; above it an immediate 503 with retry-after.",
        },
        "timeouts": _mapping(
            "How long a slow client is waited for.",
            {
                "headers": _form("duration", "For the whole request head.", "10s"),
                "body": _form("duration", "For the whole request body.", "2m"),
                "write": _form("duration", "For a client that does not read.", "30s"),
                "keep_alive": _form("duration", "For the next request on a connection.", "75s"),
            },
        ),
        "drain": _mapping(
            "What SIGTERM does.",
            {
                "lame_duck": _form("duration", "Serve on, but answer 503 on /ready.", "5s"),
                "grace": _form("duration", "Let what runs finish; then cut it.", "30s"),
            },
        ),
        "trusted_proxies": _list(
            "Networks whose X-Forwarded-* is believed, such as 10.0.0.0/8.", {"type": "string"}, default=[]
        ),
    },
)
ADMIN: Final[Schema] = _mapping(
    "The dashboard's listener.",
    {
        "listen": _text(_ADDRESS + "; off for none", default="127.0.0.1:8081"),
        "token": {
            "type": ["string", "null"],
            "writeOnly": True,
            "description": "Asked for by the dashboard; required unless listen is loopback.",
        },
        "hosts": _list("Further Host names the dashboard answers to.", {"type": "string", "minLength": 1}, default=[]),
    },
)
LEDGER: Final[Schema] = {
    "type": ["string", "object"],
    "default": "none",
    "description": "Where a row for every exchange is kept; this version has none.",
    "properties": {"url": _text("none"), "keep": _form("duration", "How long rows are kept.")},
    "required": ["url"],
    "additionalProperties": False,
}
PROVIDER: Final[Schema] = {
    "type": ["object", "null"],
    "description": "An upstream. A known name needs no dialect and no base_url; see config/providers.yaml.",
    "properties": {
        "dialect": _text(
            "The wire format: openai (chat and responses), openai_chat, openai_responses, anthropic, ollama, echo.",
            enum=["openai", "openai_chat", "openai_responses", "anthropic", "ollama", "echo"],
        ),
        "base_url": _text("http:// or https://; with /v1 for an OpenAI dialect, without it for anthropic and ollama."),
        "api_key": {
            "type": ["string", "null"],
            "writeOnly": True,
            "description": "Empty disables the provider. Absent: the known key variable.",
        },
        "api_keys": _list(
            "Several keys, rotated; one that is refused or exhausted rests.",
            {"type": ["string", "null"], "writeOnly": True},
            minItems=1,
        ),
        "auth": _text(
            "passthrough: the client's own credential goes upstream.", enum=["key", "passthrough"], default="key"
        ),
        "headers": {
            "type": "object",
            "description": "Headers added to every request.",
            "additionalProperties": {"type": "string", "writeOnly": True},
        },
        "tls": _mapping(
            "How the upstream's certificate is checked.",
            {
                "verify": {"type": "boolean", "default": True, "description": "false accepts any certificate."},
                "ca": _text("A PEM file of authorities to trust, relative to this file.", minLength=1),
            },
        ),
        "transport": _text("direct: the lean client. http: aiohttp's.", enum=["direct", "http"], default="direct"),
        "proxy": {
            "type": ["string", "null"],
            "description": "An HTTP proxy, http://host:port; implies transport http.",
        },
        "free": {"type": "boolean", "description": "Its tokens cost nothing."},
        "num_ctx": {"type": "integer", "minimum": 1, "description": "Ollama: the context in tokens."},
        "keep_alive": _text("Ollama: how long the model stays loaded, such as 5m."),
        "max_tokens_field": _text(
            "Which name the token limit has upstream.", enum=["max_tokens", "max_completion_tokens"]
        ),
        "delay": _form("duration", "echo: before the answer begins.", "0ms"),
        "fail": _form("percent", "echo: how many requests fail.", "0%"),
    },
    "additionalProperties": False,
}
TARGET: Final[Schema] = {
    "type": ["string", "object"],
    "description": "provider/model; model * keeps the client's.",
    "properties": {
        "target": _text("provider/model; model * keeps the client's."),
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
_TARGETS: Final[Schema] = _list("Tried in order.", TARGET)
ROUTE: Final[Schema] = _mapping(
    "Which requests, and where they go. The first route that matches takes a request.",
    {
        # It becomes a header value and a metric label.
        "name": _text("Visible ASCII without spaces; shown in headers, logs and metrics.", pattern="^[!-~]{1,100}$"),
        "match": _mapping(
            "Conditions, all of which must hold; inside a list one is enough. Absent: every request.",
            {
                "model": _globs("Model names or globs."),
                "path": _globs("Paths: * is one part, ** the rest, which is appended to the base_url."),
                "header": {
                    "type": "object",
                    "description": "Header values as globs, by name.",
                    "additionalProperties": _globs("A glob or several."),
                },
                "key": _globs("Who asks: names of keys or token subjects."),
                "tags": {
                    "type": "object",
                    "description": "Tags of who asks, as globs.",
                    "additionalProperties": _globs("A glob or several."),
                },
            },
        ),
        "targets": {**_TARGETS, "minItems": 1},
        "balance": _text(
            "How the first target is chosen.",
            enum=["ordered"],
            default="ordered",
            **{"x-later": ["weighted", "round_robin", "least_busy", "fastest", "cheapest", "sticky"]},
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
        "retry": _mapping(
            "When a failed try is followed by another.",
            {
                "attempts": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 100,
                    "default": 3,
                    "description": "Tries in all.",
                },
                "on": _list(
                    "Failures worth another try.", {"enum": ["connect", "timeout", 429, "429", "5xx", "broken"]}
                ),
                "backoff": _form(
                    "duration-range", "The wait before repeating a target, at random between the two.", "200ms..5s"
                ),
            },
        ),
        "plugins": _list("Added inside the global chain; {name: off} takes one out.", {}),
        "on_unsupported": _text(
            "What to do with a field the target cannot take.", enum=["drop", "warn", "error"], default="drop"
        ),
        "model_echo": _text("Whose model name the answer carries.", enum=["requested", "upstream"]),
    },
    required=["name", "targets"],
    **{"x-later": ["hedge", "shadow"]},
)
CHECK: Final[Schema] = _mapping(
    "A request, and what must come of it.",
    {
        "given": _mapping(
            "The request.",
            {
                "model": _text("The model asked for."),
                "path": _text("The path; a chat endpoint when absent."),
                "key": _text("The name of the caller's key."),
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
                "down": _list("Providers taken as down.", {"type": "string"}),
            },
        ),
        "expect": _mapping(
            "What must hold.",
            {"route": _text("The route's name."), "target": _text("The first target tried.")},
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
        "include": _list(
            "Further files or globs holding providers, routes and plugins, appended in order.",
            {"type": "string", "minLength": 1},
            default=[],
        ),
        "server": SERVER,
        "admin": ADMIN,
        "state": _text("Where shared state is kept; this version has memory: alone.", default="memory:"),
        "ledger": LEDGER,
        "plugins": _list("The chain, outermost first: a name, or {name: options}.", {}, default=[]),
        "providers": {"type": "object", "description": "The upstreams, by name."},
        "routes": _list("First match wins.", {}, default=[]),
        "checks": _list("Proved by `gateway check`.", {}, default=[]),
    }
