"""Configured chains: the `[enrichment]` table of `llmc.toml` and $ENRICH_CHAIN_JSON.

An entry names one way to reach a model for one tier. The entries of the chosen chain, in file
order, form the cascade of an attempt at their tier. A wrong entry is refused whole, with the file,
the entry, the key and what is allowed: a mistyped key must not quietly send code elsewhere.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from llmc.errors import ConfigError

CONFIG_FILE = "llmc.toml"
PROVIDERS = ("ollama", "openai", "command", "llamacpp")
_SYNONYMS = {"gateway": "openai", "gemini": "openai"}

Provider = Annotated[
    Literal["ollama", "openai", "command", "llamacpp"],
    BeforeValidator(lambda word: _SYNONYMS.get(word, word) if isinstance(word, str) else word),
]


class ChainEntry(BaseModel):
    """One entry of a chain.

    `model` is a model name, or for llamacpp the path of a GGUF file (none: the packaged one).
    `api_key_env` names the environment variable that holds the key; keys are never in a file.
    `command` is the program of a command entry. `timeout_seconds` bounds one attempt. `slots` is
    how many requests its host takes at once; None: what the run says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1)]
    chain: str = "default"
    provider: Provider = "ollama"
    model: str | None = None
    url: Annotated[str | None, Field(pattern=r"^https?://[^\s/]+")] = None
    routing_tier: Literal["7b", "14b", "nano"] = "7b"
    timeout_seconds: Annotated[float, Field(gt=0)] | None = None
    keep_alive: str | int | None = None
    slots: Annotated[int, Field(ge=1)] | None = None
    enabled: bool = True
    options: dict[str, JsonValue] = {}
    api_key_env: Annotated[str | None, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] = None
    command: str | None = None


def peers(entries: Sequence[ChainEntry]) -> int:
    """Count the entries at the head of a cascade that may stand in for the first one.

    Those are further Ollama hosts, or places of the same provider and model. Work is spread over
    them; what stands behind is asked only when they fail, however busy they are: it may cost money,
    or be a worse model.
    """
    first = entries[0]
    for count, entry in enumerate(entries):
        if entry.provider != first.provider:
            return count
        if entry.provider != "ollama" and entry.model != first.model:
            return count
    return len(entries)


def begun_at(entries: tuple[ChainEntry, ...], first: int) -> tuple[ChainEntry, ...]:
    """Return a cascade's entries in the order in which they are asked when it begins at `first`.

    Peers go round; the others follow in file order.
    """
    count = peers(entries)
    if first < count:
        return entries[first:count] + entries[:first] + entries[count:]
    return entries[first:] + entries[:first]


@dataclass(frozen=True, slots=True)
class EnrichmentTable:
    """What `[enrichment]` says, None where it says nothing; `document` is all of the file."""

    default_chain: str = "default"
    concurrency: int | None = None
    cooldown_seconds: int | None = None
    est_tokens_per_span: int | None = None
    entries: tuple[ChainEntry, ...] = ()
    unknown: tuple[str, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def selected(self, chain: str | None = None) -> tuple[ChainEntry, ...]:
        """Return the enabled entries of a chain, the default one if none is named."""
        wanted = chain or self.default_chain
        return tuple(entry for entry in self.entries if entry.enabled and entry.chain == wanted)


def read_table(repo: Path, chain_json: str = "") -> EnrichmentTable:
    """Read `llmc.toml` in `repo`, with $ENRICH_CHAIN_JSON replacing the chains it names.

    Raises ConfigError.
    """
    path = repo / CONFIG_FILE
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        document = {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    table = document.get("enrichment", {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: enrichment is {table!r}; it must be a table: [enrichment]")
    entries = _entries(table.get("chain", []), str(path), "enrichment.chain")
    if chain_json.strip():
        entries = _overridden(entries, chain_json)
    names = ("concurrency", "cooldown_seconds", "est_tokens_per_span")
    numbers = {name: _number(path, table, name) for name in names}
    default = table.get("default_chain", "default")
    if not isinstance(default, str):
        raise ConfigError(f"{path}: enrichment.default_chain is {default!r}; it must be a string")
    known = {"chain", "default_chain", *names}
    misspelt = get_close_matches("enrichment", set(document) - {"enrichment"}, cutoff=0.8)
    unknown = [f"enrichment.{key}" for key in sorted(set(table) - known)] + misspelt
    return EnrichmentTable(
        default, entries=entries, unknown=tuple(unknown), document=document, **numbers
    )


def _number(path: Path, table: dict[str, Any], key: str) -> int | None:
    value = table.get(key)
    least = 0 if key == "cooldown_seconds" else 1
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f"{path}: enrichment.{key} is {value!r}; it must be a whole number, at least {least}"
        )
    return value


def _entries(found: object, source: str, key: str) -> tuple[ChainEntry, ...]:
    if not isinstance(found, list):
        raise ConfigError(f"{source}: {key} is {_shown(found)}; it must be a list of entries")
    return tuple(_entry(raw, source, f"{key}[{i}]") for i, raw in enumerate(found))


def _entry(raw: object, source: str, key: str) -> ChainEntry:
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: {key} is {_shown(raw)}; it must be a table")
    label = f"{key} (name = {raw.get('name')!r})"
    try:
        entry = ChainEntry.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {label}: {_problem(error, raw)}") from None
    if entry.provider == "command" and not entry.command:
        raise ConfigError(f'{source}: {label}: provider command needs command = "PROGRAM"')
    return entry


def _shown(value: object) -> str:
    """Return a value for an error; a container may hold a key, so only its type."""
    return f"a {type(value).__name__}" if isinstance(value, dict | list) else repr(value)


def _problem(error: ValidationError, raw: dict[str, Any]) -> str:
    problem = error.errors(include_url=False)[0]
    where = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}; allowed: {', '.join(ChainEntry.model_fields)}"
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
    return f"{where} is {raw.get(where)!r}; {allowed}"


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
            for entry in _entries(listed, source, f"chains.{name}")
        ]
    else:
        fresh = list(_entries(found, source, "entry"))
        replaced = {entry.chain for entry in fresh}
    return tuple(entry for entry in entries if entry.chain not in replaced) + tuple(fresh)
