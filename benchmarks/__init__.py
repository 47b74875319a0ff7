"""What the gateway costs, measured beside nginx in the same run: `python -m benchmarks`.

Reading order: scenarios.py (what is asked and answered, byte for byte), upstream.py (the mock that answers),
load.py (the one generator), clocks.py (CPU and memory of a process), systems.py and peers.py (what stands between the
two), __main__.py (the interleaved rounds), footprint.py and crowd.py (starts, memory, open streams), kept.py (every
sample), medians.py, bars.py, report.py and pages.py (tables), chains.py (what each plugin adds), external.py (other
generators), hotspots.py (`--profile`). instructions.py counts instructions, guard.py compares them with what was
accepted, scale/ measures growth. workflows.py and steps.py measure workflows: `python -m benchmarks.workflows`.
"""
