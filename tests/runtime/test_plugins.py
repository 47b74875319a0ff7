from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.plugin import Plugin
from gateway.runtime.clock import SystemClock
from gateway.runtime.config import Place, PluginConfig
from gateway.runtime.gateway import Lasting
from gateway.runtime.home import Home
from gateway.runtime.load import load_config
from gateway.runtime.plugins import Catalog, chain_of, discover, hooks_of
from gateway.runtime.snapshot import build
from gateway.telemetry import Logger

GREET = """from gateway.plugin import Plugin

class Greet(Plugin):
    options_schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    word = "hello"

    async def handle(self, exchange, call_next):
        return await call_next(exchange)
"""


class Houses:
    """An operator's home and a standard one, in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.home, self.standard = root / "home", root / "standard"
        for folder in (self.home, self.standard):
            (folder / "plugins").mkdir(parents=True)
        self.write("gateway.yaml", "version: 1\n")

    def write(self, path: str, text: str) -> None:
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def discover(self) -> Catalog:
        return discover(Home(self.home, self.home / "gateway.yaml"), self.standard)

    def error(self, name: str, use: str | None = None) -> str:
        with pytest.raises(ConfigError) as caught:
            self.discover().load(name, use)
        return str(caught.value)


@pytest.fixture
def houses(tmp_path: Path) -> Houses:
    return Houses(tmp_path)


def test_a_file_is_a_plugin_of_its_own_name(houses: Houses) -> None:
    houses.write("plugins/greet.py", GREET)
    catalog = houses.discover()
    cls = catalog.load("greet")
    assert issubclass(cls, Plugin)
    assert cls.name == "greet"
    assert catalog.options_schema("greet")["properties"] == {"word": {"type": "string"}}
    assert catalog.load("greet") is cls


def test_a_name_may_have_a_hyphen(houses: Houses) -> None:
    houses.write("plugins/say-hello.py", GREET)
    assert houses.discover().load("say-hello").name == "say-hello"


def test_home_comes_first_and_the_standard_home_after_it(houses: Houses) -> None:
    houses.write("plugins/mine.py", GREET)
    (houses.standard / "plugins" / "theirs.py").write_text(GREET)
    catalog = houses.discover()
    assert catalog.names() == ("mine", "theirs")
    assert (catalog.origin("mine").path, catalog.origin("mine").whose) == ("plugins/mine.py", "home")
    assert catalog.origin("theirs").whose == "standard"


def test_the_same_name_in_both_homes_is_an_error(houses: Houses) -> None:
    houses.write("plugins/greet.py", GREET)
    (houses.standard / "plugins" / "greet.py").write_text(GREET)
    with pytest.raises(
        ConfigError, match=r'the plugin "greet" is also plugins/greet\.py; give one of them another name'
    ):
        houses.discover()


def test_a_home_that_is_the_standard_home_has_each_plugin_once(houses: Houses) -> None:
    houses.write("plugins/greet.py", GREET)
    catalog = discover(Home(houses.home, houses.home / "gateway.yaml"), houses.home)
    assert catalog.names() == ("greet",)
    assert catalog.origin("greet").whose == "standard"


def test_hidden_private_and_other_files_are_no_plugins(houses: Houses) -> None:
    for name in ("_base.py", ".hidden.py", "README.md", "__pycache__/x.py", "folder/notes.txt"):
        houses.write(f"plugins/{name}", "")
    assert houses.discover().names() == ()


def test_finding_runs_nothing(houses: Houses) -> None:
    houses.write("plugins/broken.py", "raise SystemExit('run')")
    assert houses.discover().names() == ("broken",)


def test_a_folder_plugin_imports_its_own_files(houses: Houses) -> None:
    houses.write("plugins/big/__init__.py", "from .inner import Big\n")
    houses.write(
        "plugins/big/inner.py", GREET.replace("Greet", "Big") + "\nfrom .deep.words import WORD\nBig.word = WORD\n"
    )
    houses.write("plugins/big/deep/__init__.py", "")
    houses.write("plugins/big/deep/words.py", "WORD = 'deep'\n")
    assert houses.discover().load("big").word == "deep"  # type: ignore[attr-defined]


def test_unknown_name_suggests_the_nearest(houses: Houses) -> None:
    houses.write("plugins/rate_limit.py", GREET)
    assert houses.error("ratelimit") == 'unknown plugin "ratelimit"; did you mean "rate_limit"?'
    assert houses.error("zzz") == 'unknown plugin "zzz"; there are: rate_limit'


def test_a_syntax_error_is_told_with_file_line_and_column(houses: Houses) -> None:
    houses.write("plugins/bad.py", "x = 1\nif x\n    pass\n")
    assert houses.error("bad") == "plugins/bad.py:2:5: not valid Python: expected ':'; correct this line"


def test_a_missing_module_is_told_with_its_line_and_cure(houses: Houses) -> None:
    houses.write("plugins/needs.py", "import os\nimport no_such_package.inner\n")
    assert houses.error("needs") == (
        'plugins/needs.py:2:1: needs the module "no_such_package"; '
        "install no_such_package where the gateway is installed, or put it in the home"
    )


def test_an_error_is_told_at_the_deepest_line_of_the_plugin_itself(houses: Houses) -> None:
    houses.write("plugins/big/__init__.py", "from . import inner\n")
    houses.write("plugins/big/inner.py", "import json\n\njson.loads('{')\n")
    assert houses.error("big").startswith("plugins/big/inner.py:3:1: cannot be loaded: JSONDecodeError: ")


def test_a_file_without_a_plugin_says_what_is_missing(houses: Houses) -> None:
    houses.write("plugins/empty.py", "from gateway.plugin import Plugin\n")
    assert houses.error("empty").startswith("plugins/empty.py: no subclass of Plugin in this file; define one")


def test_two_plugins_in_a_file_are_an_error_and_private_bases_are_not(houses: Houses) -> None:
    houses.write("plugins/two.py", GREET + "\nclass Other(Plugin): ...\n")
    assert houses.error("two").startswith("plugins/two.py: 2 subclasses of Plugin in one file: Greet, Other; keep one")
    houses.write("plugins/two.py", GREET.replace("Greet", "_Base") + "\nclass Other(_Base): ...\n")
    assert houses.discover().load("two").__name__ == "Other"


def test_an_imported_plugin_class_does_not_count(houses: Houses) -> None:
    houses.write("policies.py", GREET)
    houses.write("plugins/mine.py", GREET.replace("Greet", "Mine") + "\nfrom gateway.plugin import Plugin as Base\n")
    assert houses.discover().load("mine").__name__ == "Mine"


def test_a_reload_reads_a_file_changed_within_the_same_second_and_size(houses: Houses) -> None:
    houses.write("plugins/greet.py", GREET)
    old = houses.discover().load("greet")
    houses.write("plugins/greet.py", GREET.replace("hello", "howdy"))
    new = houses.discover().load("greet")
    assert (old.word, new.word) == ("hello", "howdy")  # type: ignore[attr-defined]


def test_a_reload_reads_the_files_of_a_folder_plugin_anew(houses: Houses) -> None:
    houses.write("plugins/big/__init__.py", "from .inner import Greet\n")
    houses.write("plugins/big/inner.py", GREET)
    first = houses.discover()
    old = first.load("big")
    houses.write("plugins/big/inner.py", GREET.replace("hello", "howdy"))
    assert houses.discover().load("big").word == "howdy"  # type: ignore[attr-defined]
    assert old.word == "hello"  # type: ignore[attr-defined]


def test_loading_leaves_no_files_behind(houses: Houses) -> None:
    houses.write("plugins/greet.py", GREET)
    houses.discover().load("greet")
    assert not list(houses.home.rglob("__pycache__"))


def private_modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("gateway_plugins.")}


def test_a_failed_load_leaves_no_module_behind(houses: Houses) -> None:
    houses.write("plugins/big/__init__.py", "from . import inner\nraise ValueError('no')\n")
    houses.write("plugins/big/inner.py", "x = 1\n")
    catalog = houses.discover()
    before = private_modules()
    with pytest.raises(ConfigError, match=r"plugins/big/__init__\.py:2:1: cannot be loaded: ValueError: no"):
        catalog.load("big")
    assert private_modules() == before


def test_modules_of_a_collected_catalog_go_at_the_next_discovery(houses: Houses) -> None:
    houses.write("plugins/greet.py", GREET)
    catalog = houses.discover()
    name = catalog.load("greet").__module__
    assert name in sys.modules
    houses.discover()
    assert name in sys.modules
    del catalog
    gc.collect()
    houses.discover()
    assert name not in sys.modules


def test_use_loads_a_class_of_a_file_of_the_home(houses: Houses) -> None:
    houses.write("policies/greet.py", GREET + "\nclass Other(Plugin): ...\n")
    catalog = houses.discover()
    cls = catalog.load("any", "policies/greet.py:Greet")
    assert cls.__name__ == "Greet"
    assert catalog.load("other", "policies/greet.py:Other").__module__ == cls.__module__
    assert houses.error("x", "policies/none.py:Greet") == (
        'use: "policies/none.py:Greet": there is no file policies/none.py; the path starts at the home\'s folder'
    )
    assert houses.error("x", "policies/greet.py:Gret") == '"Gret" is not in policies/greet.py; did you mean "Greet"?'
    assert houses.error("x", "policies/greet.py") == (
        'use: "policies/greet.py" names no class; write file.py:Class or package.module:Class'
    )


def test_use_of_something_that_is_no_plugin_is_an_error(houses: Houses) -> None:
    houses.write("thing.py", "class Thing: ...\n")
    assert houses.error("x", "thing.py:Thing").startswith('"Thing" in thing.py is no subclass of Plugin')


def test_use_imports_a_package_of_the_home_and_reads_it_anew_on_reload(houses: Houses) -> None:
    houses.write("ourpolicies_a/__init__.py", "")
    houses.write("ourpolicies_a/greet.py", GREET)
    houses.write("ourpolicies_a/more.py", "from .greet import Greet\n\nclass More(Greet): ...\n")
    first = houses.discover()
    old = first.load("x", "ourpolicies_a.greet:Greet")
    assert issubclass(first.load("y", "ourpolicies_a.more:More"), old)
    houses.write("ourpolicies_a/greet.py", GREET.replace('"hello"', '"good evening"'))
    assert houses.discover().load("x", "ourpolicies_a.greet:Greet").word == "good evening"  # type: ignore[attr-defined]
    assert old.word == "hello"  # type: ignore[attr-defined]


def test_a_home_package_edited_within_the_same_second_and_size_is_read_anew(
    houses: Houses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    houses.write("ourpolicies_c.py", GREET)
    houses.discover().load("x", "ourpolicies_c:Greet")
    houses.write("ourpolicies_c.py", GREET.replace("hello", "howdy"))
    assert houses.discover().load("x", "ourpolicies_c:Greet").word == "howdy"  # type: ignore[attr-defined]
    assert not list(houses.home.rglob("__pycache__"))
    assert not sys.dont_write_bytecode


def test_a_failed_import_of_a_home_package_puts_the_old_one_back(houses: Houses) -> None:
    houses.write("ourpolicies_b.py", GREET)
    old = houses.discover().load("x", "ourpolicies_b:Greet")
    houses.write("ourpolicies_b.py", "import no_such_package\n")
    assert houses.error("x", "ourpolicies_b:Greet").startswith("ourpolicies_b.py:1:1: needs the module")
    assert vars(sys.modules["ourpolicies_b"])["Greet"] is old


def test_use_of_a_package_that_is_not_there_names_it(houses: Houses) -> None:
    assert 'needs the module "nowhere_policies"' in houses.error("x", "nowhere_policies.a:B")


def test_hooks_are_what_the_class_overrides_in_the_order_of_a_request() -> None:
    class Some(Plugin):
        async def finish(self, exchange: object) -> None: ...

        async def identify(self, request: object) -> None: ...

    class More(Some): ...

    assert hooks_of(Plugin) == ()
    assert hooks_of(More) == ("identify", "finish")


LAZY = """from gateway.plugin import Plugin

class Lazy(Plugin):
    def word(self):
        from .inner import WORD
        return WORD
"""


def test_a_plugin_that_runs_keeps_its_modules(houses: Houses) -> None:
    houses.write("plugins/lazy/__init__.py", LAZY)
    houses.write("plugins/lazy/inner.py", "WORD = 'late'\n")
    houses.write("gateway.yaml", "version: 1\nplugins: [lazy]\n")
    catalog = houses.discover()
    config = load_config(Home(houses.home, houses.home / "gateway.yaml"), {}, catalog)
    snapshot = build(config, catalog, Lasting(), Logger("critical"), SystemClock())
    del catalog
    gc.collect()
    assert snapshot.plugins[0].word() == "late"  # type: ignore[attr-defined]


def entry(name: str, **options: object) -> PluginConfig:
    return PluginConfig(name, None, options, Place("gateway.yaml", 1, 1, ""))


def off(name: str) -> PluginConfig:
    return PluginConfig(name, None, None, Place("gateway.yaml", 1, 1, ""))


def test_a_routes_chain_is_the_global_one_with_its_own_laid_over() -> None:
    everywhere = (entry("a", x=1, y=1), entry("b"), entry("c"))
    chain = chain_of(everywhere, (entry("d"), entry("a", y=2), off("b"), off("unknown")))
    assert [(plugin.name, plugin.options) for plugin in chain] == [("a", {"x": 1, "y": 2}), ("c", {}), ("d", {})]
    assert chain_of(everywhere, ()) == everywhere
