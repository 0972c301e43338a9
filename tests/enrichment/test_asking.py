"""What is asked of a model: only what the parser can't prove, by a schema of its own per span."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from llmc.enrichment.asking import (
    MOST_NAMES,
    SYSTEM,
    count_reply_tokens,
    make_brief,
)
from llmc.enrichment.prompts import EXAMPLE_SUMMARY, blot_prompt, find_source
from llmc.enrichment.reply import find_schema
from llmc.enrichment.wording import find_borrowed
from tests.borders import SECRET
from tests.enrichment.questions import PUT, SECTION, TAKE, question, request

MANY = f"def many({', '.join(f'p{n}' for n in range(50))}):\n    return p0\n"
KEY = f'def dial(host):\n    return host, "{SECRET}"\n'


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that are in it."""
    yield schema
    for inner in (*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])):
        yield from objects(inner)


def test_a_meaning_is_asked_for_each_real_parameter():
    asked = question(TAKE).schema["properties"]["parameters"]
    assert list(asked["properties"]) == ["shelf", "count", "notes", "force", "options"]


def test_names_that_only_hold_a_place_are_not_asked_about():
    code = "def size(summary, _, größe, __slots, class_=1):\n    return summary\n"
    assert question(code).names == ("summary", "größe", "__slots", "class_")


def test_what_a_pattern_binds_is_asked_for_by_its_names():
    code = "export function dial({ host, port = 80 }: Place, tries: number) { return host; }\n"
    asked = question(code, "dial.ts", "typescript")
    assert asked.names == ("host", "port", "tries")


def test_a_receiver_is_not_asked_about():
    code = "class Shelf:\n    def take(self, count):\n        return count\n"
    assert question(code, symbol="Shelf.take").names == ("count",)


def test_no_result_is_asked_for_where_nothing_comes_back():
    assert "returns" in question(TAKE).schema["properties"]
    assert "returns" not in question(PUT).schema["properties"]


def test_what_was_not_proven_is_not_asked_about():
    asked = question(TAKE)
    assert asked.facts is not None
    for facts in (None, asked.facts._replace(sound=False)):
        assert list(replace(asked, facts=facts).schema["properties"]) == ["summary", "pitfalls"]


def test_a_section_is_asked_for_its_summary_alone():
    asked = question(SECTION, "shelves.md", "markdown")
    assert list(asked.schema["properties"]) == ["summary"]


def test_more_parameters_than_a_reply_has_room_for_are_left_to_the_program():
    assert len(question(MANY).names) == MOST_NAMES < 50
    assert count_reply_tokens(request(question(MANY)), 600) > 600


@pytest.mark.parametrize("code", [TAKE, PUT, MANY])
def test_a_schema_keeps_to_what_strict_modes_take(code):
    for schema in objects(find_schema(request(question(code)))):
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
            assert len(schema) == 4
        else:
            assert set(schema) <= {"type", "items"}


def test_what_never_changes_comes_first():
    one, other = request(question(TAKE)), request(question(PUT))
    assert one.startswith(f"{SYSTEM}\n\n")
    assert other.startswith(f"{SYSTEM}\n\n")
    assert one.make_messages()[0] == other.make_messages()[0]


def test_a_request_has_no_example_that_could_be_repeated():
    assert find_borrowed(EXAMPLE_SUMMARY, request(question(PUT)), PUT) is None


def test_what_is_asked_for_comes_last_and_outside_of_the_code():
    said = request(question(TAKE)).make_messages()[-1]["content"]
    code, _, form = said.rpartition("```\n\n")
    assert TAKE in code
    assert json.dumps(["shelf", "count", "notes", "force", "options"]) in form


def test_a_very_small_model_is_not_asked_for_pitfalls():
    brief = make_brief(request(question(TAKE)))
    assert "pitfalls" not in find_schema(brief)["properties"]
    assert "pitfalls" not in brief
    assert find_source(brief) == TAKE


def test_a_request_that_is_cut_or_blotted_asks_the_same():
    whole = request(question(KEY))
    blotted, count = blot_prompt(whole)
    assert count == 1
    assert find_schema(blotted) == find_schema(whole)
    long = request(question(TAKE + "    # more\n" * 500))
    shorter = long.fit(500)
    assert shorter.cut_lines
    assert shorter.endswith(f"{long.question.form}\n\n")
    assert find_schema(shorter) == find_schema(long)
