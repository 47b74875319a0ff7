"""Pure Python work of a fixed amount, by which the guard's figures are divided: what a faster machine or interpreter
does to the gateway it does to this too.

    python -m benchmarks.calibration ROUNDS      prints the nanoseconds of CPU that so many rounds took
"""

from __future__ import annotations

import sys
import time


class Header:
    """One name and value, as a gateway's code would hold it."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value

    def line(self) -> bytes:
        return f"{self.name}: {self.value}\r\n".encode("latin-1")


HEAD = "host: example\r\naccept: */*\r\ncontent-type: application/json\r\ncontent-length: 1024\r\nuser-agent: bench/1"


def once(number: int) -> int:
    """Take a head apart, change it and put it together again: calls, strings, dictionaries, bytes."""
    found: dict[str, Header] = {}
    for line in HEAD.split("\r\n"):
        name, _, value = line.partition(": ")
        found[name.lower()] = Header(name, value)
    found.pop("host", None)
    found["x-request-id"] = Header("x-request-id", f"{number:032x}")
    try:
        length = int(found["content-length"].value)
    except (KeyError, ValueError):
        length = 0
    whole = b"".join([header.line() for header in found.values() if header.name != "accept"])
    return len(whole) + length


def main(rounds: int) -> None:
    began = time.process_time_ns()
    total = 0
    for number in range(rounds):
        total += once(number)
    taken = time.process_time_ns() - began
    if total <= 0:
        raise SystemExit("the calibration did nothing")
    print(taken)


if __name__ == "__main__":
    main(int(sys.argv[1]))
