"""What auth takes, as JSON Schema. `x-held-by` names the plugin that acts on an option: without it check warns."""

from __future__ import annotations

from typing import Any

_GLOBS = {"type": ["string", "array"], "minLength": 1, "items": {"type": "string", "minLength": 1}, "minItems": 1}
_NAMES = {"type": ["string", "array"], "minLength": 1, "items": {"type": "string", "minLength": 1}, "minItems": 1}

KEY: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "hash"],
    "properties": {
        "name": {
            "type": "string",
            "pattern": "^[!-~]{1,128}$",
            "description": "Who it is: visible ASCII without spaces; several keys of one name are one principal.",
        },
        "hash": {
            "type": "string",
            "pattern": "^sha256:[0-9a-fA-F]{64}$",
            "description": "sha256: and the hex of the key; `gateway keys new NAME` prints it.",
        },
        "models": {**_GLOBS, "description": "Models it may ask for, as globs; absent: all."},
        "routes": {**_GLOBS, "description": "Routes it may use, as globs of their names; absent: all."},
        "tags": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "What routes and limits may tell it by.",
        },
        "expires": {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]{8}(Z|[+-][0-9]{2}:[0-9]{2}))?$",
            "description": "From when on it is refused: 2027-01-01 (UTC) or 2027-01-01T12:00:00Z.",
        },
        "budget": {
            "type": "string",
            "format": "money",
            "x-held-by": "budget",
            "description": "What it may spend; held by the plugin budget.",
        },
        "limits": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "x-held-by": "rate_limit",
            "description": "How much it may ask; held by the plugin rate_limit.",
            "properties": {
                "requests": {"type": "string", "format": "rate", "description": "Such as 60/min or 10/s."},
                "tokens": {"type": "string", "format": "rate", "description": "Such as 100k/min."},
                "concurrency": {"type": "integer", "minimum": 1, "description": "Requests at the same time."},
                "burst": {"type": "integer", "minimum": 1, "description": "Requests at once; default: one period's."},
            },
        },
    },
}

JWT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "description": "Tokens: HS256 with a secret, or RS256 and ES256 by an issuer's jwks_url.",
    "properties": {
        "secret": {
            "type": ["string", "null"],
            "pattern": r"^$|^[\s\S]{32,}$",
            "writeOnly": True,
            "description": "Shared secret of HS256, 32 characters or more; empty: no tokens.",
        },
        "jwks_url": {
            "type": ["string", "null"],
            "pattern": "^$|^https?://[^/@#?]+(/[^#]*)?$",
            "description": "Where the issuer publishes its keys, https://…; with issuer and audience.",
        },
        "issuer": {"type": "string", "minLength": 1, "description": "What iss must be, exactly."},
        "audience": {**_NAMES, "description": "What aud must be or hold, exactly; several: one of them."},
        "algorithms": {
            "type": "array",
            "items": {"enum": ["HS256", "RS256", "ES256"]},
            "minItems": 1,
            "uniqueItems": True,
            "description": "HS256 alone with a secret; RS256 and ES256 (both by default) with jwks_url.",
        },
        "leeway": {
            "type": "string",
            "format": "duration",
            "default": "30s",
            "description": "How far clocks may differ.",
        },
        "max_lifetime": {
            "type": "string",
            "format": "duration",
            "default": "30d",
            "description": "The longest a token may live, from iat (or now) to exp.",
        },
        "revoked": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "default": [],
            "description": "Ids (jti) of tokens that are refused.",
        },
    },
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        # x-file: the loader appends the entries of the file that keys_file names, each with its own place.
        "keys": {
            "type": "array",
            "items": KEY,
            "default": [],
            "x-file": "keys_file",
            "description": "Virtual keys, as hashes.",
        },
        "keys_file": {
            "type": "string",
            "minLength": 1,
            "description": "A YAML or JSON file with a list of further keys, relative to the home.",
        },
        "jwt": JWT,
        "anonymous": {
            "enum": ["never", "when_unconfigured"],
            "default": "never",
            "description": "when_unconfigured: while there is no key and no token anywhere, everybody may.",
        },
    },
}
