"""The second source: the publisher's own release, fetched by `huggingface_hub`, which is an extra.

Where that is asked is its own business and the user's ($HF_ENDPOINT); it is given no token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from llmc.backends.weights.downloads import pick_environ, pick_line, run
from llmc.errors import ConfigError
from llmc.settings.catalogue import Model

_MISSING = 3
_PROGRAM = f"""
import sys
try:
    from huggingface_hub import hf_hub_download
except ImportError:
    sys.exit({_MISSING})
hf_hub_download(sys.argv[1], sys.argv[2], local_dir=sys.argv[3], token=False)
"""
_QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
}


def download(
    model: Model, folder: Path, environ: Mapping[str, str], grow: Callable[[int], None]
) -> Path:
    """Fetch a model's file into a folder, where an earlier fetch is gone on with.

    Raises ConfigError if it can't be had.
    """
    told = pick_environ(environ, ("HF_ENDPOINT", "HF_HUB_"), folder) | _QUIET
    told["HF_HOME"] = str(folder / "home")
    words = (model.publisher, model.file, str(folder))
    status, said = run(_PROGRAM, words, told, folder, grow)
    if status == _MISSING:
        raise ConfigError("huggingface_hub is not installed: pip install 'llmc[publisher]'")
    if status:
        raise ConfigError(f"{model.publisher}: huggingface_hub says: {pick_line(said)}")
    return folder / model.file
