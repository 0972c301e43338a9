"""Table llmc_verdicts: what was found of the claims of a result, under its maker's seal.

Like its mark, the row of a result stays where the result goes to the archive and comes back.
`verdicts` is a JSON list of [field, place, length, ruling, kind, reason]: a field by its number, a
place in its list or, of a sentence, in the summary, with its length; -1 for a claim that was
dropped, of which no text is kept. `dropped` has the kinds of these, one word each. `counted` is a
seal over the numbers alone: to count is not to read what was found.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmc.store.tables.parts import list_columns, make_insertion


class CountRow(NamedTuple):
    """What the verdicts on one result add up to, as any program may have written it."""

    proven: Any
    not_provable: Any
    dropped: Any


class VerdictRow(NamedTuple):
    """The verdicts on one result and the seals over them, as any program may have written them."""

    proven: Any
    not_provable: Any
    dropped: Any
    counted: Any
    verdicts: Any
    mac: Any

    @property
    def counts(self) -> CountRow:
        """What they add up to, as it claims itself."""
        return CountRow(self.proven, self.not_provable, self.dropped)


VERDICT_COLUMNS = f"installation, {list_columns(VerdictRow)}"
PUT_VERDICTS = make_insertion("llmc_verdicts", VERDICT_COLUMNS)
END_VERDICTS = "DELETE FROM llmc_verdicts WHERE span_hash = ? AND installation = ?"

_JOINED = (
    "JOIN llmc_origins m ON m.span_hash = v.span_hash AND m.what = 'result' "
    "AND m.installation = v.installation "
)
VERDICTS_OF = (
    f"SELECT {list_columns(VerdictRow, 'v')}, m.mac AS mark FROM llmc_verdicts v {_JOINED} "
    "WHERE v.span_hash = ? AND v.installation = ?"
)
ALL_COUNTS = (
    f"SELECT {list_columns(CountRow, 'v')}, v.counted, v.span_hash, m.mac "
    f"FROM llmc_verdicts v CROSS JOIN enrichments e ON e.span_hash = v.span_hash {_JOINED} "
    "WHERE v.installation = ?"
)
"""What the verdicts of an installation on results in use add up to, with the marks of these."""

SEALED_COUNTS = (
    f"SELECT {list_columns(CountRow, 'r')}, r.counted, r.span_hash, m.mac FROM llmc_verdicts r "
    "JOIN llmc_origins m ON m.span_hash = r.span_hash AND m.what = 'result' "
    "AND m.installation = r.installation WHERE r.installation = ? AND "
)
"""The like of all results with a mark, in use or put by; a condition on `r` follows."""

SUMS = (
    f"SELECT {list_columns(CountRow, 'v')}, count(*) FROM llmc_verdicts v "
    f"CROSS JOIN enrichments e ON e.span_hash = v.span_hash {_JOINED} WHERE v.installation = ? "
    "AND v.span_hash NOT IN (SELECT value FROM json_each(?)) GROUP BY 1, 2, 3"
)
"""How many results have verdicts that add up to the same; but those of some spans."""
