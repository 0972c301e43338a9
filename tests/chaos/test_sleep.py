"""A run that is stopped for longer than its claims last pays for nothing that others have done."""

import signal
import time

import pytest

from llmc.run.lease import LEASE_SEC
from llmc.testing.ollama import FakeOllama
from tests.chaos import world as w

SPANS = 40
SLOTS = 2


@pytest.mark.skipif(not w.LONG, reason="takes more than the two minutes of a lease: LLMC_CHAOS=1")
def test_a_run_that_overslept_leaves_alone_what_another_has_taken(tmp_path, clean_environ):
    with FakeOllama(latency=0.3) as host:
        world = w.World(w.make_repository(tmp_path / "repo"), clean_environ).with_hosts(host.url)
        w.write_functions(world.repo, range(SPANS))
        sleeper = world.start("enrich", "--slots", str(SLOTS))
        w.wait_until(lambda: len(host.calls) > 4, sleeper)
        sleeper.process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_SEC + 5)
        status, said = world.run("enrich", "--slots", str(SLOTS))
        assert status == 0, said
        sleeper.process.send_signal(signal.SIGCONT)
        assert sleeper.wait() == 0, sleeper.said
        calls = len(host.calls)
    assert SPANS <= calls <= SPANS + SLOTS
    w.assert_clean_end(world)
    with w.looked_at(world.index) as database:
        assert len(w.stored(database)) == SPANS
    assert "0 left" in sleeper.said
    print(
        f"asleep for {LEASE_SEC + 5:.0f} s: {calls - SPANS} calls made twice, of {SLOTS} in flight"
    )
