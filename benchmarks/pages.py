"""Tables in pages: what stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->` is written by a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.systems import HERE

ROOT = HERE.parent
PAGES = (HERE / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "scaling.md")


def published(page: str, text: str, name: str = "bench") -> str:
    """Return `page` with what stands between the two markers of `name` replaced. Raises: ValueError without them."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"no place for the table; put {first} and {last} where it goes")
    return f"{before}{first}\n{text}\n{last}{after}"


def publish(parts: Mapping[str, str], pages: tuple[Path, ...] = PAGES) -> list[Path]:
    """Put each part wherever a page has a place for it, and return the pages that changed.

    Raises: ValueError when a part has no place anywhere.
    """
    texts = {page: page.read_text("utf-8") for page in pages if page.exists()}
    changed = []
    homeless = set(parts)
    for page, before in texts.items():
        text = before
        for name, part in parts.items():
            if f"<!-- {name}: begin -->" in text:
                text = published(text, part, name)
                homeless.discard(name)
        if text != before:
            page.write_text(text, "utf-8")
            changed.append(page)
    if homeless:
        names = ", ".join(sorted(homeless))
        raise ValueError(f"{names}: no place for the table in {', '.join(page.name for page in pages)}")
    return changed
