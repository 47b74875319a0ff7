"""The lock of the client programs names what is installed and by which digest, and no registry."""

from __future__ import annotations

import json
from pathlib import Path

LOCK = json.loads((Path(__file__).parent / "npm" / "package-lock.json").read_text("utf-8"))
PACKAGES = {name: package for name, package in LOCK["packages"].items() if name}


def test_every_package_has_a_digest_and_none_an_address() -> None:
    assert PACKAGES
    assert [name for name, package in PACKAGES.items() if not package.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, package in PACKAGES.items() if "resolved" in package] == []


def test_the_lock_is_of_the_versions_asked_for() -> None:
    wanted = json.loads((Path(__file__).parent / "npm" / "package.json").read_text("utf-8"))["dependencies"]
    assert wanted == {name: PACKAGES[f"node_modules/{name}"]["version"] for name in wanted}
