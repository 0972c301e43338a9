"""Tables llmc_facts and llmc_facts_read: what each installation proved of a span, under its seal,
and which files it read for that, by which version of the proofs.

Facts that another installation stored, or says to have, stay where they are and are never read.
"""

from __future__ import annotations

PUT_FACTS = (
    "INSERT OR REPLACE INTO llmc_facts (span_id, installation, facts, mac) "
    "SELECT id, ?, ?, ? FROM spans WHERE span_hash = ?"
)
FACTS_OF = (
    "SELECT f.facts, f.mac FROM llmc_facts f JOIN spans s ON s.id = f.span_id "
    "WHERE s.span_hash = ? AND f.installation = ?"
)
PUT_FACTS_READ = (
    "INSERT OR REPLACE INTO llmc_facts_read (file_id, installation, version) "
    "SELECT id, ?, ? FROM files WHERE path = ?"
)
FILES_WITHOUT_FACTS = (
    "SELECT f.path FROM files f "
    "LEFT JOIN llmc_facts_read r ON r.file_id = f.id AND r.installation = ? "
    "WHERE r.version IS NOT ?"
)
