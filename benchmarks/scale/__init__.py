"""What growth costs: `python -m benchmarks.scale`, a part after the other, each a table.

Reading order: curves.py (routes and keys: is the cost flat?), fleet.py (workers, Redis), stores.py (ledgers at full
load, open streams), homes.py (the configurations they serve), __main__.py (the command).
"""
