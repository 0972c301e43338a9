"""What a repository's settings ask for that only its user can allow.

A repository may say how it is to be enriched: tiers, thresholds, plain options, slots. It may not
say where the code goes, with which key, on whose bill, or what is run. Each such wish is a Need.
What the user said in $ENRICH_CHAIN_JSON is none.
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from llmc.net.places import is_cloud_model, is_this_machine, spell_address
from llmc.settings import network
from llmc.settings.catalogue import find_model
from llmc.settings.chains import DEFAULT_CHAIN, ChainEntry, Provider, UserEntry, read_table
from llmc.settings.documents import CONFIG_FILE, OPTIONS, PRESET_FILE, SettingsFile
from llmc.settings.presets import TIERS, TierPreset, choose_preset, read_presets
from llmc.settings.providers import PROVIDERS

Kind = Literal[
    "program",
    "host",
    "here",
    "gateway",
    "chain",
    "cloud model",
    "key",
    "model file",
    "option",
    "proxy",
    "certificates",
]

_BARE_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
"""A URL in which nothing hides: no user, no query, no fragment, no escape."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that needs the user's word."""

    kind: Kind
    """What it is; `here` only counts where the user has named hosts that it would replace."""

    value: str
    """What it is about: an address, a program, a name."""

    where: str
    """File, entry and key."""

    text: str
    """What follows: it wants to."""


def find_in_files(files: Mapping[str, SettingsFile]) -> tuple[Need, ...]:
    """Return all that a repository's files ask for, used or not: trust is given to whole files.

    Raises ConfigError.
    """
    table = read_table(files.get(CONFIG_FILE))
    entries = [entry for entry in table.entries if entry.enabled]
    asked = [need for entry in entries for need in find_in_entry(entry, entry.provider)]
    asked += find_in_presets(read_presets(files.get(PRESET_FILE)))
    asked += find_in_network(files.get(CONFIG_FILE))
    if table.default_chain != DEFAULT_CHAIN:
        asked.append(describe_choice(table.default_chain))
    return tuple(dict.fromkeys(asked))


def find_in_run(
    chain: Iterable[ChainEntry],
    presets: Mapping[str, TierPreset],
    backend: str,
    *,
    tiers: Iterable[str] = TIERS,
    chosen: str | None = None,
    driver: bool = False,
) -> tuple[Need, ...]:
    """Return what a run uses of it: the llmc command goes by a chain only under backend auto.

    The batch driver does so under each, and takes an entry of any provider as one of Ollama, or as
    one of its gateway: it runs no `command`, gives no `env` away and loads no model file.
    `tiers` are all that a span may get to. `chosen` is the chain's name if it is the repository
    that chose it: to take one that the user keeps for other uses needs their word.
    """
    used = tuple(chain) if driver or backend == "auto" else ()
    found = list(find_in_presets(presets, _presets_used(used, presets, backend, tiers)))
    for entry in used:
        gateway = backend == "gateway" or entry.routing_tier == "nano"
        taken_as: Provider = "openai" if gateway else "ollama"
        found += find_in_entry(entry, taken_as if driver else entry.provider)
    if chosen is not None and any(isinstance(entry, UserEntry) for entry in used):
        found.append(describe_choice(chosen))
    return tuple(dict.fromkeys(found))


def keep_to_own_hosts(
    chain: Iterable[ChainEntry],
) -> tuple[tuple[ChainEntry, ...], tuple[str, ...]]:
    """Return a chain whose Ollama entries are asked at the hosts that the user has named.

    The model, the options and the tier stay. Say so of each entry for which that is a change.
    """
    entries, told = [], []
    for entry in chain:
        theirs = not isinstance(entry, UserEntry) and entry.provider == "ollama"
        if theirs and entry.url and is_loopback(entry.url):
            told.append(
                f"{entry.name!r} is asked at your own hosts, not at {entry.url}, as {CONFIG_FILE} "
                "says: only llmc trust would let it"
            )
            entries.append(entry.model_copy(update={"url": None}))
        else:
            entries.append(entry)
    return tuple(entries), tuple(told)


def find_in_presets(
    presets: Mapping[str, TierPreset], used: Iterable[str] = ("7b", "14b")
) -> Iterator[Need]:
    """Yield what the presets ask for, of those that are used."""
    for name in used:
        model = presets[name].model
        key = "fallback_model" if name == "14b" else "model"
        if is_cloud_model(model):
            yield _cloud_model(str(model), f"{PRESET_FILE}, {key}")


def _presets_used(
    chain: Iterable[ChainEntry],
    presets: Mapping[str, TierPreset],
    backend: str,
    tiers: Iterable[str],
) -> tuple[str, ...]:
    """Return the presets whose model may be asked for: where no entry stands, or one without."""
    if backend not in ("auto", "ollama"):
        return ()
    entries, found = list(chain), []
    for tier in tiers:
        models = [entry.model for entry in entries if entry.routing_tier == tier]
        if (tier != "nano" or backend == "ollama") if not models else not all(models):
            found.append(choose_preset(presets, tier).name)
    if not all(presets[name].model for name in found):
        found.append("7b")  # its model stands for one that is null
    return tuple(dict.fromkeys(found))


def find_in_entry(entry: ChainEntry, provider: Provider) -> Iterator[Need]:
    """Yield what an entry asks for where it is taken as one of a provider, its own or another."""
    if isinstance(entry, UserEntry):
        return
    where = partial(_where, entry)
    if not PROVIDERS[provider].unasked:
        text = f"ask a model through the provider {provider!a}, which is not one of llmc's own"
        yield Need("program", provider, where("provider"), text)
    if entry.command and provider == "command":
        yield from _program(entry, entry.command)
    if entry.url:
        yield _host(entry.url, where("url"))
    elif provider == "openai":
        model = f", with the model {entry.model!a} if it takes that" if entry.model else ""
        text = f"use your own gateway{model}"
        yield Need("gateway", entry.model or "", where("provider"), text)
    if is_cloud_model(entry.model):
        yield _cloud_model(str(entry.model), where("model"))
    if entry.model and provider == "llamacpp" and not find_model(entry.model):
        yield _model_file(entry.model, where("model"))
    if entry.api_key_env:
        place = _spelt(spell_address(entry.url)) if entry.url else "your gateway"
        text = f"send the value of ${entry.api_key_env} to {place}"
        yield Need("key", entry.api_key_env, where("api_key_env"), text)
    for name, value in entry.options.items():
        if name not in OPTIONS:
            said = json.dumps(value, ensure_ascii=False)
            text = f"send the option {name!r}: {said if len(said) < 200 else said[:200] + '…'}"
            yield Need("option", name, where("options"), text)


def find_in_network(file: SettingsFile | None) -> Iterator[Need]:
    """Yield what a repository's file asks for under [network]. Raises ConfigError."""
    if file is None:
        return
    table = network.read_table(file.document, file.path)
    where = f"{CONFIG_FILE}, [{network.TABLE}]"
    if table.trust_env:
        yield Need("proxy", "", where, "send everything by the proxies of your environment")
    if table.ca_file:
        text = f"believe the certificates in {table.ca_file!a}"
        yield Need("certificates", table.ca_file, where, text)


def describe_choice(chain: str) -> Need:
    """Return what it takes for a repository to choose the chain."""
    text = f"use the chain {chain!r} of your own where you name none"
    return Need("chain", chain, f"{CONFIG_FILE}, enrichment.default_chain", text)


def hides_nothing(url: str) -> bool:
    """Tell whether a URL hides nothing: it has no user, no query, no escape."""
    return _BARE_URL.fullmatch(url) is not None


def is_loopback(url: str) -> bool:
    """Tell whether a URL leads to this machine and hides nothing."""
    return hides_nothing(url) and is_this_machine(url)


def _program(entry: ChainEntry, command: str) -> Iterator[Need]:
    text = f"run the program {command!a}"
    yield Need("program", command, _where(entry, "command"), text)
    for name in entry.env:
        text = f"give the value of ${name} to the program {command!a}"
        yield Need("key", name, _where(entry, "env"), text)


def _host(url: str, where: str) -> Need:
    place = _spelt(spell_address(url))
    if is_loopback(url):
        return Need("here", place, where, f"send your code to {place}, on this machine")
    odd = "" if hides_nothing(url) else ", by an address with more in it than a path"
    return Need("host", place, where, f"send your code to {place}{odd}")


def _spelt(place: str) -> str:
    """Return an address in which no letter looks like another one of some other script."""
    return place.encode("ascii", "backslashreplace").decode()


def _cloud_model(model: str, where: str) -> Need:
    text = f"send your code to the cloud that hosts the model {model!a}"
    return Need("cloud model", model, where, text)


def _model_file(model: str, where: str) -> Need:
    inside = not os.path.normpath(model).startswith(("..", "~", "/"))
    text = f"load the model file {model!a}, {'inside' if inside else 'outside'} the repository"
    return Need("model file", model, where, text)


def _where(entry: ChainEntry, key: str) -> str:
    return f"{CONFIG_FILE}, entry {entry.name!r}, {key}"
