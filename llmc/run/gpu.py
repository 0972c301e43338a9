"""The load of the local GPU while an attempt runs, as `nvidia-smi` tells it.

Sampling runs beside the attempt on a thread of its own; only an attempt that is over before the
first sample waits for it, half a second at most. Where there is no `nvidia-smi`, there is nothing
to say and nothing is started.
"""

from __future__ import annotations

import math
import subprocess
import threading
import time
from types import TracebackType
from urllib.parse import urlsplit

from llmc.events import AttemptFinished, Event, EventHook, Warned
from llmc.models import GpuStats
from llmc.programs.launching import NEUTRAL_FOLDER, STANDARD, SearchPath

INTERVAL_SEC = 1.0
QUERY_TIMEOUT_SEC = 5.0
FIRST_SAMPLE_SEC = 0.5
"""How long a short attempt waits at its end for the one sample that is under way."""

LOW_UTIL_PERCENT = 50.0
LOW_UTIL_STREAK_SEC = 300.0
LOW_VRAM_MIB = 6800.0
"""What a 7b model at 4 bits takes: less means that it does not run on the GPU as a whole."""

LOOK_AGAIN_SEC = 60.0
"""How often a program that is not there is looked for."""

Sample = tuple[float, float]
"""Utilisation in percent, memory in MiB."""

_QUERY = ("-i", "0", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")


def is_local(url: str | None) -> bool:
    """Tell whether a URL's host is this machine; one that can't be parsed counts as local."""
    try:
        name = (urlsplit(url or "").hostname or "").lower()
    except ValueError:
        return True
    return name in ("", "localhost", "127.0.0.1", "::1") or name.endswith(
        (".local", ".localdomain")
    )


class GpuSampler:
    """Samples GPU 0 once a second while it is entered; `stats` is complete afterwards.

    However many attempts run side by side, `nvidia-smi` is asked once a second. `search` is where
    it is looked for.
    """

    def __init__(self, search: SearchPath = STANDARD) -> None:
        self._search = search
        self._samples: list[Sample] = []
        self._sampled = threading.Event()
        self._is_fed = False

    def __enter__(self) -> GpuSampler:
        self._is_fed = _FEED.join(self, self._search)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_fed:
            self._sampled.wait(FIRST_SAMPLE_SEC)
            _FEED.leave(self)

    def take(self, sample: Sample | None) -> None:
        """Take a sample, or word that there is none to be had."""
        if sample:
            self._samples.append(sample)
        self._sampled.set()

    @property
    def stats(self) -> GpuStats:
        samples = list(self._samples)
        if not samples:
            return GpuStats()
        utils, memories = zip(*samples, strict=True)
        return GpuStats(
            util_avg=sum(utils) / len(utils),
            util_max=max(utils),
            vram_avg_mib=sum(memories) / len(memories),
            vram_max_mib=max(memories),
        )


class _Feed:
    """One thread that samples for all who have joined, and ends when the last has left."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._members: set[GpuSampler] = set()
        self._thread: threading.Thread | None = None
        self._program: str | None = None
        self._looked: tuple[float, SearchPath | None] = (0.0, None)
        self._last: tuple[float, Sample | None] = (-INTERVAL_SEC, None)

    def join(self, member: GpuSampler, search: SearchPath) -> bool:
        """Have samples sent; return False if there is nothing to sample with."""
        with self._changed:
            now = time.monotonic()
            if self._looked[1] != search or now - self._looked[0] >= LOOK_AGAIN_SEC:
                self._program, self._looked = search.find("nvidia-smi"), (now, search)
            if self._program is None:
                return False
            if self._members and now - self._last[0] < INTERVAL_SEC:
                member.take(self._last[1])
            self._members.add(member)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(self._program,), name="llmc-gpu", daemon=True
                )
                self._thread.start()
            return True

    def leave(self, member: GpuSampler) -> None:
        with self._changed:
            self._members.discard(member)
            if not self._members:
                self._thread = None  # whoever comes next begins with a sample of its own
                self._last = (-INTERVAL_SEC, None)
                self._changed.notify_all()

    def _run(self, program: str) -> None:
        this = threading.current_thread()
        while True:
            sample = _sample(program)
            with self._changed:
                if self._thread is not this:
                    return
                self._last = (time.monotonic(), sample)
                for member in self._members:
                    member.take(sample)
                if self._changed.wait_for(lambda: self._thread is not this, INTERVAL_SEC):
                    return


_FEED = _Feed()


class LoadWatch:
    """Notices a GPU that has little to do over the attempts of a run."""

    def __init__(self) -> None:
        self._streak_sec = 0.0
        self._said_vram = False

    def warnings(self, stats: GpuStats, duration_sec: float) -> list[str]:
        """Take one attempt's load; return what the user should be told now."""
        found = []
        if stats.util_avg is not None:
            low = stats.util_avg < LOW_UTIL_PERCENT
            self._streak_sec = self._streak_sec + duration_sec if low else 0.0
            if self._streak_sec >= LOW_UTIL_STREAK_SEC:
                found.append(
                    f"GPU below {LOW_UTIL_PERCENT:.0f} % for {self._streak_sec:.0f} s; "
                    "does the model fit it (num_gpu), or is another program in the way?"
                )
                self._streak_sec = 0.0
        if stats.vram_max_mib is not None and stats.vram_max_mib < LOW_VRAM_MIB:
            if not self._said_vram:
                found.append(
                    f"GPU memory peaks at {stats.vram_max_mib:.0f} MiB, below {LOW_VRAM_MIB:.0f}; "
                    "the model may be running on the processor"
                )
            self._said_vram = True
        return found


class LoadHook:
    """Warns of an idle GPU as attempts come in; those side by side don't make the time longer."""

    def __init__(self, tell: EventHook) -> None:
        self._tell = tell
        self._watch = LoadWatch()
        self._told_at = time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptFinished):
            now = time.monotonic()
            seconds, self._told_at = min(event.outcome.duration_sec, now - self._told_at), now
            for warning in self._watch.warnings(event.outcome.gpu, seconds):
                self._tell(Warned(warning))


def _sample(program: str) -> Sample | None:
    try:
        result = subprocess.run(
            [program, *_QUERY],
            cwd=NEUTRAL_FOLDER,
            capture_output=True,
            text=True,
            timeout=QUERY_TIMEOUT_SEC,
            check=True,
        )
        util, memory = result.stdout.strip().splitlines()[0].split(",")[:2]
        sample = float(util), float(memory)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return sample if all(map(math.isfinite, sample)) else None
