"""What the parser can prove of a span: said by the program, whatever a model or a comment says.

Each fact is true of the span's own text, so spans of the same text have the same facts; lines count
from the span's first. What can't be proven is left out: docs/facts.md says of each language what
that is. Only `doc`, the words of whoever wrote the code, may also stand above the span.

Modules, each built on those before it: values, codec, dialects, touches, frames, owners, ways,
noting, finishing, collecting, forms, simple, steps, plain.
"""
