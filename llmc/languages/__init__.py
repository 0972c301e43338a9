"""Which files are source, and which nodes of their syntax trees are worth a summary.

One `Language` per grammar, all data: a new language is one more entry in `LANGUAGES`. The walk in
`indexer.definitions` reads the table and knows no language by name.

The kinds of span, over all languages:

    function, method, macro                  code that runs
    class, interface, enum, struct, trait    definitions with members; the members are spans too
    impl                                     a Rust impl block
    type                                     an alias or another named type
    section                                  a part of a document
    module                                   a whole file with code but no other span

Grammars are imported on first use, so a repository pays only for the languages it holds. What is
asked of their trees stands in `queries/<folder>`, in the grammars' own query language.

Modules, each built on those before it: queries.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmc.errors import IndexingError

CONTAINERS = frozenset({"class", "interface", "enum", "struct", "trait", "impl"})
"""Span kinds whose members are spans of their own, named after them."""

BODILESS = frozenset({"type", "macro"})
"""Span kinds without a body. They need two lines: on one line they say all there is to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A grammar and its node kinds.

    `spans` maps node kinds to span kinds; `typed` refines that by the kind of the node's `type`
    field. `scopes` qualify the names inside without being spans. `through` are walked for spans;
    what is in neither is never looked into, function bodies above all. `wrappers` are walked too,
    and the one definition in them takes their bytes. `prefixes` are siblings that belong to the
    definition after them. `bindings` maps a node that names a value to its name and value fields
    (no name field: "default"); `values` maps the values that are spans to their kind.
    `tolerance` is the share of damaged bytes that is taken for macros, which a grammar cannot
    expand; `noise` matches text to blank before parsing. `queries` are the folders
    with a language's queries, if it has not just one of its name.
    """

    name: str
    package: str
    function: str = "language"
    spans: Mapping[str, str] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset()
    through: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()
    bindings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    comments: frozenset[str] = frozenset({"comment"})
    tolerance: float = 0.0
    noise: re.Pattern[bytes] | None = None
    docstrings: bool = False
    document: bool = False
    queries: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        return self.queries or (self.name,)


def _kinds(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PYTHON = Language(
    name="python",
    package="tree_sitter_python",
    spans={
        "function_definition": "function",
        "class_definition": "class",
        "type_alias_statement": "type",
    },
    through=_kinds(
        "block if_statement elif_clause else_clause try_statement except_clause"
        " finally_clause with_statement for_statement while_statement"
        " match_statement case_clause"
    ),
    wrappers=_kinds("decorated_definition"),
    docstrings=True,
)

_JS_SPANS = {
    "function_declaration": "function",
    "generator_function_declaration": "function",
    "class_declaration": "class",
    "method_definition": "method",
}
_JS_THROUGH = _kinds(
    "class_body statement_block if_statement else_clause try_statement catch_clause finally_clause"
    " for_statement for_in_statement while_statement labeled_statement"
    " call_expression arguments parenthesized_expression unary_expression sequence_expression"
    " arrow_function function_expression"
)
_JS_BINDINGS = {
    "variable_declarator": ("name", "value"),
    "assignment_expression": ("left", "right"),
    "pair": ("key", "value"),
    "export_statement": ("", "value"),
}
_JS_VALUES = {
    "arrow_function": "function",
    "function_expression": "function",
    "generator_function": "function",
    "class": "class",
}
_JS_WRAPPERS = _kinds(
    "export_statement lexical_declaration variable_declaration expression_statement"
)

_JAVASCRIPT = Language(
    name="javascript",
    queries=("ecmascript", "javascript"),
    package="tree_sitter_javascript",
    spans=_JS_SPANS,
    through=_JS_THROUGH,
    wrappers=_JS_WRAPPERS,
    prefixes=_kinds("decorator"),
    bindings={**_JS_BINDINGS, "field_definition": ("property", "value")},
    values=_JS_VALUES,
)


def _typescript(name: str) -> Language:
    return Language(
        name=name,
        package="tree_sitter_typescript",
        function=f"language_{name}",
        queries=("ecmascript", "typescript"),
        spans={
            **_JS_SPANS,
            "abstract_class_declaration": "class",
            "interface_declaration": "interface",
            "enum_declaration": "enum",
            "type_alias_declaration": "type",
        },
        scopes=_kinds("internal_module module"),
        through=_JS_THROUGH,
        wrappers=_JS_WRAPPERS | {"ambient_declaration"},
        prefixes=_kinds("decorator"),
        bindings={**_JS_BINDINGS, "public_field_definition": ("name", "value")},
        values=_JS_VALUES,
    )


_GO = Language(
    name="go",
    package="tree_sitter_go",
    spans={
        "function_declaration": "function",
        "method_declaration": "method",
        "type_spec": "type",
        "type_alias": "type",
    },
    typed={"struct_type": "struct", "interface_type": "interface"},
    wrappers=_kinds("type_declaration"),
)

_RUST = Language(
    name="rust",
    package="tree_sitter_rust",
    spans={
        "function_item": "function",
        "struct_item": "struct",
        "union_item": "struct",
        "enum_item": "enum",
        "trait_item": "trait",
        "impl_item": "impl",
        "type_item": "type",
        "macro_definition": "macro",
    },
    scopes=_kinds("mod_item"),
    through=_kinds("declaration_list foreign_mod_item"),
    prefixes=_kinds("attribute_item"),
    comments=_kinds("line_comment block_comment"),
)

_JAVA = Language(
    name="java",
    package="tree_sitter_java",
    spans={
        "class_declaration": "class",
        "record_declaration": "class",
        "interface_declaration": "interface",
        "annotation_type_declaration": "interface",
        "enum_declaration": "enum",
        "method_declaration": "method",
        "constructor_declaration": "method",
        "compact_constructor_declaration": "method",
    },
    through=_kinds(
        "class_body interface_body annotation_type_body enum_body enum_body_declarations"
    ),
    comments=_kinds("line_comment block_comment"),
)

_C_SPANS = {
    "function_definition": "function",
    "struct_specifier": "struct",
    "union_specifier": "struct",
    "enum_specifier": "enum",
    "type_definition": "type",
    "preproc_function_def": "macro",
}
_C_TYPED = {"struct_specifier": "struct", "union_specifier": "struct", "enum_specifier": "enum"}
_C_THROUGH = _kinds(
    "preproc_ifdef preproc_if preproc_else preproc_elif preproc_elifdef linkage_specification"
    " declaration_list declaration field_declaration_list field_declaration"
)
_C_TOLERANCE = 0.1
_C_EXPORT_MACRO = re.compile(  # the EXPORT of `class EXPORT Name {`
    rb"(?:(?<=\bclass )|(?<=\bstruct ))[A-Z_][A-Z0-9_]*(?:\([^()\n]*\))?"
    rb"(?=[ ]+[A-Za-z_]\w*\s*(?:final\b|[:{]))"
)

_C = Language(
    name="c",
    queries=("c_family", "c"),
    package="tree_sitter_c",
    spans=_C_SPANS,
    typed=_C_TYPED,
    through=_C_THROUGH,
    tolerance=_C_TOLERANCE,
    noise=_C_EXPORT_MACRO,
)

_CPP = Language(
    name="cpp",
    queries=("c_family", "cpp"),
    package="tree_sitter_cpp",
    spans={**_C_SPANS, "class_specifier": "class", "alias_declaration": "type"},
    typed={**_C_TYPED, "class_specifier": "class"},
    scopes=_kinds("namespace_definition"),
    through=_C_THROUGH,
    wrappers=_kinds("template_declaration"),
    tolerance=_C_TOLERANCE,
    noise=_C_EXPORT_MACRO,
)

_BASH = Language(
    name="bash",
    package="tree_sitter_bash",
    spans={"function_definition": "function"},
    through=_kinds("if_statement elif_clause else_clause case_statement case_item list"),
)

_MARKDOWN = Language(name="markdown", package="tree_sitter_markdown", document=True)

_ALL = (
    *(_PYTHON, _JAVASCRIPT, _typescript("typescript"), _typescript("tsx"), _GO, _RUST, _JAVA),
    *(_C, _CPP, _BASH, _MARKDOWN),
)

LANGUAGES: Mapping[str, Language] = {language.name: language for language in _ALL}
"""Every language, by the name that goes into the index and into each span hash."""

_SUFFIXES = {
    "python": ".py .pyi .pyw",
    "javascript": ".js .jsx .mjs .cjs",
    "typescript": ".ts .mts .cts",
    "tsx": ".tsx",
    "go": ".go",
    "rust": ".rs",
    "java": ".java",
    "c": ".c .h",
    "cpp": ".cc .cpp .cxx .c++ .hh .hpp .hxx .h++ .ipp .tpp",
    "bash": ".sh .bash",
    "markdown": ".md .markdown",
}
_BY_SUFFIX = {suffix: name for name, words in _SUFFIXES.items() for suffix in words.split()}
_BY_NAME = {"SConstruct": "python", "SConscript": "python", ".bashrc": "bash", ".profile": "bash"}
_INTERPRETERS = (
    (re.compile(r"(ba|da|k)?sh"), "bash"),
    (re.compile(r"(python|pypy)[\d.]*"), "python"),
    (re.compile(r"node(js)?|bun|deno"), "javascript"),
)
_SHEBANG = re.compile(rb"#!\s*(?:\S*/env\s+(?:-\S+\s+|\w+=\S*\s+)*)?(?:\S*/)?([^\s/]+)")
_CPP_HEADER = re.compile(
    rb"^[ \t]*(?:(?:class|namespace|using)\s+\w|namespace\s*\{|template\s*<"
    rb"|(?:public|private|protected)\s*:)",
    re.MULTILINE,
)


def find_language(path: str, content: bytes = b"") -> Language | None:
    """Return the language of a file, None when it is not source.

    The name decides; `content` (the first line is enough) tells what a script without a suffix is,
    and (whole) whether a `.h` header is C++ rather than C.
    """
    name = path.rpartition("/")[2]
    suffix = _find_suffix(name)
    found = _BY_NAME.get(name) or _BY_SUFFIX.get(suffix.lower())
    if found == "c" and (suffix in (".C", ".H") or _is_cpp_header(suffix, content)):
        found = "cpp"
    if found is None and not suffix:
        found = _interpreter(content)
    return LANGUAGES[found] if found else None


def needs_content(path: str) -> bool:
    """Tell whether only the first line of the file can say what language it is in."""
    name = path.rpartition("/")[2]
    return "." not in name and name not in _BY_NAME


def _find_suffix(name: str) -> str:
    """Return what `PurePath.suffix` is; of 200,000 names that takes seconds."""
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def load_grammar(language: Language) -> object:
    """Import a language's grammar and return what `tree_sitter.Language` takes."""
    try:
        module = importlib.import_module(language.package)
    except ImportError as exc:
        wheel = language.package.replace("_", "-")
        raise IndexingError(
            f"the grammar for {language.name} is not installed ({exc}); run: pip install {wheel}"
        ) from exc
    pointer: object = getattr(module, language.function)()
    return pointer


def _is_cpp_header(suffix: str, content: bytes) -> bool:
    return suffix.lower() == ".h" and _CPP_HEADER.search(content) is not None


def _interpreter(content: bytes) -> str | None:
    shebang = _SHEBANG.match(content)
    if shebang is None:
        return None
    program = shebang[1].decode("ascii", "replace")
    return next((name for pattern, name in _INTERPRETERS if pattern.fullmatch(program)), None)
