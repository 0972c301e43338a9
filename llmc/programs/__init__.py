"""The programs that llmc starts, git first among them.

Modules, each built on those before it: launching, git, encoding.
"""
