"""LLM Gateway: a reverse proxy between applications and the LLM providers.

The flow of a request, which is also the order in which the files are best read:

    server.py      accept: limits on headers, bodies and slow clients; drain
    plugin.py      decide: what a policy may do, and when; `identify` says who asks
    router.py      route: the first rule that takes the request
    chain.py       the plugins of that route around it, like the layers of an onion
    attempts.py    try: targets in order, retry and fallback until the commit point
    upstream/      how bytes get to a provider: transports, credentials, health
    dialects/      the wire formats, and the neutral words of chat.py between them
    relay.py       stream: verbatim or translated, and the one end of every exchange

What they pass along is in exchange.py, route.py and chat.py; what goes wrong in errors.py. Around the flow:
runtime/ turns a home (gateway.yaml, plugins/, config/) into a running snapshot and replaces it on reload, state/
keeps what processes share, ledger/ writes down what each exchange cost, supervisor.py minds the processes, admin/
shows all of it, and cli/ is the way in. What applies to many requests is a file in plugins/, not code here.
"""

__version__ = "0.1.0"
