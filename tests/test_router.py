from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.route import Match
from gateway.router import Router, path_glob, rest


def find(router: Router[str], **given: Any) -> str | None:
    return router.find(**asked(**given))


def asked(
    model: str = "",
    path: str = "/v1/chat/completions",
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
    tags: Mapping[str, str] | None = None,
    is_endpoint: bool = True,
) -> dict[str, Any]:
    return {
        "model": model,
        "path": path,
        "headers": CIMultiDict(headers or {}),
        "principal_name": key,
        "tags": tags or {},
        "is_endpoint": is_endpoint,
    }


def test_first_rule_that_matches_wins_over_a_more_exact_later_one() -> None:
    router = Router([(Match(model=("gpt-*",)), "glob"), (Match(model=("gpt-5",)), "exact")])
    assert find(router, model="gpt-5") == "glob"
    assert find(router, model="claude") is None


def test_model_glob_is_case_sensitive_and_crosses_slashes() -> None:
    router = Router([(Match(model=("org/*", "o[0-9]?")), "found")])
    assert find(router, model="org/a/b") == "found"
    assert find(router, model="o1x") == "found"
    assert find(router, model="ox1") is None
    assert find(router, model="Org/a") is None


def test_conditions_are_anded_and_the_values_of_one_are_ored() -> None:
    router = Router([(Match(model=("a", "b"), key=("team-*",), tags={"tier": ("gold", "silver")}), "found")])
    good: dict[str, Any] = {"model": "b", "key": "team-1", "tags": {"tier": "silver"}}
    assert find(router, **good) == "found"
    assert find(router, **good | {"model": "c"}) is None
    assert find(router, **good | {"key": "other"}) is None
    assert find(router, **good | {"key": None}) is None
    assert find(router, **good | {"tags": {"tier": "bronze"}}) is None
    assert find(router, **good | {"tags": {}}) is None


def test_header_names_have_no_case_and_values_do() -> None:
    router = Router([(Match(header={"X-Env": ("prod*",)}), "found")])
    assert find(router, model="m", headers={"x-env": "production"}) == "found"
    assert find(router, model="m", headers={"x-env": "Production"}) is None
    assert find(router, model="m") is None


def test_any_of_several_headers_of_one_name_is_enough() -> None:
    headers = CIMultiDict([("x-env", "dev"), ("x-env", "prod")])
    router = Router([(Match(header={"x-env": ("prod",)}), "found")])
    assert router.find(**asked(model="m") | {"headers": headers}) == "found"


def test_rule_with_only_a_path_takes_requests_without_a_model() -> None:
    router = Router([(Match(path=("/openai/**",)), "files")])
    assert find(router, path="/openai/v1/files", is_endpoint=False) == "files"
    assert find(router, path="/openai/v1/files", model="gpt-5", is_endpoint=False) == "files"
    assert find(router, path="/other") is None


@pytest.mark.parametrize("match", [Match(), Match(model=("*",)), Match(key=("team",))])
def test_rule_without_a_path_never_takes_a_request_without_a_model(match: Match) -> None:
    router = Router([(match, "found")])
    assert find(router, key="team") is None
    assert find(router, model="m", key="team") == "found"


def test_rule_without_a_path_never_takes_a_path_that_is_no_model_endpoint() -> None:
    router = Router([(Match(model=("*",)), "any"), (Match(path=("/openai/**",)), "files")])
    assert find(router, model="m", path="/openai/v1/files", is_endpoint=False) == "files"


def test_rule_with_path_and_model_wants_both() -> None:
    router = Router([(Match(path=("/v1/embeddings",), model=("text-*",)), "found")])
    assert find(router, path="/v1/embeddings", model="text-1") == "found"
    assert find(router, path="/v1/embeddings") is None
    assert find(router, path="/v1/moderations", model="text-1") is None


def test_empty_list_of_conditions_takes_nothing() -> None:
    assert find(Router([(Match(model=()), "none"), (Match(model=("*",)), "any")]), model="m") == "any"


@pytest.mark.parametrize(
    ("pattern", "path", "takes"),
    [
        ("/v1/*", "/v1/files", True),
        ("/v1/*", "/v1/files/1", False),
        ("/v1/**", "/v1/files/1", True),
        ("/v1/**", "/v1", True),
        ("/v1/**", "/v10", False),
        ("/v1/", "/v1", True),
        ("/v?/a", "/v1/a", True),
        ("/v?a", "/v/a", False),
        ("/v[!x]a", "/v/a", False),
        ("/v[0-9]/a", "/v7/a", True),
        ("/a/**/z", "/a/b/c/z", True),
        ("/a**", "/abc/d", True),
        ("/V1", "/v1", False),
    ],
)
def test_path_globs_stop_at_slashes_unless_doubled(pattern: str, path: str, takes: bool) -> None:
    assert (path_glob(pattern).match(path) is not None) is takes
    assert (find(Router([(Match(path=(pattern,)), "found")]), path=path) == "found") is takes


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (("/openai/**",), "/openai/v1/files", "v1/files"),
        (("/openai/**",), "/openai", ""),
        (("/openai/**",), "/openai/", ""),
        (("/x", "/openai/**"), "/openai/a", "a"),
        (("/openai/*",), "/openai/a", None),
        (("/openai/**",), "/other", None),
        (None, "/openai/a", None),
    ],
)
def test_rest_is_what_the_double_star_took(patterns: tuple[str, ...] | None, path: str, expected: str | None) -> None:
    assert rest(Match(path=patterns), path) == expected


def test_explain_says_why_each_earlier_rule_did_not_take_the_request() -> None:
    router = Router(
        [
            (Match(model=("smart",)), "a"),
            (Match(model=("gpt-*", "o1"), key=("team",)), "b"),
            (Match(model=("gpt-5",), header={"x-env": ("prod",)}), "c"),
            (Match(path=("/openai/**",)), "d"),
            (Match(model=("gpt-*",)), "e"),
            (Match(), "never looked at"),
        ]
    )
    verdicts = router.explain(**asked(model="gpt-5", headers={"x-env": "dev"}))
    assert [(verdict.value, verdict.taken, verdict.reason) for verdict in verdicts] == [
        ("a", False, "model gpt-5 is not smart"),
        ("b", False, "the caller is not known by a key, the route wants team"),
        ("c", False, "header x-env dev is not prod"),
        ("d", False, "path /v1/chat/completions is not /openai/**"),
        ("e", True, "model gpt-5 fits gpt-*"),
    ]


def test_explain_without_a_model_says_so() -> None:
    verdicts = Router([(Match(), "a")]).explain(**asked())
    assert verdicts[0].reason == "the request names no model and the route has no path condition"


def test_a_thousand_exact_routes_are_not_looked_through() -> None:
    """Counted in conditions evaluated, not in time."""
    rules = [(Match(model=(f"model-{number}", f"family-{number}-*")), str(number)) for number in range(1000)]
    router = Router(rules)
    looked: list[str] = []
    router._rules = [_Counting(rule, looked) for rule in router._rules]  # type: ignore[misc]
    assert find(router, model="model-999") == "999"
    assert find(router, model="family-777-mini") == "777"
    assert find(router, model="unknown") is None
    assert looked == ["999", "777"]


def test_rules_that_share_a_model_are_told_apart_by_their_key_without_a_search() -> None:
    router = Router([(Match(model=("smart",), key=(f"team-{number}",)), str(number)) for number in range(1000)])
    looked: list[str] = []
    router._rules = [_Counting(rule, looked) for rule in router._rules]  # type: ignore[misc]
    assert find(router, model="smart", key="team-500") == "500"
    assert looked == ["500"]


class _Counting:
    def __init__(self, rule: Any, looked: list[str]) -> None:
        self.rule, self.looked, self.value = rule, looked, rule.value

    def takes(self, asked: Any) -> bool:
        self.looked.append(self.value)
        return bool(self.rule.takes(asked))


# The definition, written as plainly as it can be said: every rule in order, every condition in turn.

WORDS = st.text(alphabet="ab/-", min_size=0, max_size=4)
GLOBS = st.one_of(WORDS, st.lists(st.sampled_from(["a", "b", "/", "*", "?", "[ab]", "[!a]"]), max_size=5).map("".join))
PATHS = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=4).map(lambda parts: "/" + "/".join(parts))
PATH_GLOBS = st.lists(st.sampled_from(["a", "b", "ab", "*", "**", "a*", "?"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
MANY = st.lists(GLOBS, max_size=3).map(tuple)
MATCHES = st.builds(
    Match,
    model=st.none() | MANY,
    path=st.none() | st.lists(PATH_GLOBS, max_size=2).map(tuple),
    header=st.none() | st.dictionaries(st.sampled_from(["X-A", "x-b"]), MANY, max_size=2),
    key=st.none() | MANY,
    tags=st.none() | st.dictionaries(st.sampled_from(["t", "u"]), MANY, max_size=2),
)


def path_takes(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        last = len(pattern) == 1
        return any(path_takes(pattern[1:], path[taken:]) for taken in range(0 if last else 1, len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and path_takes(pattern[1:], path[1:])


def takes(match: Match, given: Mapping[str, Any]) -> bool:
    def fits(patterns: tuple[str, ...] | None, value: str | None) -> bool:
        return patterns is None or (value is not None and any(fnmatchcase(value, each) for each in patterns))

    if match.path is None and not (given["model"] and given["is_endpoint"]):
        return False
    if match.path is not None:
        path = given["path"].split("/")[1:]
        trimmed = [(each.rstrip("/") or "/").split("/")[1:] for each in match.path]
        if not any(path_takes(each, path) for each in trimmed):
            return False
    return (
        fits(match.model, given["model"] or None)
        and fits(match.key, given["principal_name"] or None)
        and all(fits(patterns, given["tags"].get(name)) for name, patterns in (match.tags or {}).items())
        and all(fits(patterns, given["headers"].get(name)) for name, patterns in (match.header or {}).items())
    )


@settings(max_examples=300, deadline=None)
@given(
    matches=st.lists(MATCHES, max_size=8),
    model=WORDS,
    path=PATHS,
    key=st.none() | WORDS,
    tags=st.dictionaries(st.sampled_from(["t", "u"]), WORDS, max_size=2),
    headers=st.dictionaries(st.sampled_from(["x-a", "X-B"]), WORDS, max_size=2),
    is_endpoint=st.booleans(),
)
def test_router_agrees_with_the_linear_definition(
    matches: list[Match],
    model: str,
    path: str,
    key: str | None,
    tags: dict[str, str],
    headers: dict[str, str],
    is_endpoint: bool,
) -> None:
    path = path.rstrip("/") or "/"
    given_ = asked(model, path, headers, key, tags, is_endpoint)
    expected = next((number for number, match in enumerate(matches) if takes(match, given_)), None)
    router = Router([(match, number) for number, match in enumerate(matches)])
    assert router.find(**given_) == expected
    verdicts = router.explain(**given_)
    assert [verdict.value for verdict in verdicts if verdict.taken] == ([] if expected is None else [expected])
    assert len(verdicts) == (len(matches) if expected is None else expected + 1)
