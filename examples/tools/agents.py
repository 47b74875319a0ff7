"""A service of agents: GET /v1/agents lists them, POST /v1/agents/run runs one on a text.

    python examples/tools/agents.py            # 127.0.0.1:8083; --port 0 picks a free one

Each agent is a plain function of a text, the same answer every time: what an orchestration needs to be tried out
without a second model. Prints `agents: URL` once it answers.
"""

import argparse
import ast
import asyncio
import operator
import re
from collections import Counter
from collections.abc import Callable

from aiohttp import web

OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip


def summarize(text: str) -> object:
    """Pick the two sentences that have most of the text's frequent words, in their order."""
    sentences = re.split(r"(?<=[.!?])\s+", text.strip())
    often = Counter(word for word in re.findall(r"\w{4,}", text.lower()))
    weight = {one: sum(often[word] for word in set(re.findall(r"\w{4,}", one.lower()))) for one in sentences}
    best = sorted(sentences, key=lambda one: -weight[one])[:2]
    return " ".join(one for one in sentences if one in best)


def extract(text: str) -> object:
    """Find dates (2026-01-31), amounts of money and mail addresses in a text."""
    return {
        "dates": re.findall(r"\b\d{4}-\d{2}-\d{2}\b", text),
        "amounts": re.findall(r"[$€£]\s?\d[\d,]*(?:\.\d+)?", text),
        "mails": re.findall(r"[\w.+-]+@[\w-]+\.[\w.-]*\w", text),
    }


def calculate(text: str) -> object:
    """Work out an expression of numbers, + - * / % and brackets."""

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(operand))
        raise ValueError("only numbers, + - * / % and brackets")

    return value(ast.parse(text.strip(), mode="eval").body)


AGENTS: dict[str, Callable[[str], object]] = {each.__name__: each for each in (summarize, extract, calculate)}


async def listed(_: web.Request) -> web.Response:
    return web.json_response({"agents": [{"name": name, "does": agent.__doc__} for name, agent in AGENTS.items()]})


async def run(request: web.Request) -> web.Response:
    """Answer {"agent", "input"} with {"agent", "output"}."""
    asked = await request.json()
    agent, text = AGENTS.get(asked.get("agent", "")), asked.get("input")
    if agent is None:
        return web.json_response({"error": f"no such agent; there are: {', '.join(AGENTS)}"}, status=404)
    if not isinstance(text, str) or len(text) > 100_000:
        return web.json_response({"error": "input must be a text of at most 100,000 characters"}, status=400)
    try:
        return web.json_response({"agent": asked["agent"], "output": agent(text)})
    except (ValueError, SyntaxError, ArithmeticError, RecursionError) as error:
        return web.json_response({"error": str(error)}, status=422)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8083)
    arguments = parser.parse_args()
    app = web.Application()
    app.add_routes([web.get("/v1/agents", listed), web.post("/v1/agents/run", run)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"agents: http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
