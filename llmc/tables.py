"""The tables of an index.

The first five are an established format that other programs write too, so they are never changed;
what llmc adds are tables named llmc_*.
"""

from __future__ import annotations

ESTABLISHED = """
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL, lang TEXT NOT NULL,
    file_hash TEXT NOT NULL, size INTEGER NOT NULL, mtime REAL NOT NULL);
CREATE TABLE IF NOT EXISTS spans (
    id INTEGER PRIMARY KEY, file_id INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE,
    symbol TEXT NOT NULL, kind TEXT NOT NULL, start_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL, byte_start INTEGER NOT NULL, byte_end INTEGER NOT NULL,
    span_hash TEXT NOT NULL UNIQUE, doc_hint TEXT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS embeddings_meta (
    model TEXT PRIMARY KEY, dim INTEGER NOT NULL, created_at DATETIME NOT NULL);
CREATE TABLE IF NOT EXISTS embeddings (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE, vec BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS enrichments (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE,
    summary TEXT, tags TEXT, evidence TEXT, model TEXT, created_at DATETIME, schema_ver TEXT,
    inputs TEXT, outputs TEXT, side_effects TEXT, pitfalls TEXT, usage_snippet TEXT);
CREATE INDEX IF NOT EXISTS idx_files_path ON files(path);
CREATE INDEX IF NOT EXISTS idx_spans_file_id ON spans(file_id);
CREATE INDEX IF NOT EXISTS idx_spans_span_hash ON spans(span_hash);
"""

COLUMNS = {
    "files": {"id", "path", "lang", "file_hash", "size", "mtime"},
    "spans": {"id", "file_id", "symbol", "kind", "start_line", "end_line"}
    | {"byte_start", "byte_end", "span_hash", "doc_hint"},
    "enrichments": {"span_hash", "summary", "tags", "evidence", "model", "created_at"}
    | {"schema_ver", "inputs", "outputs", "side_effects", "pitfalls", "usage_snippet"},
}
"""The established columns that llmc uses."""

OURS = """
CREATE TABLE IF NOT EXISTS llmc_twins (
    file_id INTEGER NOT NULL REFERENCES files(id) ON DELETE CASCADE,
    span_hash TEXT NOT NULL REFERENCES spans(span_hash) ON DELETE CASCADE,
    symbol TEXT NOT NULL, kind TEXT NOT NULL, start_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL, byte_start INTEGER NOT NULL, byte_end INTEGER NOT NULL,
    doc_hint TEXT NULL, PRIMARY KEY (file_id, byte_start, byte_end, symbol));
CREATE INDEX IF NOT EXISTS llmc_idx_twins_hash ON llmc_twins(span_hash);
CREATE TABLE IF NOT EXISTS llmc_outcomes (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE,
    result TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT, tier TEXT NOT NULL,
    backend TEXT NOT NULL, model TEXT NOT NULL, attempts INTEGER NOT NULL,
    failed_runs INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, wall_ms INTEGER NOT NULL, updated_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS llmc_archive (
    span_hash TEXT PRIMARY KEY, start_line INTEGER NOT NULL, summary TEXT, tags TEXT,
    evidence TEXT, model TEXT, created_at DATETIME, schema_ver TEXT, inputs TEXT, outputs TEXT,
    side_effects TEXT, pitfalls TEXT, usage_snippet TEXT);
CREATE TABLE IF NOT EXISTS llmc_claims (
    span_hash TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS llmc_failures (
    span_hash TEXT PRIMARY KEY REFERENCES spans(span_hash) ON DELETE CASCADE,
    count INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT, excerpt TEXT,
    failed_at REAL NOT NULL, retry_at REAL NOT NULL, signature TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS llmc_idx_failures_retry ON llmc_failures(signature, retry_at);
CREATE TABLE IF NOT EXISTS llmc_failures_archive (
    span_hash TEXT PRIMARY KEY, count INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT,
    excerpt TEXT, failed_at REAL NOT NULL, retry_at REAL NOT NULL, signature TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS llmc_origins (
    span_hash TEXT NOT NULL, installation TEXT NOT NULL, what TEXT NOT NULL,
    line INTEGER NOT NULL, adopted_at REAL, mac BLOB NOT NULL,
    PRIMARY KEY (span_hash, installation, what));
CREATE TABLE IF NOT EXISTS llmc_set_aside (
    span_hash TEXT NOT NULL, set_aside_at REAL NOT NULL, start_line INTEGER, summary TEXT,
    tags TEXT, evidence TEXT, model TEXT, created_at DATETIME, schema_ver TEXT, inputs TEXT,
    outputs TEXT, side_effects TEXT, pitfalls TEXT, usage_snippet TEXT);
CREATE INDEX IF NOT EXISTS llmc_idx_set_aside_hash ON llmc_set_aside(span_hash);
"""

OUR_TABLES = frozenset(
    {"llmc_twins", "llmc_outcomes", "llmc_archive", "llmc_claims", "llmc_failures"}
    | {"llmc_failures_archive", "llmc_origins", "llmc_set_aside"}
)

EARLIER_FAILURES = """
INSERT OR IGNORE INTO llmc_failures
    (span_hash, count, kind, detail, excerpt, failed_at, retry_at, signature)
SELECT o.span_hash, max(1, o.failed_runs), o.reason, o.detail, NULL, o.updated_at, o.updated_at, ''
FROM llmc_outcomes o WHERE o.result = 'fail'
AND EXISTS (SELECT 1 FROM spans s WHERE s.span_hash = o.span_hash)
AND NOT EXISTS (SELECT 1 FROM enrichments e WHERE e.span_hash = o.span_hash);
"""
"""Fills llmc_failures in an index that had none; those spans may be tried again at once."""

RESTS = (
    "x.signature = :signature AND x.retry_at > :now "
    "AND x.failed_at <= :now + 86400 AND x.retry_at <= :now + 691200"
)
"""Whether the failure `x` keeps its span at rest: a clock that was ahead must not, for years.

No pause is longer than seven days; a day more is left for clocks.
"""

SPAN_COLUMNS = (
    "s.id, f.path, f.lang, s.symbol, s.kind, s.start_line, s.end_line, "
    "s.byte_start, s.byte_end, s.span_hash, s.doc_hint"
)
RESULT_COLUMNS = (
    "summary, tags, evidence, model, created_at, schema_ver, "
    "inputs, outputs, side_effects, pitfalls, usage_snippet"
)
FAILURE_COLUMNS = "count, kind, detail, excerpt, failed_at, retry_at, signature"
ORIGIN_COLUMNS = "installation, what, line, adopted_at, mac"
SET_ASIDE_COLUMNS = f"set_aside_at, start_line, {RESULT_COLUMNS}"


def insertion(table: str, columns: str) -> str:
    """Return the statement that stores a row of a span, (span_hash, columns), or replaces it."""
    marks = ", ".join("?" * (columns.count(",") + 2))
    return f"INSERT OR REPLACE INTO {table} (span_hash, {columns}) VALUES ({marks})"
