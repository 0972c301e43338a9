"""The index: what is kept of a repository, who works on it, and where it came from.

Modules, each built on those before it: parsed, provenance, retries, seal, tables, owners, database,
installation, origins, adoption, claims, verdicts, results, checks, totals, names, reader, salvage,
carbon, evidence, archive, spans, store, rescue, remembered.
"""
