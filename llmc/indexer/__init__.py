"""From a repository to spans: which files are source, and what each of them defines.

In reading order: `files` says which files count, `parsing` reads one of them and turns it into a
`ParsedFile`, `definitions` cuts the spans of code, `sections` those of documents. What a span is in
which language is data, in `llmc.languages`. tree-sitter stays in here.
"""

from llmc.indexer.files import Ignored, source_files
from llmc.indexer.parsing import MAX_FILE_BYTES, parse_file

__all__ = ["MAX_FILE_BYTES", "Ignored", "parse_file", "source_files"]
