"""From a repository to spans: which files are source, and what each of them defines.

Modules, each built on those before it: comments, encodings, tree, files, names, unchanged,
definitions, sections, parsing, imports, common, linking, usages, callers.
"""
