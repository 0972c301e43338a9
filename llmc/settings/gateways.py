"""The gateway: the one cloud server that the user's environment names, or a program of theirs.

Each cloud has variables of its own, and a key goes to its cloud's own address, or to the one that
the user named beside it (OPENAI_BASE_URL, AZURE_OPENAI_ENDPOINT), nowhere else. Where variables of
several clouds are set, none is taken: who gets the code, and whose key pays for it, is for the user
to say, not for an order of precedence that nobody remembers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from llmc.errors import ConfigError
from llmc.net.places import host_of
from llmc.programs.launching import SearchPath, pick_listed, pick_minimal
from llmc.settings.addresses import name_call, read_azure_uri, read_base_url

CLOUDS = ("azure", "gemini", "openai")
CHOICE = "LLMC_GATEWAY"

OPENAI_BASE_URL = "https://api.openai.com/v1"
GEMINI_BASE_URL = "https://generativelanguage.googleapis.com/v1beta/openai"
UNNAMED_MODEL = "default"
"""What is sent as the model where the user names none."""

AZURE_API_VERSION = "2024-10-21"
"""The GA version of the Azure OpenAI data plane that has json_schema response formats."""

KEYS = {"azure": "AZURE_OPENAI_KEY", "gemini": "GEMINI_API_KEY", "openai": "OPENAI_API_KEY"}
"""The variable that each cloud's key is in."""

_DEFAULTS = {
    "LLM_DISABLED": "false",
    "NEXT_PUBLIC_LLM_DISABLED": "false",
    "LLM_GATEWAY_DISABLE_RAG": "1",
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_AZURE = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_KEY", "AZURE_OPENAI_DEPLOYMENT")
_NAMED_BY = {
    "azure": _AZURE,
    "gemini": ("GEMINI_API_KEY",),
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
}
_NONE = (
    "no gateway is configured; set OPENAI_BASE_URL or OPENAI_API_KEY, GEMINI_API_KEY, or "
    "AZURE_OPENAI_ENDPOINT, _KEY and _DEPLOYMENT, or use --gateway-path"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server: the chat completions URL, the model and how to sign in."""

    url: str
    """The whole URL of a call."""

    model: str
    """The model that is asked for."""

    label: str
    """Its name in the records."""

    key: SecretStr | None = None
    """What signs in; None: nothing does."""

    key_header: str = "authorization"
    """The header that the key goes in."""

    key_name: str = ""
    """The variable that the key is, or would be, in."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """A program if `program` is set, else `endpoint`, else none, and `trouble` may say why."""

    program: Path | None = None
    """The program that is the gateway."""

    timeout: float = 300.0
    """Seconds of one call."""

    debug: bool = False
    """Whether the program is asked to say more."""

    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the program gets."""

    endpoint: Endpoint | None = None
    """The server that is the gateway."""

    trouble: str = ""
    """Why there is none though variables name one."""

    label: str = "gemini"
    """The model in the records."""

    is_azure: bool = False
    """Whether a deployment of Azure's names it, whatever model is asked for."""

    @property
    def configured(self) -> bool:
        return self.program is not None or self.endpoint is not None

    def server(self) -> Endpoint:
        """Return the server that is the gateway. Raises ConfigError if there isn't just one."""
        if self.endpoint is None:
            raise ConfigError(self.trouble or _NONE)
        return self.endpoint

    def for_model(self, model: str | None) -> GatewaySettings:
        """Return the gateway as if GEMINI_MODEL were `model`, itself if that is None or empty."""
        if not model:
            return self
        endpoint = self.endpoint
        if endpoint and endpoint.key_name != KEYS["azure"]:
            endpoint = replace(endpoint, model=model, label=model)
        return replace(
            self,
            environ={**self.environ, "GEMINI_MODEL": model},
            endpoint=endpoint,
            label=self.label if self.is_azure else model,
        )

    def signed(self, key_name: str | None, key: SecretStr | None) -> Endpoint:
        """Return the gateway's server with the key of an entry, if that has one.

        Raises ConfigError if the key is another cloud's, or there is no such server.
        """
        endpoint = self.server()
        if not key or not key_name:
            return endpoint
        if key_name in KEYS.values() and key_name != endpoint.key_name:
            raise ConfigError(
                f"api_key_env is {key_name!r}, but the gateway is {host_of(endpoint.url)}, and a "
                "key goes to its own cloud only; name its address beside it (url), or drop "
                "api_key_env"
            )
        return replace(endpoint, key=key, key_name=key_name)


def choose(environ: Mapping[str, str], chosen: str | None) -> tuple[Endpoint | None, str]:
    """Return the server that the environment's cloud variables name, and what is wrong with them.

    `chosen` is one of CLOUDS, None to go by the variables alone: if those name none, nothing is
    wrong.
    """
    if chosen and chosen not in CLOUDS:
        return None, f"${CHOICE} is {chosen!r}; it can be one of {', '.join(CLOUDS)}"
    clouds = (chosen,) if chosen else CLOUDS
    try:
        named = {cloud: found for cloud in clouds if (found := _endpoint(cloud, environ))}
    except ConfigError as error:
        return None, str(error)
    if chosen and not named:
        return None, _missing(chosen, environ)
    first = next(iter(named.values()), None)
    if first and not all(_is_the_same(first, other) for other in named.values()):
        return None, _ambiguous(named, environ)
    return first, ""


def make_program_environ(
    environ: Mapping[str, str], names: Iterable[str] | None, search: SearchPath
) -> dict[str, str]:
    """Return what a gateway program gets of the user's environment.

    That is what every program needs, what such programs go by, and what is listed in `names`; all,
    if that is None. Raises ConfigError for what is no name.
    """
    if names is None:
        return {**_DEFAULTS, **environ}
    wanted = ("GEMINI_MODEL", *_DEFAULTS, *names)
    if wrong := next((name for name in wanted if not _VARIABLE.fullmatch(name)), None):
        # Somebody may have put a value behind the name.
        raise ConfigError(
            f"--gateway-env and $LLMC_GATEWAY_ENV take names of variables, without their values; "
            f"{wrong.partition('=')[0]!r} is none, or has one"
        )
    return {**_DEFAULTS, **pick_minimal(environ, search), **pick_listed(environ, wanted)}


def is_azure(environ: Mapping[str, str]) -> bool:
    """Tell whether Azure's variables are all set: then its deployment names the model."""
    return all(environ.get(name) for name in _AZURE)


def find_label(environ: Mapping[str, str]) -> str:
    """Return the name in the records of a model that isn't Azure's."""
    return environ.get("GEMINI_MODEL", "gemini")


def wrap_secret(value: str) -> SecretStr:
    """Return a key without the line end that one read from a file often has."""
    return SecretStr(value.strip())


def _endpoint(cloud: str, environ: Mapping[str, str]) -> Endpoint | None:
    """Return a cloud's server, None if its variables don't name it."""
    value = environ.get(KEYS[cloud])
    found = _BUILT[cloud](environ, wrap_secret(value) if value else None)
    return replace(found, key_name=KEYS[cloud]) if found else None


def _azure(environ: Mapping[str, str], key: SecretStr | None) -> Endpoint | None:
    name, _, deployment = _AZURE
    if key is None or not environ.get(name):
        return None
    base, meant, version = read_azure_uri(environ[name], name)
    model = environ.get(deployment) or meant
    if not model:
        return None
    if meant and meant != model:
        raise ConfigError(
            f"{name} names the deployment {meant!r}, {deployment} {model!r}; let {name} be {base}, "
            f"or unset {deployment}"
        )
    version = environ.get("AZURE_OPENAI_API_VERSION") or version or AZURE_API_VERSION
    path = f"/openai/deployments/{quote(model, safe='')}/chat/completions"
    return Endpoint(f"{base}{path}?api-version={version}", model, model, key, "api-key")


def _gemini(environ: Mapping[str, str], key: SecretStr | None) -> Endpoint | None:
    if key is None:
        return None
    model = environ.get("GEMINI_MODEL") or "gemini-2.5-flash-lite"
    return Endpoint(f"{GEMINI_BASE_URL}/chat/completions", model, find_label(environ), key)


def _openai(environ: Mapping[str, str], key: SecretStr | None) -> Endpoint | None:
    named = environ.get("OPENAI_BASE_URL", "").strip()
    if not named and key is None:
        return None
    base = read_base_url(named, "OPENAI_BASE_URL") if named else OPENAI_BASE_URL
    model = environ.get("OPENAI_MODEL") or environ.get("GEMINI_MODEL") or UNNAMED_MODEL
    return Endpoint(name_call(base), model, find_label(environ), key)


_BUILT = {"azure": _azure, "gemini": _gemini, "openai": _openai}


def _is_the_same(one: Endpoint, other: Endpoint) -> bool:
    """Tell whether it makes no difference who is asked: the same host, with the same key if any.

    So OPENAI_BASE_URL may be Gemini's own address beside GEMINI_API_KEY.
    """
    same_key = other.key is None or one.key == other.key
    return host_of(one.url) == host_of(other.url) and same_key


def _ambiguous(named: Mapping[str, Endpoint], environ: Mapping[str, str]) -> str:
    names = [name for cloud in named for name in _NAMED_BY[cloud] if environ.get(name)]
    clouds = " or ".join(named)
    return (
        f"{', '.join(names[:-1])} and {names[-1]} are set, and name more than one gateway; choose "
        f"with ${CHOICE} (llmc: also --gateway), which can be {clouds}, or unset what is not meant"
    )


def _missing(cloud: str, environ: Mapping[str, str]) -> str:
    missing = [name for name in _NAMED_BY[cloud] if not environ.get(name)]
    needed = " or ".join(missing) if cloud == "openai" else ", ".join(missing)
    return f"the gateway is to be {cloud}; for that, set {needed}"
