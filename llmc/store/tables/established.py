"""The tables of the established format, which other programs write too: they are never changed.

What llmc adds are tables named llmc_*, which `database.migrations` makes and changes.
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
