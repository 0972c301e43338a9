"""What is trusted is kept outside of every repository, and holds for those very files."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.errors import ConfigError
from llmc.settings import trust
from llmc.settings.config import Settings
from llmc.settings.documents import CONFIG_FILE, PRESET_FILE, SettingsFile
from llmc.settings.files import read_all
from llmc.settings.loading import load_settings
from tests.running import entry

AWAY = "http://away.example:8000/v1"


@dataclass
class Trusted:
    """A repository that is trusted, and where that is kept."""

    repo: Path
    folder: Path
    env: dict[str, str]

    @property
    def now(self) -> Settings:
        return load_settings(self.repo, environ=self.env)


@pytest.fixture
def trusted(repo: Path, own_folder: Path, own_environ: dict[str, str]) -> Trusted:
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    trust.grant(own_folder, repo, read_all(repo), ["send your code away"])
    found = Trusted(repo, own_folder, own_environ)
    assert found.now.sources.trusted
    return found


def test_trust_needs_nothing_more(trusted: Trusted) -> None:
    assert trusted.now.unmet() == ()


def test_it_is_readable_by_the_user_alone(trusted: Trusted) -> None:
    files = [path for path in trusted.folder.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CONFIG_FILE, entry("x", url=AWAY) + "# one more\n"),
        (PRESET_FILE, "model: m\n"),
        ("router/policy.json", "{}"),
    ],
)
def test_a_change_of_any_settings_file_ends_it(trusted: Trusted, name: str, text: str) -> None:
    (trusted.repo / name).parent.mkdir(exist_ok=True)
    (trusted.repo / name).write_text(text)
    assert [need.kind for need in trusted.now.unmet()] == ["host"]


def test_it_holds_for_that_folder_alone(trusted: Trusted, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    trusted.repo.rename(copy)
    assert load_settings(copy, environ=trusted.env).unmet()


def test_it_holds_by_whatever_link_the_folder_is_reached(trusted: Trusted, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(trusted.repo)
    assert load_settings(tmp_path / "link", environ=trusted.env).sources.trusted


def test_revoked_it_is_gone_with_what_was_kept(trusted: Trusted) -> None:
    assert trust.revoke(trusted.folder, trusted.repo)
    assert not trust.revoke(trusted.folder, trusted.repo)
    assert not trusted.now.sources.trusted
    assert list((trusted.folder / trust.COPIES).iterdir()) == []


def test_a_change_is_shown_as_a_diff(trusted: Trusted) -> None:
    (trusted.repo / CONFIG_FILE).write_text(entry("x", url="http://worse.example"))
    lines = trust.list_changes(trusted.folder, trusted.repo, read_all(trusted.repo))
    assert lines is not None
    assert f'-url = "{AWAY}"' in lines
    assert '+url = "http://worse.example"' in lines


def test_without_a_change_there_is_no_diff(trusted: Trusted) -> None:
    assert trust.list_changes(trusted.folder, trusted.repo, read_all(trusted.repo)) == []


@pytest.mark.parametrize("damage", ["gone", "another text"])
def test_a_kept_copy_that_is_not_what_was_trusted_is_not_shown(
    trusted: Trusted, damage: str
) -> None:
    [copy] = (trusted.folder / trust.COPIES).iterdir()
    copy.unlink() if damage == "gone" else copy.write_text("harmless = true\n")
    (trusted.repo / CONFIG_FILE).write_text("")
    lines = trust.list_changes(trusted.folder, trusted.repo, read_all(trusted.repo))
    assert lines == ["llmc.toml has changed; what it was is not kept any more"]


DAMAGE: dict[str, str | bytes] = {
    "no TOML": "[[repository",
    "not UTF-8": b"\xff",
    "another shape": "repository = 5\n",
    "a key of ours missing": '[[repository]]\npath = "/x"\n',
    "a key that is none of ours": "more = 1\n",
    "a repository twice": (
        2 * '[[repository]]\npath = "/x"\ntrusted_at = ""\nfiles = {}\ngranted = []\n'
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_store_is_an_error_and_no_trust(trusted: Trusted, damage: str) -> None:
    text = DAMAGE[damage]
    store = trusted.folder / trust.STORE
    store.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = trusted.now
    assert not found.sources.trusted
    for refuse in (
        found.require_trust,
        lambda: trust.grant(trusted.folder, trusted.repo, found.sources.files, []),
        lambda: trust.revoke(trusted.folder, trusted.repo),
    ):
        with pytest.raises(ConfigError, match="damaged") as caught:
            refuse()
        assert str(store) in str(caught.value)


def test_others_may_not_write_to_it(trusted: Trusted) -> None:
    (trusted.folder / trust.STORE).chmod(0o666)
    with pytest.raises(ConfigError, match="written to by others"):
        trusted.now.require_trust()


def test_a_user_without_a_home_trusts_nothing(trusted: Trusted) -> None:
    with pytest.raises(ConfigError, match="XDG_CONFIG_HOME"):
        load_settings(trusted.repo, environ={}).require_trust()


@pytest.mark.parametrize("place", ["config", "."])
def test_a_store_inside_the_repository_is_not_believed(
    trusted: Trusted, place: str, tmp_path: Path
) -> None:
    inside = trusted.repo / place
    inside.mkdir(exist_ok=True)
    trusted.folder.rename(inside / "llmc")
    (tmp_path / "link").symlink_to(inside)
    for way in (inside, tmp_path / "link"):
        trusted.env["XDG_CONFIG_HOME"] = str(way)
        with pytest.raises(ConfigError, match="lies inside the repository"):
            trusted.now.require_trust()
        with pytest.raises(ConfigError, match="lies inside the repository"):
            trust.grant(way / "llmc", trusted.repo, trusted.now.sources.files, [])


def test_a_path_that_is_not_utf8_cannot_be_trusted(tmp_path: Path, own_folder: Path) -> None:
    repo = tmp_path / os.fsdecode(b"\xff")
    repo.mkdir()
    (repo / CONFIG_FILE).write_text(entry("x", url=AWAY))
    with pytest.raises(ConfigError, match="not UTF-8"):
        trust.grant(own_folder, repo, read_all(repo), [])
    assert not trust.is_trusted(own_folder, repo, read_all(repo))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_whatever_a_path_or_a_sentence_holds_is_kept(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("user")
    repo = Path("/", text.replace("\0", ""), "\"'\\\x7f\U0001f600")
    file = SettingsFile(CONFIG_FILE, repo / CONFIG_FILE, text.encode(), {})
    trust.grant(folder, repo, {CONFIG_FILE: file}, [text])
    [record] = trust.read_records(folder).values()
    assert (record.path, record.granted) == (str(repo), [text])
    assert tomllib.loads((folder / trust.STORE).read_text())
    assert trust.is_trusted(folder, repo, {CONFIG_FILE: file})
