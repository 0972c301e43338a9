"""A first `llmc.toml`: the models that answer now, and a comment for every key.

The hosts are those of the user's environment, and what they say of themselves goes into a file: so
only plain names of models and plain addresses do, which need no escapes and hold no password.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmc.errors import ConfigError, RequestError
from llmc.net.client import Client
from llmc.net.places import is_cloud_model
from llmc.settings.documents import CONFIG_FILE, MAX_NAME
from llmc.settings.hosts import Host
from llmc.settings.needs import is_bare
from llmc.settings.presets import DEFAULT_FALLBACK_MODEL, DEFAULT_MODEL

TIERS = {"7b": (7.6, DEFAULT_MODEL), "14b": (14.8, DEFAULT_FALLBACK_MODEL)}
"""The sizes, in 10^9 parameters, of the models that each tier's limits were tuned with."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_SIZE = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
_NO_CHAT = re.compile(r"embed|bge-|minilm|rerank|bert|whisper")
"""Models that write no text about code."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said of its models."""

    host: Host
    """The host."""

    models: Mapping[str, str]
    """The model that fits each tier best."""

    problem: str = ""
    """Why there is none."""


def ask(hosts: Sequence[Host], timeout: float) -> list[Answer]:
    """Ask all hosts at once which models they have; `timeout` is in seconds."""
    client = Client()
    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        return list(pool.map(lambda host: _ask(client, host, timeout), hosts))


def choose_models(listed: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the model nearest in size to what each tier wants, of a host's list of models.

    With one model that is any good, both tiers get it: a tier without an entry would ask for one
    that isn't there.
    """
    sizes = {name: size for entry in listed if (name := _usable(entry)) and (size := _size(entry))}
    if not sizes:
        return {}
    return {
        tier: min(sizes, key=lambda name: (name != usual, abs(math.log(sizes[name] / size)), name))
        for tier, (size, usual) in TIERS.items()
    }


def compose(answers: Iterable[Answer], key_names: Sequence[str]) -> str:
    """Return the file's text; `key_names` are the variables of cloud keys that are set."""
    entries = [
        _entry(answer.host, tier, model)
        for answer in answers
        for tier, model in answer.models.items()
    ]
    return "\n".join([_HEAD, *(entries or [_OLLAMA]), _GGUF, _cloud(key_names)])


def write(repo: Path, text: str) -> Path:
    """Write the file, never over anything that is there, nor through a link. Raises ConfigError."""
    path = repo / CONFIG_FILE
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o644), "wb") as file:
            try:
                file.write(text.encode())
                file.flush()
            except OSError:
                with suppress(OSError):
                    path.unlink()
                raise
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and llmc init writes over nothing") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _ask(client: Client, host: Host, timeout: float) -> Answer:
    if not is_bare(host.url):
        problem = "its address holds a password or an escape, which belongs in no file"
        return Answer(host, {}, f"{problem}; it stays in your environment")
    try:
        with client.request("GET", f"{host.url}/api/tags", timeout=timeout) as exchange:
            status, body = exchange.status, exchange.read()
        found = json.loads(body)["models"] or []
        models = choose_models(entry for entry in found if isinstance(entry, dict))
    except RequestError as error:
        return Answer(host, {}, str(error))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Answer(host, {}, f"answers HTTP {status}, not as Ollama does")
    return Answer(host, models, "" if models else f"has no model; run: ollama pull {DEFAULT_MODEL}")


def _usable(entry: Mapping[str, Any]) -> str:
    """Return the name of a model that may write enrichments on its host, else nothing."""
    name = entry.get("name")
    if not isinstance(name, str) or len(name) > MAX_NAME or not _PLAIN.fullmatch(name):
        return ""
    return "" if is_cloud_model(name) or _NO_CHAT.search(name.lower()) else name


def _size(entry: Mapping[str, Any]) -> float:
    """Return a model's size in 10^9 parameters as the host or its name says, 0 if neither does."""
    details = entry.get("details")
    told = details.get("parameter_size") if isinstance(details, dict) else None
    found = _SIZE.search(str(told)) or _SIZE.search(str(entry.get("name")))
    if not found:
        return 0.0
    experts, number, unit = found.groups()
    return int(experts or 1) * float(number) / (1 if unit in "bB" else 1000)


def _entry(host: Host, tier: str, model: str) -> str:
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", host.label)[:64]
    return _ENTRY.format(name=f"{label}-{tier}", url=host.url, model=model, tier=tier)


def _cloud(key_names: Sequence[str]) -> str:
    if key_names:
        place = f"# no url: the gateway that your environment names by {' or '.join(key_names)}"
        return _CLOUD.format(place=place)
    return _CLOUD.format(
        place='# url = "https://api.openai.com/v1"  # what stands before /chat/completions\n'
        '# api_key_env = "OPENAI_API_KEY"  # the variable that your key is in, never the key'
    )


_HEAD = """\
# How llmc enriches this repository. Written by llmc init; change what you like.
# After a change, llmc shows what the file now allows, and asks for your word again (llmc trust).
# What a run would use, and what stands in its way: llmc doctor.
#
# Which files are left out, besides those that git ignores, is not said here: write their patterns
# into a file .ragignore beside this one, in the form of .gitignore; for instance: generated/

[enrichment]
# concurrency = 1  # requests in flight at each host, as its OLLAMA_NUM_PARALLEL allows
# cooldown_seconds = 0  # leave files alone that were changed less than so many seconds ago
# default_chain = "default"  # the chain that is used: entries may say chain = "NAME"

# An entry is one way to reach a model. Entries of the same tier share its work, in this order.
# Most spans begin at tier 7b; long ones, and those that fail there, go to 14b.
"""

_ENTRY = """\
[[enrichment.chain]]
name = "{name}"  # what the progress and the records call it
provider = "ollama"  # ollama, openai, llamacpp, or command
url = "{url}"  # without it: the hosts of ENRICH_OLLAMA_HOSTS
model = "{model}"  # as `ollama list` names it
routing_tier = "{tier}"  # 7b, 14b, or nano, which is for spans that no local model can hold
# slots = 1  # requests in flight at this host, if not as many as `concurrency` says
# keep_alive = "15m"  # how long Ollama keeps the model loaded
# timeout_seconds = 180  # for one attempt
# options = {{ num_ctx = 8192 }}  # as Ollama knows them
"""

_OLLAMA = f"""\
# Ollama, on this machine or another; none offered a model when this file was written.
# [[enrichment.chain]]
# name = "local-7b"  # what the progress and the records call it
# provider = "ollama"  # ollama, openai, llamacpp, or command
# url = "http://localhost:11434"  # without it: the hosts of ENRICH_OLLAMA_HOSTS
# model = "{DEFAULT_MODEL}"  # as `ollama list` names it
# routing_tier = "7b"  # 7b, 14b, or nano, which is for spans that no local model can hold
# slots = 1  # requests in flight at this host, if not as many as `concurrency` says
"""

_GGUF = """\
# A GGUF file of yours, run by llama.cpp in this process.
# [[enrichment.chain]]
# name = "here"  # what the progress and the records call it
# provider = "llamacpp"  # the model runs in this process
# model = "~/models/qwen2.5-7b-instruct-q4_k_m.gguf"  # none named: the small packaged model
# routing_tier = "7b"  # the tier that it serves
# options = { num_ctx = 8192, num_gpu = 99 }  # tokens it can take in, layers on the GPU
"""

_CLOUD = """\
# A cloud, for spans that no local model can hold. Your code goes there.
# [[enrichment.chain]]
# name = "cloud"  # what the progress and the records call it
# provider = "openai"  # any server that speaks as OpenAI does
# model = "gpt-4o-mini"  # a name that the server knows
# routing_tier = "nano"  # the tier that it serves
{place}
"""
