"""Tables llmc_facts and llmc_facts_read: what was proven of each span, and which files were read
for it, by which version of the proofs.
"""

from __future__ import annotations

PUT_FACTS = (
    "INSERT OR REPLACE INTO llmc_facts (span_hash, facts) "
    "SELECT span_hash, ? FROM spans WHERE span_hash = ?"
)
FACTS_OF = "SELECT facts FROM llmc_facts WHERE span_hash = ?"
PUT_FACTS_READ = (
    "INSERT OR REPLACE INTO llmc_facts_read (file_id, version) "
    "SELECT id, ? FROM files WHERE path = ?"
)
FILES_WITHOUT_FACTS = (
    "SELECT f.path FROM files f LEFT JOIN llmc_facts_read r ON r.file_id = f.id "
    "WHERE r.version IS NOT ?"
)
