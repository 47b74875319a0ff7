"""The wire formats, pure and synchronous: no asyncio, no aiohttp, no clock.

`protocol.py` says what a dialect is, `endpoints.py` which paths belong to which; `DIALECTS` is the table.
"""
