"""What an operator may write under `tools:`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

NAME: Final = "^[A-Za-z0-9_-]{1,64}$"
"""What every provider takes as a tool's name (OpenAI's rule, the narrowest; November 2026)."""
_URL: Final = {
    "type": "string",
    "pattern": "^https?://[^/?#\\s]",
    "description": "Begin the address with http:// or https:// and a host.",
}
_HEADERS: Final = {
    "type": "object",
    "additionalProperties": {"type": "string", "writeOnly": True},
    "default": {},
    "description": "Sent with every request; ${…} keeps secrets out of the file.",
}

HTTP: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "method": {
            "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"],
            "default": "POST",
            "description": "With GET the arguments are the query, otherwise the JSON body.",
        },
        "url": _URL,
        "headers": _HEADERS,
        "timeout": {"type": "string", "format": "duration", "description": "How long one call may take."},
    },
    "description": "A web service that gets the arguments and answers with the result.",
}

TOOL: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {
            "type": "string",
            "pattern": NAME,
            "description": "Write 1 to 64 letters, digits, _ or -: what every provider takes.",
        },
        "description": {"type": "string", "description": "What it does: by this a model chooses."},
        "parameters": {
            "type": "object",
            "description": "JSON Schema of the arguments.",
        },
        "http": HTTP,
        "python": {
            "type": "string",
            "pattern": "^[^:]+:[A-Za-z_][A-Za-z0-9_]*$",
            "description": "A typed function, as file.py:function (below the home) or package.module:function.",
        },
        "mcp": {**_URL, "description": "The endpoint of an MCP server over streamable HTTP: http:// or https://."},
        "headers": {**_HEADERS, "description": "Of an MCP server: sent with every request."},
        "prefix": {
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]{0,32}$",
            "default": "",
            "description": "Of an MCP server: put before the names of its tools.",
        },
        "only": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "description": "Of an MCP server: which of its tools are offered, by its own names; all when left out.",
        },
        "timeout": {"type": "string", "format": "duration", "description": "How long one call may take."},
        "max_bytes": {"type": "string", "format": "size", "description": "The largest result taken."},
        "context": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "description": "Keys of the session's context that are merged into the arguments, over the model's own.",
        },
    },
    "description": "One tool by http or python, or all tools of an MCP server.",
}

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "x-after": {
        "auth": "its paths would be open to everybody",
        "session": "the context of a session would not reach its paths",
    },
    "properties": {
        "max_rounds": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "default": 5,
            "description": "How often one request may have tools run; then the model is asked without them.",
        },
        "max_calls": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 16,
            "description": "Calls run in one round; those beyond are answered with an error.",
        },
        "max_parallel": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 8,
            "description": "Calls of one request that run at the same time.",
        },
        "timeout": {
            "type": "string",
            "format": "duration",
            "default": "30s",
            "description": "How long a call may take where the tool says nothing.",
        },
        "max_bytes": {
            "type": "string",
            "format": "size",
            "default": "256KiB",
            "description": "The largest result taken where the tool says nothing; a larger one is an error.",
        },
        "refresh": {
            "type": "string",
            "format": "duration",
            "default": "5m",
            "description": "How often MCP servers are asked which tools they have.",
        },
        "tools": {"type": "array", "items": TOOL, "default": [], "description": "The tools, in the order offered."},
    },
}
