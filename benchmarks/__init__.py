"""What the gateway costs, measured beside nginx in the same run: `python -m benchmarks`.

Reading order: scenarios.py (what is asked and answered, byte for byte), upstream.py (the mock that answers),
load.py (the one generator), clocks.py (CPU and memory of a process), systems.py (what stands between the
two), __main__.py (the interleaved rounds), report.py (medians and tables), chains.py (what each
plugin adds), hotspots.py (`--profile`). workflows.py and steps.py measure workflows: `python -m benchmarks.workflows`.
"""
