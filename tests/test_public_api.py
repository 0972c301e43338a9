"""What `llmc` promises: the names of `__all__`, loaded when first used, each one explained."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import llmc

HEAVY = ("pydantic", "tree_sitter", "rich", "sqlite3")
ESTABLISHED = ("AttemptRecord", "BackendAdapter", "BackendCascade", "BackendError")


def test_all_is_not_empty_and_names_nothing_twice() -> None:
    assert llmc.__all__
    assert len(llmc.__all__) == len(set(llmc.__all__))


@pytest.mark.parametrize("name", llmc.__all__)
def test_a_public_name_resolves(name: str) -> None:
    getattr(llmc, name)


@pytest.mark.parametrize("name", llmc.__all__)
def test_a_public_class_or_function_has_a_docstring_of_its_own(name: str) -> None:
    thing = getattr(llmc, name)
    if inspect.isclass(thing):
        doc = vars(thing).get("__doc__") or ""
        generated = doc.startswith(f"{name}(")  # what @dataclass writes when there is none
        assert doc, f"{name} has no docstring"
        assert not generated, f"{name} has only the docstring that @dataclass makes up"
    elif callable(thing):
        assert inspect.getdoc(thing), f"{name} has no docstring"


def test_dir_lists_the_public_names() -> None:
    assert set(llmc.__all__) <= set(dir(llmc))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(llmc, "no_such_name")  # noqa: B009 - as an attribute, mypy would refuse it


def test_the_version_is_a_release_number() -> None:
    assert [part.isdigit() for part in llmc.__version__.split(".")] == [True, True, True]


def test_importing_llmc_loads_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import llmc; print(*set(sys.modules) - before)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in result.stdout.split()}
    assert "llmc" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_values_load_pydantic_only_for_what_is_of_it() -> None:
    code = (
        "import sys, llmc.models; before = 'pydantic' in sys.modules; llmc.models.Enrichment; "
        "print(before, 'pydantic' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "False True\n"


def test_what_is_loaded_when_asked_for_is_what_the_values_always_had() -> None:
    values = importlib.import_module("llmc.models")
    reply = values.Enrichment(summary_120w="It counts.", evidence=[])
    assert isinstance(reply, llmc.Enrichment)
    assert values.Evidence(field="inputs", lines=[1, 2]).lines == [1, 2]
    assert values.EVIDENCE_FIELDS[0] == "summary_120w"
    assert (values.MAX_SUMMARY_CHARS, values.MAX_SUMMARY_WORDS) == (1200, 120)
    assert (values.MAX_SNIPPET_CHARS, values.MAX_SNIPPET_LINES) == (1200, 12)
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(values, "no_such_name")  # noqa: B009 - as an attribute, mypy would refuse it


def test_the_established_import_path_exports_the_same_four_objects() -> None:
    established = importlib.import_module("tools.rag.enrichment_backends")
    assert sorted(established.__all__) == list(ESTABLISHED)
    for name in ESTABLISHED:
        assert getattr(established, name) is getattr(llmc, name)
