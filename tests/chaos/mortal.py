"""A process that opens an index, and is killed at a call of its choice: any call, also of C."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from llmc.engine import open_store
from llmc.events import Event, Warned
from llmc.models import IndexPlace


def main(path: str, at: int) -> None:
    """Open an index; die at the call of this number, or say how many there are (0)."""
    calls = exchange = 0

    def count(frame: FrameType, kind: str, _: object) -> None:
        nonlocal calls, exchange
        if kind in ("call", "c_call"):
            calls += 1
            if frame.f_code.co_name == "exchange":
                exchange = exchange or calls
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)

    place = IndexPlace(Path(path), environ=dict(os.environ))
    sys.setprofile(count)
    store = open_store(place, (_say,))
    sys.setprofile(None)
    store.close()
    print(json.dumps({"calls": calls, "exchange": exchange}))


def _say(event: Event) -> None:
    if isinstance(event, Warned):
        print(event.message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
