"""Configured chains: the `[enrichment]` table of `llmc.toml` and $ENRICH_CHAIN_JSON.

An entry names one way to reach a model for one tier. The entries of the chosen chain, in file
order, form the cascade of an attempt at their tier. A wrong entry is refused whole, with the file,
the entry, the key and what is allowed: a mistyped key must not quietly send code elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from llmc.errors import ConfigError
from llmc.redaction.addresses import blot_address
from llmc.settings.addresses import read_base_url, read_ollama_url, tidy_ollama_url
from llmc.settings.documents import (
    CONFIG_FILE,
    LEAST,
    MAX_ENTRIES,
    MAX_FIELDS,
    MAX_NAME,
    MAX_NUMBER,
    MAX_SLOTS,
    MAX_TEXT,
    MAX_WORD,
    OPTIONS,
    SettingsFile,
    find_meant,
    quote,
)
from llmc.settings.providers import PROVIDERS

DEFAULT_CHAIN = "default"
_SYNONYMS = {"gateway": "openai", "gemini": "openai"}

_OURS = ("model", "messages", "prompt", "stream", "format")
"""Words of a request that no option replaces: what is asked, of whom, and how it is answered."""

_OTHER_OPTIONS = ("num_gqa",)
"""Names that are near to those in `OPTIONS`, and are others."""

_NUMBERS = ("concurrency", "cooldown_seconds", "est_tokens_per_span")
TABLE_KEYS = ("default_chain", *_NUMBERS, "callees", "chain")
"""The keys of `[enrichment]`."""


def _known(word: object) -> str:
    name = _SYNONYMS.get(word, word) if isinstance(word, str) else ""
    if name not in PROVIDERS:
        raise ValueError("no such provider")
    return name


Provider = Annotated[str, BeforeValidator(_known)]


VariableName = Annotated[str, Field(max_length=MAX_NAME, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class ChainEntry(BaseModel):
    """One entry of a chain: one way to reach a model, for one tier."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    """What the progress and the records call it."""

    chain: Annotated[str, Field(max_length=MAX_NAME)] = DEFAULT_CHAIN
    """The chain that it belongs to."""

    provider: Provider = "ollama"
    """The way to the model; gateway and gemini mean openai."""

    model: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    """A name that the server knows; for llamacpp a name of the catalogue, or a GGUF file; none: the
    packaged model."""

    url: Annotated[str, Field(max_length=MAX_TEXT, pattern=r"^https?://[^\s/]+")] | None = None
    """Its base URL; none: the user's own hosts, or gateway."""

    routing_tier: Literal["7b", "14b", "nano"] = "7b"
    """The tier whose attempts it makes."""

    timeout_seconds: Annotated[float, Field(gt=0, le=MAX_NUMBER)] | None = None
    """Seconds that bound one attempt; none: 180; for openai and command 300."""

    keep_alive: (
        Annotated[str, Field(max_length=MAX_WORD)]
        | Annotated[int, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
        | None
    ) = None
    """How long Ollama keeps the model, as 15m or in seconds; none: the preset's."""

    slots: Annotated[int, Field(ge=1, le=MAX_SLOTS)] | None = None
    """Requests that its host takes at once; none: `concurrency`."""

    enabled: bool = True
    """Whether it is used."""

    options: Annotated[dict[str, JsonValue], Field(max_length=MAX_FIELDS)] = {}
    """What goes to the model as it is: num_ctx, temperature and the like."""

    api_key_env: (
        Annotated[str, Field(max_length=MAX_NAME, pattern=r"^[A-Z_][A-Z0-9_]*$")] | None
    ) = None
    """The variable that holds the key; a key is never in a file."""

    command: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    """The program of a command entry, which reads the prompt on standard input."""

    env: Annotated[list[VariableName], Field(max_length=MAX_FIELDS)] = []
    """Variables that the program gets besides what every program needs."""

    @field_validator("url")
    @classmethod
    def _read_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        try:
            if info.data.get("provider") == "openai":
                return read_base_url(url, "url")
            ollama = info.data.get("provider") == "ollama"
            return read_ollama_url(url, "url") if ollama else tidy_ollama_url(url)
        except ConfigError as error:
            raise PydanticCustomError("url", "{said}", {"said": str(error)}) from None

    @field_validator("options")
    @classmethod
    def _check_options(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if named := [name for name in _OURS if name in options]:
            raise ValueError(f"an option can't be {named[0]!r}, which llmc says itself")
        for name in options:
            known = name in OPTIONS or name in _OTHER_OPTIONS
            if not known and (near := get_close_matches(name.lower(), OPTIONS, 1, 0.8)):
                raise ValueError(f"unknown option {quote(name)}; did you mean {near[0]}?")
        for name, most in OPTIONS.items():
            value, least = options.get(name, most), LEAST.get(name, -most)
            if (
                not isinstance(value, int | float)
                or isinstance(value, bool)
                or not least <= value <= most
            ):
                raise ValueError(
                    f"{name} is {quote(value)}; it must be a number, {least} to {most}"
                )
        return options


class UserEntry(ChainEntry):
    """An entry of $ENRICH_CHAIN_JSON: the user's own word, where a file's is the repository's."""


def count_in_flight(entries: Sequence[ChainEntry], default: int) -> int:
    """Return how many requests a chain's places take at once; `default` is for an entry's slots."""
    places: dict[tuple[str, str | None], int] = {}
    for entry in entries:
        place = entry.provider, entry.url or entry.command
        places[place] = max(places.get(place, 0), entry.slots or default)
    return sum(places.values())


@dataclass(frozen=True, slots=True)
class EnrichmentTable:
    """What `[enrichment]` says; None where it says nothing."""

    default_chain: str = DEFAULT_CHAIN
    """The chain that is used where the user names none."""

    concurrency: int | None = None
    """Requests that a host gets at once."""

    cooldown_seconds: int | None = None
    """Seconds for which a changed file is left alone."""

    est_tokens_per_span: int | None = None
    """Tokens that a stored enrichment is taken to save its reader."""

    callees: Literal["auto"] | bool = "auto"
    """Whether callees come first and are described to their callers; auto: to large models."""

    entries: tuple[ChainEntry, ...] = ()
    """The entries of all chains, in file order."""

    @property
    def untrusted_default(self) -> str:
        """The chain that a run takes if the file's word is not the user's.

        It may choose among the chains that $ENRICH_CHAIN_JSON names, but not one beside them.
        """
        users = {entry.chain for entry in self.entries if isinstance(entry, UserEntry)}
        return self.default_chain if not users or self.default_chain in users else "default"

    def select(self, chain: str | None = None) -> tuple[ChainEntry, ...]:
        """Return the enabled entries of a chain, the default one if none is named."""
        wanted = chain or self.default_chain
        return tuple(entry for entry in self.entries if entry.enabled and entry.chain == wanted)


def read_table(file: SettingsFile | None, chain_json: str = "") -> EnrichmentTable:
    """Read `llmc.toml`, with $ENRICH_CHAIN_JSON replacing the chains it names.

    Raises ConfigError.
    """
    path = str(file.path if file else CONFIG_FILE)
    document = file.document if file else {}
    table = document.get("enrichment", {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: enrichment is {quote(table)}; it must be a table: [enrichment]")
    entries = _entries(table.get("chain", []), path, "enrichment.chain", ChainEntry)
    if chain_json.strip():
        entries = _overridden(entries, chain_json)
    numbers = {name: _number(path, table, name) for name in _NUMBERS}
    default = table.get("default_chain", DEFAULT_CHAIN)
    if not isinstance(default, str) or len(default) > MAX_NAME:
        raise ConfigError(
            f"{path}: enrichment.default_chain is {quote(default)}; it must be a string of at most "
            f"{MAX_NAME} characters"
        )
    callees = table.get("callees", "auto")
    if callees != "auto" and not isinstance(callees, bool):
        raise ConfigError(
            f'{path}: enrichment.callees is {quote(callees)}; allowed: "auto", true, false'
        )
    return EnrichmentTable(default, callees=callees, entries=entries, **numbers)


def _number(path: str, table: Mapping[str, Any], key: str) -> int | None:
    value = table.get(key)
    least = 0 if key == "cooldown_seconds" else 1
    most = MAX_SLOTS if key == "concurrency" else MAX_NUMBER
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(
            f"{path}: enrichment.{key} is {quote(value)}; it must be a whole number, "
            f"{least} to {most}"
        )
    return value


def _entries(
    found: object, source: str, key: str, kind: type[ChainEntry]
) -> tuple[ChainEntry, ...]:
    if isinstance(found, dict) and kind is ChainEntry:
        raise ConfigError(f"{source}: [{key}] is one table; each entry begins with [[{key}]]")
    if not isinstance(found, list):
        raise ConfigError(f"{source}: {key} is {quote(found)}; it must be a list of entries")
    if len(found) > MAX_ENTRIES:
        raise ConfigError(f"{source}: {key} has {len(found)} entries; {MAX_ENTRIES} are the most")
    return tuple(_entry(raw, source, f"{key}[{i}]", kind) for i, raw in enumerate(found))


def _entry(raw: object, source: str, key: str, kind: type[ChainEntry]) -> ChainEntry:
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: {key} is {quote(raw)}; it must be a table")
    label = f"{key} (name = {quote(raw.get('name'))})"
    try:
        entry = kind.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {label}: {_problem(error, raw)}") from None
    if entry.provider == "command" and not entry.command:
        raise ConfigError(f'{source}: {label}: provider command needs command = "PROGRAM"')
    if entry.provider != "command" and entry.env:
        raise ConfigError(f"{source}: {label}: env is for provider command; drop it")
    return entry


def _problem(error: ValidationError, raw: dict[str, Any]) -> str:
    problem = error.errors(include_url=False)[0]
    where = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        name = find_meant(where, ChainEntry.model_fields)
        meant = f"did you mean {name}? " if name else ""
        return f"unknown key {quote(where)}; {meant}allowed: {', '.join(ChainEntry.model_fields)}"
    if problem["type"] == "missing":
        return f"{where} is missing"
    if where == "provider":
        allowed = f"allowed: {', '.join(PROVIDERS)} (gateway and gemini mean openai)"
    else:
        problems = error.errors(include_url=False)
        messages = [entry["msg"] for entry in problems if entry["loc"][0] == where]
        allowed = ", or ".join(dict.fromkeys(messages))
    if where == "api_key_env" and isinstance(raw[where], str):
        # Somebody may have put the key itself there.
        return f"{where} must be the name of an environment variable, in capitals, not a key"
    if where == "env":  # likewise
        return f"{where} must be a list of names of environment variables, without their values"
    value = raw.get(where)
    if problem["type"] == "url":
        return problem["msg"]
    if where == "url" and isinstance(value, str):
        value = blot_address(value)
        allowed = "write the whole address, as in http://attic:11434 or https://api.openai.com/v1"
    return f"{where} is {quote(value)}; {allowed}"


def _overridden(entries: tuple[ChainEntry, ...], text: str) -> tuple[ChainEntry, ...]:
    source = "$ENRICH_CHAIN_JSON"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON: {error}") from None
    if isinstance(found, dict):
        chains = found.get("chains")
        if not isinstance(chains, dict):
            raise ConfigError(f'{source}: an object must be {{"chains": {{NAME: [ENTRY, ...]}}}}')
        replaced = set(chains)
        fresh = [
            entry.model_copy(update={"chain": name})
            for name, listed in chains.items()
            for entry in _entries(listed, source, f"chains.{name}", UserEntry)
        ]
    else:
        fresh = list(_entries(found, source, "entry", UserEntry))
        replaced = {entry.chain for entry in fresh}
    return tuple(entry for entry in entries if entry.chain not in replaced) + tuple(fresh)
