"""What a README tells the reader to do, as blocks that a test can run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WRITTEN_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `console` shows commands; `bash` and `python` run as they stand, at the test's own address."""

    language: str
    text: str

    def at(self, url: str) -> str:
        return self.text.replace(WRITTEN_URL, url)


def blocks(readme: Path, language: str) -> list[Block]:
    found = [Block(name, text) for name, text in BLOCK.findall(readme.read_text("utf-8"))]
    return [block for block in found if block.language == language]
