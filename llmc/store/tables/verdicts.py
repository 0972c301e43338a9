"""Table llmc_verdicts: what was found of the claims of a result, under its maker's seal.

Like its mark, the row of a result stays where the result goes to the archive and comes back.
`verdicts` is a JSON list of [field, place, length, ruling, kind, reason]: a field by its number, a
place in its list or, of a sentence, in the summary, with its length; -1 for a claim that was
dropped, of which no text is kept. `dropped` has the kinds of these, one word each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmc.store.tables.parts import list_columns, make_insertion


class VerdictRow(NamedTuple):
    """The verdicts on one result, as any program may have written them."""

    proven: Any
    not_provable: Any
    dropped: Any
    verdicts: Any


VERDICT_COLUMNS = f"installation, {list_columns(VerdictRow)}, mac"
PUT_VERDICTS = make_insertion("llmc_verdicts", VERDICT_COLUMNS)
END_VERDICTS = "DELETE FROM llmc_verdicts WHERE span_hash = ? AND installation = ?"

_JOINED = (
    "JOIN llmc_origins m ON m.span_hash = v.span_hash AND m.what = 'result' "
    "AND m.installation = v.installation "
)
_FOUND = f"{list_columns(VerdictRow, 'v')}, v.mac AS mac, m.mac AS mark"
VERDICTS_OF = (
    f"SELECT {_FOUND} FROM llmc_verdicts v {_JOINED} WHERE v.span_hash = ? AND v.installation = ?"
)
ALL_VERDICTS = (
    f"SELECT {_FOUND}, v.span_hash AS span_hash FROM llmc_verdicts v {_JOINED} "
    "JOIN enrichments e ON e.span_hash = v.span_hash WHERE v.installation = ?"
)
"""The verdicts of an installation on results that are in use, with the marks of these."""
