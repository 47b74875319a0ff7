"""A search service: POST /v1/search over the documents of a folder, ranked by BM25.

    python examples/tools/semantic_search.py            # 127.0.0.1:8082; --port 0 picks a free one

A document is a Markdown file whose first lines are `# title` and `taxonomy: area/subject`. Words count by their stems,
so that "refunded" finds "refunds"; a word in the title counts three times. Prints `search: URL` once it answers.
"""

import argparse
import asyncio
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "documents"
K1, B = 1.2, 0.75
"""BM25's usual constants: how soon a repeated word stops counting, how much a long document is held against it."""
COMMON = frozenset(
    ["a", "an", "and", "are", "at", "by", "for", "from", "how", "in", "is", "it", "of", "on", "the", "to", "when"]
)
ENDINGS = ("ing", "ed", "es", "s", "e")


@dataclass(frozen=True)
class Document:
    id: str
    title: str
    taxonomy: str
    text: str
    words: Counter[str]


def stem(word: str) -> str:
    """Return a word without its ending: crude, and the same for question and document."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def stems(text: str) -> list[str]:
    return [stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in COMMON]


def read(path: Path) -> Document:
    """Return the document in a file."""
    title, taxonomy, *body = path.read_text("utf-8").splitlines()
    title, taxonomy = title.removeprefix("# ").strip(), taxonomy.removeprefix("taxonomy:").strip()
    text = " ".join(line.strip() for line in body if line.strip())
    return Document(path.stem, title, taxonomy, text, Counter(stems(f"{title} {title} {title} {text}")))


class Index:
    """Documents that can be searched."""

    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents
        self.average = sum(each.words.total() for each in documents) / max(1, len(documents))
        having = Counter(word for each in documents for word in each.words)
        self.weight = {
            word: math.log(1 + (len(documents) - count + 0.5) / (count + 0.5)) for word, count in having.items()
        }

    def score(self, document: Document, asked: list[str]) -> float:
        length = K1 * (1 - B + B * document.words.total() / self.average)
        return sum(
            self.weight[word] * document.words[word] * (K1 + 1) / (document.words[word] + length)
            for word in set(asked)
            if document.words[word]
        )

    def search(self, query: str, top_k: int, taxonomy: list[str]) -> list[dict[str, object]]:
        """Return the best documents; with `taxonomy`, only those below one of these subjects."""
        below = tuple(each.rstrip("/") + "/" for each in taxonomy)
        asked = stems(query)
        allowed = (each for each in self.documents if not below or (each.taxonomy + "/").startswith(below))
        found = sorted(((self.score(each, asked), each) for each in allowed), key=lambda pair: (-pair[0], pair[1].id))
        return [
            {"id": each.id, "title": each.title, "taxonomy": each.taxonomy, "score": round(score, 3), "text": each.text}
            for score, each in found[:top_k]
            if score > 0
        ]


async def search(request: web.Request) -> web.Response:
    """Answer {"query", "top_k"?, "taxonomy"?: "area" or a list} with {"results": […]}."""
    asked = await request.json()
    query, top_k, taxonomy = asked.get("query"), asked.get("top_k", 3), asked.get("taxonomy", [])
    if not isinstance(query, str) or not isinstance(top_k, int) or not 1 <= top_k <= 50:
        return web.json_response({"error": "query must be text, top_k from 1 to 50"}, status=400)
    subjects = [taxonomy] if isinstance(taxonomy, str) else taxonomy
    if not isinstance(subjects, list) or not all(isinstance(each, str) for each in subjects):
        return web.json_response({"error": "taxonomy must be text or a list of texts"}, status=400)
    return web.json_response({"results": request.app[INDEX].search(query, top_k, subjects)})


INDEX = web.AppKey("index", Index)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--documents", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    app = web.Application()
    app[INDEX] = Index([read(path) for path in sorted(arguments.documents.glob("*.md"))])
    app.add_routes([web.post("/v1/search", search)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"search: http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
