"""Which rows of the specification each test of this folder shows, and for which pairs of client and target.

A pair is two letters, the client's and the target's; `*` is any. A row about answers (`M→C`: Anthropic's to a chat client)
belongs to the pair that it is seen in: `CM`.
"""

from __future__ import annotations

SHOWN: dict[str, str] = {
    "test_text_and_usage_arrive": (
        "G05 ** · U08 ** · S01 CM · S06 MC · S08 MR RC RM RO · S10 MO CO · F03 CM · F04 MC · F05 CR RC · F06 CO · F09 R* "
        "F11 C* · U01 CM · U02 MC · U03 CR RC · U04 CO · O01 *O · O06 O* · O10 O*"
    ),
    "test_the_token_limit_is_told": "P01 CM OM RM · P02 MC · P03 *R R* · P04 *O O* · F03 CM · F04 MC · F05 CR · R07 R*",
    "test_a_refusal_is_told": "J07 CM MC MR RM · J08 CM RM OM · A19 MC · R12 MR",
    "test_thinking_comes_before_the_text": (
        "K01 CM RM · K02 MC MR · K03 CO MO RO · K05 CM · K08 MC · K14 CM CR MC MR RC RM · O03 CO MO RO · R11 MR"
    ),
    "test_parallel_tools_go_round": (
        "G09 ** · G11 ** · T01 CM RM OM · T02 MC MR MO · T10 CM RM OM · T11 CM · T12 MC · T13 MC MO · T14 MC MR MO · "
        "T16 RC RM · T17 CR · T18 CO RO MO · F01 CM · A06 MC · B02 CM · B03 CM · O02 CO MO RO · R06 R* · R09 CR MR"
    ),
    "test_signed_thinking_comes_back_unharmed": "G04 CM CR MR RM MM RR · K05 CM · K06 CM · K10 CR · K11 RM · R11 MR",
    "test_a_schema_reaches_the_model_unchanged": "J01 CM RM OM · J03 MC MR MO · J05 RC CR · J06 *O O*",
    "test_the_choice_of_tools_is_kept": "T04 RC · T06 CM RM · T07 MC MR · T19 CO MO RO",
    "test_a_picture_reaches_the_model": "I01 CM · I04 MC · I09 RC RM · I10 CO MO RO",
    "test_a_refusal_is_the_packages_own_exception": (
        "E02 ** · E06 ** · E08 ** · E400 ** · E401 ** · E404 ** · E422 ** · E429 ** · E500 ** · E503 ** · O05 *O"
    ),
    "test_a_prompt_that_is_too_long_has_one_code": "E09 C* R* · E400c C* R*",
    "test_a_stream_cut_short_is_never_a_finished_answer": "A17 MC · B11 CM · R08 R*",
    "test_an_error_within_a_stream_is_raised": "A18 MC · B10 CM · R08 R* · O04 CO MO RO",
    "test_a_web_page_is_a_bad_gateway": "E05 **",
    "test_the_answer_names_one_model_throughout": "G06 **",
    "test_a_stream_has_one_id_and_one_time": "G07 ** · G08 C* R*",
    "test_the_clients_key_and_version_stay_here": "G15 ** · G17 **",
    "test_three_hundred_tools_and_a_large_schema_arrive_whole": "T22 **",
    "test_thinking_in_tags_is_told_apart_where_the_provider_says_so": "K15 **",
}


def shown(test: str, client: str, target: str) -> set[str]:
    """Return the rows that `test` shows for a pair."""
    found: set[str] = set()
    row = ""
    for word in SHOWN.get(test, "").replace("·", " ").split():
        if len(word) > 2:
            row = word
        elif word[0] in ("*", client) and word[1] in ("*", target):
            found.add(row)
    return found
