"""A locale in which Python can't name every file is in nobody's way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def named(repo: Path) -> Path:
    """A repository with names, rules and code beyond ASCII."""
    (repo / "café.py").write_text('def café(x):\n    """Zurück."""\n    return x + x\n')
    (repo / "dé").mkdir()
    (repo / "dé/b.py").write_text("def b():\n    return 1 + 1\n")
    (repo / ".ragignore").write_text("# é\n/öde.py\n")
    (repo / "öde.py").write_text("def nothing():\n    return 1 + 1\n")
    return repo


@pytest.fixture(scope="session")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What sets a locale whose encoding is Latin-1."""
    folder, name = tmp_path_factory.mktemp("locales"), "de_DE.ISO-8859-1"
    try:
        made: list[str | Path] = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", folder / name]
        subprocess.run(made, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no locale can be made here")
    return {"LOCPATH": str(folder), "LC_ALL": name}


def run(*words: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    command: list[str | Path] = [sys.executable, *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False, timeout=120)


def test_in_the_bare_c_locale_every_file_is_indexed_and_shown(named, clean_environ):
    env = clean_environ | BARE
    indexed = run("-m", "llmc", "index", named, env=env)
    assert (indexed.returncode, indexed.stderr) == (0, b"")
    assert b"in 3 files" in indexed.stdout
    shown = run("-m", "llmc", "show", "--repo", named, "café.py", env=env)
    assert "café.py:1-3 café" in shown.stdout.decode()


def test_in_a_latin_1_locale_too_and_the_output_is_in_its_encoding(named, clean_environ, latin):
    env = clean_environ | latin
    assert b"in 3 files" in run("-m", "llmc", "index", named, env=env).stdout
    shown = run("-m", "llmc", "show", "--repo", named, "café.py", env=env)
    assert "café.py:1-3 café" in shown.stdout.decode("latin-1")


def test_the_batch_driver_works_in_the_bare_c_locale(named, clean_environ):
    env = clean_environ | BARE | {"ENRICH_HEALTHCHECK_ENABLED": "0"}
    run("-m", "llmc", "index", named, env=env)
    dry = run("scripts/qwen_enrich_batch.py", "--repo", named, "--dry-run", env=env)
    assert dry.returncode == 0, dry.stderr
    assert "café.py" in dry.stdout.decode()


def test_used_as_a_library_it_says_what_to_do(named, clean_environ):
    code = (
        "import sys; from pathlib import Path; from llmc import ConfigError, index\n"
        "try: index(Path(sys.argv[1]))\n"
        "except ConfigError as error: print(error)"
    )
    assert b"PYTHONUTF8=1" in run("-c", code, named, env=clean_environ | BARE).stdout
