"""A private PostgreSQL for tests: Debian's own programs, a folder of its own, a socket in it, no port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs: the newest of Debian's, else where `initdb` is found."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = debian[-1] if debian else Path(shutil.which("initdb") or "")
    return found.parent if found.is_file() else None


class Postgres:
    """One server in one temporary folder. It refuses to run as root, so it runs as nobody there."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder, self._binaries = folder, binaries
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, int] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid}

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database of it."""
        return f"postgresql://owner@/{database}?host={self.folder}"

    def make(self) -> None:
        """Make the cluster. Durability is not what tests ask of it."""
        self._run("initdb", "-D", str(self._data), "-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")

    def start(self) -> None:
        """Start, and return when it answers."""
        command = [
            self._binaries / "postgres", "-D", self._data, "-k", self.folder, "-h", "",
            "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB", "-c", "max_connections=60",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, cwd=self.folder, **self._as)
        self._run("pg_isready", "-h", str(self.folder), "-t", "30", until=True)

    def stop(self) -> None:
        """Stop at once, as a crash would; the next start recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def create(self, database: str) -> str:
        """Make an empty database and return its URL."""
        self._run("createdb", "-h", str(self.folder), "-U", "owner", "-T", "template0", database)
        return self.url(database)

    def _run(self, program: str, *arguments: str, until: bool = False) -> None:
        for _ in range(300 if until else 1):
            done = subprocess.run(
                [self._binaries / program, *arguments],
                cwd=self.folder, **self._as, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            if done.returncode == 0:
                return
            if until:
                subprocess.run(["sleep", "0.1"])
        raise AssertionError(f"{program}: {done.stdout}{done.stderr}")


def private_postgres() -> Postgres | None:
    """Return a running server, None where the machine has no PostgreSQL. The caller removes it."""
    binaries = programs()
    if binaries is None:
        return None
    server = Postgres(Path(tempfile.mkdtemp(prefix="pg-")), binaries)
    server.make()
    server.start()
    return server
