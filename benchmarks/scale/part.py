"""What one part of the measurement finds: a table for the pages, lines that judge it, and every sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """`rows` begin with the heads of the columns; `lines` say what holds and what does not."""

    rows: Sequence[Sequence[str]]
    lines: Sequence[str] = ()
    samples: Sequence[dict[str, Any]] = field(default_factory=list)

    def text(self) -> str:
        """Return it as Markdown."""
        head, *rest = self.rows
        table = [head, ["---", *["---:"] * (len(head) - 1)], *rest]
        shown = "\n".join(f"| {' | '.join(row)} |" for row in table)
        return "\n".join([shown, "", *(f"- {line}" for line in self.lines)]) if self.lines else shown


def held(is_held: bool) -> str:
    return "holds" if is_held else "MISSED"
