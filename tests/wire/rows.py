"""Every row of the translation's specification, and where those are tried that have no golden file.

A row's golden cases are the files of this folder that name it. `ELSEWHERE` names a test (`file::function`) for the
rest, or says after "not here:" why there is none.
"""

from __future__ import annotations

_SPANS = (
    "G01-18 S01-17 I01-14 T01-22 P01-14 P05b K01-15 J01-08 F01-11 U01-12 A01-24 B01-15 R01-14 O01-10 "
    "E400 E400c E400p E401 E402 E403 E404 E408 E413 E422 E429 E499 E500 E502 E503 E01-09 X01-06 W01-12"
)


def _spread(span: str) -> list[str]:
    first, _, last = span.partition("-")
    return [first] if not last else [f"{first[0]}{number:02}" for number in range(int(first[1:]), int(last) + 1)]


ROWS = tuple(row for span in _SPANS.split() for row in _spread(span))

ELSEWHERE: dict[str, str] = {
    "G03": "tests/fuzz/test_dialects.py::test_any_stream_is_answered_in_every_dialects_grammar",
    "G04": "tests/clients/test_sdks.py::test_signed_thinking_comes_back_unharmed",
    "G05": "tests/dialects/test_openai_matrix.py::test_a_chat_stream_adds_up_to_the_plain_answer",
    "G06": "tests/clients/test_policies.py::test_the_answer_names_one_model_throughout",
    "G15": "tests/clients/test_policies.py::test_the_clients_key_and_version_stay_here",
    "G16": "tests/clients/test_policies.py::test_an_upstreams_limits_are_told_in_the_clients_words",
    "G17": "tests/clients/test_policies.py::test_the_clients_key_and_version_stay_here",
    "G18": "tests/clients/test_policies.py::test_an_image_of_four_megabytes_goes_through_any_pair",
    "T21": "not here: no schema is ever downgraded",
    "T22": "tests/clients/test_policies.py::test_three_hundred_tools_and_a_large_schema_arrive_whole",
    "K15": "tests/clients/test_policies.py::test_thinking_in_tags_is_told_apart_where_the_provider_says_so",
    "U08": "tests/clients/test_sdks.py::test_text_and_usage_arrive",
    "U09": "tests/accounting/test_endings.py::test_every_ending_is_accounted_for",
    "U10": "tests/accounting/test_endings.py::test_every_ending_is_accounted_for",
    "U12": "tests/pricing/test_price.py::test_a_sum_is_what_it_is_by_hand",
    "A04": "tests/dialects/test_openai_matrix.py::test_every_pair_of_dialects_holds_the_target_grammar",
    "A05": "tests/dialects/test_anthropic_matrix.py::test_the_anthropic_package_accumulates_the_stream_to_the_plain_answer",
    "A21": "tests/clients/test_policies.py::test_the_packages_pass_over_keep_alives",
    "R01": "tests/dialects/test_openai_clients.py::test_the_responses_accumulator_follows_every_translated_stream",
    "R02": "tests/dialects/test_openai_clients.py::test_the_responses_accumulator_follows_every_translated_stream",
    "R04": "tests/dialects/test_openai_clients.py::test_the_responses_accumulator_follows_every_translated_stream",
    "R05": "tests/dialects/test_openai_matrix.py::test_a_responses_stream_adds_up_to_the_plain_answer",
    "R13": "tests/clients/test_recorded.py::test_codexs_websocket_is_refused_at_once",
    "O05": "tests/clients/test_sdk_errors.py::test_a_refusal_is_the_packages_own_exception",
    "O07": "tests/clients/test_counts_and_embeddings.py::test_ollama_clients_get_embeddings_of_any_target",
    "E499": "not here: nothing is sent to a client that left",
    "E01": "tests/server/test_hostile.py",
    "E02": "tests/clients/test_sdk_errors.py::test_a_refusal_is_the_packages_own_exception",
    "E03": "tests/clients/test_sdk_errors.py::test_whose_fault_an_error_was_is_told",
    "E06": "tests/clients/test_sdk_errors.py::test_a_refusal_is_the_packages_own_exception",
    "X01": "tests/clients/test_counts_and_embeddings.py::test_count_tokens_is_estimated_where_it_is_not_served",
    "X02": "tests/clients/test_counts_and_embeddings.py::test_count_tokens_is_asked_of_anthropic_itself_beta_and_query_included",
    "X03": "tests/clients/test_counts_and_embeddings.py::test_each_package_lists_the_models",
    "X04": "tests/clients/test_counts_and_embeddings.py::test_each_package_lists_the_models",
    "X05": "tests/clients/test_counts_and_embeddings.py::test_openai_clients_get_vectors_as_they_asked",
    "X06": "tests/clients/test_counts_and_embeddings.py::test_responses_input_tokens_is_estimated_where_it_is_not_served",
}
