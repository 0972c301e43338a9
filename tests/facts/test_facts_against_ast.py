"""Facts of Python against Python's own parser, on modules of the standard library."""

from __future__ import annotations

import argparse
import ast
import asyncio.base_events
import collections
import dataclasses
import json.decoder
import pathlib
import subprocess
import typing
from pathlib import Path

import pytest

from llmc.facts.codec import decode_facts
from llmc.facts.values import MAX_PARAMETERS
from llmc.indexer.parsing import parse_file

MODULES = (
    *(argparse, asyncio.base_events, collections, dataclasses),
    *(json.decoder, pathlib, subprocess, typing),
)


class Ways(ast.NodeVisitor):
    """Lines of what leaves a function, without functions in it; errors in a `try` may be caught."""

    def __init__(self, function):
        self.valued, self.bare, self.yields = set(), set(), set()
        self.leaving, self.caught = set(), set()
        self._inside = 0
        for statement in function.body:
            self.visit(statement)

    def visit_FunctionDef(self, node):
        for outer in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            if outer is not None:
                self.visit(outer)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node):
        pass

    def visit_ClassDef(self, node):
        pass

    def visit_Return(self, node):
        nothing = node.value is None or getattr(node.value, "value", 0) is None
        (self.bare if nothing else self.valued).add(node.lineno)
        self.generic_visit(node)

    def visit_Yield(self, node):
        self.yields.add(node.lineno)
        self.generic_visit(node)

    visit_YieldFrom = visit_Yield  # noqa: N815

    def visit_Raise(self, node):
        (self.caught if self._inside else self.leaving).add(node.lineno)

    def visit_Try(self, node):
        self._inside += bool(node.handlers)
        for statement in node.body:
            self.visit(statement)
        self._inside -= bool(node.handlers)
        for statement in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(statement)


def parameters_of(function):
    given = function.args
    yield from ((entry.arg, "positional") for entry in given.posonlyargs)
    yield from ((entry.arg, "both") for entry in given.args)
    if given.vararg:
        yield given.vararg.arg, "rest"
    yield from ((entry.arg, "keyword") for entry in given.kwonlyargs)
    if given.kwarg:
        yield given.kwarg.arg, "keywords"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_facts_are_those_that_pythons_own_parser_finds(module):
    path = Path(module.__file__)
    functions = {
        (node.end_lineno, node.name): node
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    seen = 0
    for span in parse_file(path.parent, path.name).spans:
        facts, node = (
            decode_facts(span.facts),
            functions.get((span.end_line, span.symbol.rpartition(".")[2])),
        )
        if node is None or facts is None or facts.parameters is None:
            continue
        seen += 1
        first, ways = span.start_line, Ways(node)
        found = [(entry.name, entry.kind) for entry in facts.parameters]
        wanted = list(parameters_of(node))[:MAX_PARAMETERS]
        if found and found[0][1] == "receiver":
            wanted[0] = (wanted[0][0], "receiver")
        assert found == wanted, span.symbol
        assert facts.is_async == isinstance(node, ast.AsyncFunctionDef), span.symbol
        assert {first + line for line in facts.returns.valued} == ways.valued, span.symbol
        assert {first + line for line in facts.returns.bare} == ways.bare, span.symbol
        assert {first + line for line in facts.returns.yields} == ways.yields, span.symbol
        raised = {first + entry.line for entry in facts.raises if entry.how == "raises"}
        assert raised == ways.leaving, span.symbol
    assert seen > 5
