"""What the nodes of a language are to whoever reads a short body: a row for each.

Simple is what names, literals and the marks between them make up: what it says is what stands
there. A node kind that is in no row is not simple.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """The node kinds of one language.

    `names` and `literals` are simple by themselves, `strings` if no code is in them, `through` if
    all in them is. `calls` run code; what is called by a name of `special` is no plain call. `sets`
    have the fields left and right. `holders` are statements that hold one thing, `noops` do
    nothing. `tails`, as Rust has them: the last expression of a block is its value, and what is
    called by a name with a capital only puts a value together. A method's text is parsed within one
    of `around`. A method of one of the names of `makers` makes the object. `harmless` decorators
    change nothing of what a body says.
    """

    names: frozenset[str]
    literals: frozenset[str]
    strings: frozenset[str]
    through: frozenset[str]
    calls: frozenset[str] = frozenset()
    macros: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset({"return_statement"})
    raises: frozenset[str] = frozenset()
    holders: frozenset[str] = frozenset({"expression_statement"})
    noops: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()
    harmless: frozenset[str] = frozenset()
    makers: frozenset[str] = frozenset()
    special: re.Pattern[str] | None = None
    around: tuple[tuple[str, str], ...] = (("", ""),)
    sets_names: bool = True
    tails: bool = False


def _kinds(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SCRIPT = Forms(
    names=_kinds(
        "identifier this super property_identifier private_property_identifier"
        " shorthand_property_identifier"
    ),
    literals=_kinds("number true false regex null undefined"),
    strings=_kinds("string template_string"),
    through=_kinds(
        "member_expression arguments object pair array spread_element parenthesized_expression"
        " unary_expression non_null_expression"
    ),
    calls=_kinds("call_expression new_expression"),
    sets=_kinds("assignment_expression"),
    raises=_kinds("throw_statement"),
    noops=_kinds("empty_statement"),
    blocks=_kinds("statement_block class_body interface_body"),
    makers=_kinds("constructor"),
    around=(("", ""), ("class _ {", "}"), ("({", "})")),
)
_C = Forms(
    names=_kinds(
        "identifier field_identifier this type_identifier namespace_identifier qualified_identifier"
    ),
    literals=_kinds("number_literal char_literal true false null nullptr"),
    strings=_kinds("string_literal raw_string_literal"),
    through=_kinds(
        "field_expression argument_list initializer_list pointer_expression unary_expression"
        " parenthesized_expression"
    ),
    calls=_kinds("call_expression"),
    sets=_kinds("assignment_expression"),
    raises=_kinds("throw_statement"),
    noops=_kinds("empty_statement"),
    blocks=_kinds("compound_statement field_declaration_list"),
    special=re.compile(r"[A-Z][A-Z0-9_]*"),  # a macro, which may do anything
    around=(("", ""), ("struct _ {", "};")),
)

FORMS: Mapping[str, Forms] = {
    "python": Forms(
        names=_kinds("identifier"),
        literals=_kinds("integer float true false none ellipsis"),
        strings=_kinds("string"),
        through=_kinds(
            "attribute argument_list keyword_argument list_splat dictionary_splat list tuple set"
            " dictionary pair unary_operator not_operator parenthesized_expression expression_list"
        ),
        calls=_kinds("call"),
        sets=_kinds("assignment"),
        raises=_kinds("raise_statement"),
        noops=_kinds("pass_statement"),
        blocks=_kinds("block"),
        harmless=_kinds(
            "property cached_property setter getter staticmethod classmethod abstractmethod"
            " abstractproperty override overload final"
        ),
        makers=_kinds("__init__"),
        sets_names=False,
    ),
    "javascript": _SCRIPT,
    "typescript": _SCRIPT,
    "tsx": _SCRIPT,
    "go": Forms(
        names=_kinds("identifier field_identifier type_identifier package_identifier"),
        literals=_kinds("int_literal float_literal rune_literal true false nil iota"),
        strings=_kinds("interpreted_string_literal raw_string_literal"),
        through=_kinds(
            "selector_expression expression_list argument_list unary_expression composite_literal"
            " literal_value keyed_element literal_element variadic_argument qualified_type"
            " parenthesized_expression"
        ),
        calls=_kinds("call_expression"),
        sets=_kinds("assignment_statement"),
        blocks=_kinds("block statement_list"),
    ),
    "rust": Forms(
        names=_kinds(
            "identifier self super crate field_identifier type_identifier scoped_identifier"
            " scoped_type_identifier"
        ),
        literals=_kinds(
            "integer_literal float_literal boolean_literal char_literal unit_expression"
        ),
        strings=_kinds("string_literal raw_string_literal"),
        through=_kinds(
            "field_expression arguments reference_expression unary_expression struct_expression"
            " field_initializer_list field_initializer shorthand_field_initializer tuple_expression"
            " array_expression parenthesized_expression mutable_specifier"
        ),
        calls=_kinds("call_expression"),
        macros=_kinds("macro_invocation"),
        sets=_kinds("assignment_expression"),
        returns=_kinds("return_expression"),
        noops=_kinds("empty_statement"),
        blocks=_kinds("block declaration_list field_declaration_list enum_variant_list"),
        harmless=_kinds("inline must_use allow doc cold track_caller"),
        tails=True,
    ),
    "java": Forms(
        names=_kinds("identifier this super type_identifier scoped_type_identifier"),
        literals=_kinds(
            "decimal_integer_literal hex_integer_literal octal_integer_literal"
            " binary_integer_literal decimal_floating_point_literal hex_floating_point_literal true"
            " false null_literal character_literal"
        ),
        strings=_kinds("string_literal"),
        through=_kinds(
            "field_access argument_list unary_expression parenthesized_expression generic_type"
            " type_arguments"
        ),
        calls=_kinds(
            "method_invocation explicit_constructor_invocation object_creation_expression"
        ),
        sets=_kinds("assignment_expression"),
        raises=_kinds("throw_statement"),
        blocks=_kinds("block constructor_body class_body interface_body enum_body"),
        harmless=_kinds("Override Deprecated Nullable NonNull Nonnull NotNull SuppressWarnings"),
        around=(("", ""), ("class _ {", "}")),
    ),
    "c": _C,
    "cpp": _C,
    "bash": Forms(
        names=_kinds("word variable_name special_variable_name number"),
        literals=frozenset(),
        strings=_kinds("raw_string"),
        through=_kinds("string simple_expansion concatenation command_name string_content"),
        calls=_kinds("command"),
        returns=frozenset(),
        blocks=_kinds("compound_statement"),
        special=re.compile(r"return|exit|break|continue"),
    ),
}
"""By the language's name; of one that has no row, every body takes a reader."""
