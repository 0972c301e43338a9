"""A model of a few kilobytes, in packages that pip takes from a folder."""

from __future__ import annotations

import hashlib
import random
import zipfile
from dataclasses import replace
from pathlib import Path

from llmc.settings.catalogue import Model, Part

SIZES = (60_000, 20_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_pieces(seed: int = 0) -> list[bytes]:
    """Return the pieces of a model's file."""
    rand = random.Random(seed)
    pieces = [rand.randbytes(size) for size in SIZES]
    return [b"GGUF" + pieces[0][4:], *pieces[1:]]


def make_wheel(folder: Path, number: int, data: bytes) -> Path:
    """Write the wheel of a package `tiny-model-partN` that holds some data."""
    name = f"tiny_model_part{number}"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    files: dict[str, bytes | str] = {
        f"{name}/__init__.py": "raise SystemExit('nobody may import this')\n",
        f"{name}/data/part.bin": data,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(zipfile.ZipInfo(file), content)  # without the time of day
    return path


def make_model(folder: Path, pieces: list[bytes]) -> Model:
    """Write the wheels of a model into a folder, and return its entry of a catalogue."""
    parts = tuple(
        Part(
            f"tiny-model-part{number}",
            "1.0",
            sha256(make_wheel(folder, number, data).read_bytes()),
            f"tiny_model_part{number}/data/part.bin",
            len(data),
            sha256(data),
        )
        for number, data in enumerate(pieces, 1)
    )
    whole = b"".join(pieces)
    model = Model("tiny", "for tests", "MIT", "tiny.gguf", len(whole), 1, sha256(whole))
    return replace(model, parts=parts)
