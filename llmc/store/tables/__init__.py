"""The tables of an index: of each its columns, the codec of its rows, and what is asked of it.

A codec turns a row into a value and back, column by column's name; what can't be such a value ends
here. No module here opens anything or runs a statement.

Modules, each built on those before it: established, values, parts, files, spans, results, outcomes,
failures, marks, facts, verdicts.
"""
