"""What workflow takes, as JSON Schema."""

from __future__ import annotations

from typing import Any

STEP_NAME = "^[A-Za-z][A-Za-z0-9_-]{0,63}$"
MODEL_NAME = "^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}$"


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "description": description, **more}


def _count(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "description": description, **more}


def _bound(description: str) -> dict[str, Any]:
    return {"type": "number", "description": description}


GATE: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "description": "What fields of the output must be: the field's name (a.b for one inside another) and its bounds.",
    "additionalProperties": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            "min_length": _count("The fewest characters of a text, white space around it not counted."),
            "max_length": _count("The most characters of a text."),
            "min_items": _count("The fewest entries of a list."),
            "max_items": _count("The most entries of a list."),
            "minimum": _bound("The least that a number may be."),
            "maximum": _bound("The most that a number may be."),
            "pattern": _text("A regular expression that is found in the text."),
            "enum": {"type": "array", "minItems": 1, "description": "The values that are let through."},
        },
    },
}


def _asking(prompt: str | None, **more: Any) -> dict[str, Any]:
    """Return the options of whoever asks a model; `prompt` is the standard one."""
    standard = {} if prompt is None else {"default": prompt}
    return {
        "model": _text("The model it asks for, as a client would."),
        "prompt": _text("A file with its system message: relative to the home, else to the standard home.", **standard),
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "description": "Absent: the model's own."},
        "max_tokens": {"type": "integer", "minimum": 1, "description": "The most tokens of its answer."},
        "timeout": {
            "type": "string",
            "format": "duration",
            "description": "For the whole of it, tries and fallbacks included; then 504. Absent: the request's own.",
        },
        **more,
    }


_CHECKED: dict[str, Any] = {
    "output": _text("A JSON Schema in a file: the model is asked for an object that fits it, and held to it."),
    "gate": GATE,
}
STEP: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "model", "prompt"],
    "properties": {
        "name": _text("What later steps, errors and traces call it.", pattern=STEP_NAME),
        **_asking(None, **_CHECKED),
    },
}


def _role(prompt: str, description: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["model"],
        "description": description,
        "properties": _asking(prompt, **more),
    }


_KEPT: dict[str, Any] = {
    "checkpoint": {
        "type": "boolean",
        "default": False,
        "description": "Keep what is done in state:; an interrupted run goes on when its x-request-id comes again.",
    },
    "checkpoint_ttl": {
        "type": "string",
        "format": "duration",
        "default": "1h",
        "description": "How long an interrupted run is kept.",
    },
}
_LENIENT: dict[str, Any] = {
    "gate_mode": {
        "enum": ["strict", "lenient"],
        "default": "strict",
        "description": "strict: output that does not fit is a 502; lenient: it is logged, and the run goes on.",
    }
}
CHAIN: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind", "steps"],
    "description": "Steps one after the other; the last one's words are the answer.",
    "properties": {
        "kind": {"const": "chain"},
        **_LENIENT,
        **_KEPT,
        "steps": {"type": "array", "minItems": 1, "items": STEP, "description": "In order."},
    },
}
ORCHESTRATOR: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind", "coordinator", "workers", "synthesizer"],
    "description": "A coordinator makes tasks, workers do them at the same time, a synthesizer combines the results.",
    "properties": {
        "kind": {"const": "orchestrator"},
        **_KEPT,
        "coordinator": _role("config/prompts/coordinate.md", "Who splits the request into tasks."),
        "workers": _role(
            "config/prompts/work.md",
            "Who does a task each.",
            at_most={
                "type": "integer",
                "minimum": 1,
                "maximum": 64,
                "default": 3,
                "description": "Tasks of one request, all done at the same time; what is above is cut with a warning.",
            },
        ),
        "synthesizer": _role("config/prompts/combine.md", "Whose words are the answer."),
    },
}
OWN: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["use"],
    "description": "A LangGraph graph of your own: messages in, the last message out.",
    "properties": {
        "use": _text(
            "file.py:graph, a file of the home, or package.module:graph.", pattern="^[^:]+:[A-Za-z_][A-Za-z0-9_]*$"
        ),
        **_KEPT,
        "asks": {
            "type": "array",
            "items": _text("A model's name."),
            "default": [],
            "description": "Models that it asks for, so that check can tell when no route serves one.",
        },
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["workflows"],
    "properties": {
        "workflows": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "patternProperties": {MODEL_NAME: {"oneOf": [CHAIN, ORCHESTRATOR, OWN]}},
            "description": "By the name that clients ask for as a model.",
        },
    },
}
