"""A disk that fills up, or may not be written to, stops a run cleanly: what the hosts had delivered
is stored, and the next run goes on. Real small disks are mounted for it, which takes root."""

import random
import shutil
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from llmc.testing.ollama import FakeOllama
from tests.chaos import world as w

SPANS = 2000 if w.LONG else 300
ROUNDS = 20 if w.LONG else 3
DISK = "size=6m"


def mount(*words):
    """Mount something; skip the test where that is not permitted."""
    if shutil.which("mount") is None:
        pytest.skip("no disk can be mounted here: there is no mount")
    done = subprocess.run(["mount", *words], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no disk can be mounted here: that takes root")


@contextmanager
def mounted(place, *words):
    """Mount something at a place while the block runs."""
    mount(*words, place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 6 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, "-t", "tmpfs", "-o", DISK, "tmpfs"):
        yield place


@pytest.fixture
def hosts():
    """Two hosts that take 20 ms for a reply."""
    with ExitStack() as stack:
        yield [stack.enter_context(FakeOllama(latency=0.02)) for _ in range(2)]


def fill(disk):
    """Leave no room at all; return the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(4096))
    return ballast


def delivered(hosts):
    """Return the functions that a host has described, each reply whole."""
    calls = [call for host in hosts for call in host.calls]
    assert not any(call.disconnected for call in calls)
    return sorted(w.name_in(call.prompt) for call in calls)


def described(world):
    """Return the functions whose description is stored."""
    with w.looked_at(world.index) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = database.execute("SELECT symbol FROM spans JOIN enrichments USING (span_hash)")
        return sorted(row[0] for row in rows)


def test_all_that_was_delivered_before_the_disk_was_full_is_stored(
    small_disk, clean_environ, hosts, seed
):
    rng = random.Random(seed)
    world = w.World(w.make_repository(small_disk / "repo"), clean_environ)
    world = world.with_hosts(*(host.url for host in hosts))
    w.write_functions(world.repo, range(SPANS))
    for _ in range(ROUNDS):
        before = len(delivered(hosts))
        run = world.start("enrich", "--slots", "4")
        wanted = before + rng.randint(1, SPANS // 2 // ROUNDS)
        w.wait_until(lambda wanted=wanted: len(delivered(hosts)) >= wanted, run)
        ballast = fill(small_disk)
        assert run.wait() == 2, run.said
        assert "free some disk space" in run.said.splitlines()[-1]
        assert described(world) == delivered(hosts)
        w.assert_clean_end(world)
        ballast.unlink()
    mount("-o", "remount,size=64m", small_disk)
    status, said = world.run("enrich", "--slots", "4")
    assert status == 0, said
    assert described(world) == delivered(hosts)
    assert len(described(world)) == SPANS
    world.audit("--rebuild")
    assert world.audit()["twice"] == []
    print(f"{ROUNDS} times a full disk: every one of {SPANS} replies stored, none asked for twice")


def test_a_full_disk_of_the_logs_stops_the_run_and_a_rebuild_writes_the_missing_lines(
    tmp_path, clean_environ, hosts
):
    world = w.World(w.make_repository(tmp_path / "repo"), clean_environ)
    world = world.with_hosts(*(host.url for host in hosts))
    w.write_functions(world.repo, range(SPANS))
    logs = world.repo / "logs"
    logs.mkdir()
    with mounted(logs, "-t", "tmpfs", "-o", "size=100k", "tmpfs"):
        status, said = world.run("enrich", "--slots", "4")
        assert status == 2, said
        assert "free some disk space" in said.splitlines()[-1]
        assert described(world) == delivered(hosts)
        assert 0 < len(described(world)) < SPANS
        mount("-o", "remount,size=10m", logs)
        missing = world.audit("--rebuild")["missing"]
        assert 0 < len(missing) <= 4 * 2 * 2
        status, said = world.run("enrich", "--slots", "4")
        assert status == 0, said
        assert described(world) == delivered(hosts)
        assert world.audit()["missing"] == []


def test_a_disk_without_room_for_the_reserve_is_told_of_before_any_call(
    small_disk, clean_environ, hosts
):
    world = w.World(w.make_repository(small_disk / "repo"), clean_environ)
    world = world.with_hosts(*(host.url for host in hosts))
    w.write_functions(world.repo, range(SPANS))
    world.run("index")
    ballast = fill(small_disk)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - 1024 * 1024)
    status, said = world.run("enrich")
    assert status == 2
    assert "free some disk space" in said.splitlines()[-1]
    assert delivered(hosts) == []
    w.assert_clean_end(world)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_index_that_may_not_be_written_to_is_told_of_before_any_call(
    tmp_path, clean_environ, hosts, what
):
    world = w.World(w.make_repository(tmp_path / "repo"), clean_environ)
    world = world.with_hosts(*(host.url for host in hosts))
    w.write_functions(world.repo, range(4))
    world.run("index")
    place = world.index if what == "file" else world.index.parent
    with mounted(place, "--bind", place):
        mount("-o", "remount,bind,ro", place)
        status, said = world.run("enrich")
        assert (status, delivered(hosts)) == (2, []), said
        last = said.splitlines()[-1]
        assert last.startswith("llmc: ")
        assert str(place) in last
        assert ("permission" if what == "file" else "mount it for writing") in last
        status, said = world.run("status")
        assert status == 0
        assert "4 spans: 0 enriched, 4 pending, 0 failed" in said
    status, said = world.run("enrich")
    assert status == 0, said
    assert len(described(world)) == 4


@pytest.fixture
def failing_disk(tmp_path):
    """A disk, and a file that makes it read-only when it is written to, as an error would."""
    image, place = tmp_path / "image", tmp_path / "repo"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no disk can be made here: there is no mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    with mounted(place, "-o", "loop,errors=remount-ro", image):
        mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
        device = next(Path(words[0]).name for words in mounts if words[1] == str(place))
        trigger = Path("/sys/fs/ext4", device, "trigger_fs_error")
        if not trigger.exists():
            pytest.skip("no disk can be made to fail here")
        yield place, trigger


def test_a_disk_that_becomes_read_only_in_mid_run_ends_it_and_what_was_stored_stays(
    failing_disk, clean_environ, hosts
):
    disk, trigger = failing_disk
    world = w.World(w.make_repository(disk), clean_environ)
    world = world.with_hosts(*(host.url for host in hosts))
    w.write_functions(world.repo, range(SPANS))
    run = world.start("enrich", "--slots", "4")
    w.wait_until(lambda: len(delivered(hosts)) >= 40, run)
    trigger.write_text("1")
    assert run.wait() == 2, run.said
    last = run.said.splitlines()[-1]
    assert last.startswith("llmc: ")
    assert "mount it for writing" in last
    assert "Traceback" not in run.said
    assert len(described(world)) >= 40 - 2 * 4 * 2
    for command in ("status", "index", "enrich"):
        status, said = world.run(command)
        assert status == (0 if command == "status" else 2), said
        assert "Traceback" not in said
        assert command == "status" or "mount it for writing" in said.splitlines()[-1]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.9])
def test_a_half_written_index_costs_no_more_than_what_cannot_be_read_from_it(
    tmp_path, clean_environ, hosts, share
):
    world = w.World(w.make_repository(tmp_path / "repo"), clean_environ)
    world = world.with_hosts(*(host.url for host in hosts))
    w.write_functions(world.repo, range(60))
    assert world.run("enrich", "--slots", "8")[0] == 0
    whole = world.index.read_bytes()
    world.index.write_bytes(whole[: int(len(whole) * share)])
    before = len(delivered(hosts))
    status, said = world.run("enrich", "--slots", "8")
    assert status == 0, said
    assert len(described(world)) == 60
    again = len(delivered(hosts)) - before
    print(f"{share:.1%} of the index left: {60 - again} of 60 results saved")
    aside = list(world.index.parent.glob("*.corrupt-*"))
    assert len(aside) == (share > 0)
    for kept in aside:
        assert kept.read_bytes() == whole[: int(len(whole) * share)]
        assert str(kept) in said
