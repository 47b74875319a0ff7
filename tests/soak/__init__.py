"""`make soak`: the figures of the reliability table, measured on real processes; `python -m tests.soak --help`.

A figure is a file in `figures/` with one function, `measure(size)`, which starts what it needs (gateways by
`running.py`, an upstream that misbehaves to order by `upstream.py`, each a process of its own), drives it with
`client.py` and returns rows for the table: promise, bar, measured, whether it holds. Short sizes are for CI, long ones
are the promise's own; `test_short.py` runs the cheap figures smaller still and asserts counts, never times.
"""
