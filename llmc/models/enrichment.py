"""What a model says of a span: the schema sent to it, the check of its reply, a row to be stored.

A module of its own, since pydantic takes longer to import than a short command takes in all.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

MAX_SUMMARY_CHARS = 1200
MAX_SUMMARY_WORDS = 120
MAX_SNIPPET_CHARS = 1200
MAX_SNIPPET_LINES = 12


class Evidence(BaseModel):
    """One citation: the lines of the file (1-based, inclusive) that support a field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: StrictStr
    lines: Annotated[list[StrictInt], Field(min_length=2, max_length=2)]


class Enrichment(BaseModel):
    """What a model says about one span.

    `model` and `schema_version` are rarely set: a reply that names them overrides what is stored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    summary_120w: Annotated[
        StrictStr,
        Field(
            max_length=MAX_SUMMARY_CHARS,
            description="What the code does and why, in plain words, at most 120 words.",
        ),
    ] = ""
    inputs: Annotated[
        list[StrictStr], Field(description="Each parameter or thing read: name and meaning.")
    ] = []
    outputs: Annotated[
        list[StrictStr], Field(description="Each value returned or produced, with its meaning.")
    ] = []
    side_effects: Annotated[
        list[StrictStr], Field(description="Each change outside the code itself; empty if none.")
    ] = []
    pitfalls: Annotated[
        list[StrictStr], Field(description="Each way a caller can go wrong; empty if none.")
    ] = []
    usage_snippet: Annotated[
        StrictStr | None,
        Field(max_length=MAX_SNIPPET_CHARS, description="A short example of use, or null."),
    ] = None
    evidence: list[Evidence] = []
    tags: list[StrictStr] = []
    model: StrictStr | None = None
    schema_version: StrictStr | None = None
