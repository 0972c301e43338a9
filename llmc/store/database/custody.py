"""Whose file is it? Asked of an index and of everything beside it, before any of it is opened.

What stands below a repository may have come with it: a link that leads to any file of the user, a
journal, a file of somebody else's, an index that git carries from hand to hand. Such files are
refused, with what to do. A path outside of the repository is the user's own word.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from llmc.errors import ConfigError, StoreError
from llmc.models import IndexPlace
from llmc.programs.git import Git

_BESIDE = re.compile(r"(?:-wal|-shm|-journal|\.kept|\.rescued?|\.runs|\.reserve(?:-[0-9]+)?)?")
_JOURNALS = ("-wal", "-shm", "-journal")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
GIT_SECONDS = 15.0
"""For a question about a few names; a repository can make git wait, by a pipe among them."""

_ELSEWHERE = "or name a place outside of the repository in LLMC_RAG_INDEX_PATH"


def locate(index: IndexPlace | Path) -> Path:
    """Return where an index really is: who opens it through a link must meet the same owners.

    No link below its repository is followed.
    """
    return _settled(make_place(index))[0]


def make_place(index: IndexPlace | Path) -> IndexPlace:
    """Return a path alone as a place that is the user's word."""
    return index if isinstance(index, IndexPlace) else IndexPlace(index)


def name_kept(path: Path) -> Path:
    """Return the second name of an index, by which it is found again if another takes its place."""
    return Path(f"{path}.kept")


def examine(place: IndexPlace) -> Path:
    """Return where an index really is, once all of it is found to be the user's own.

    Raises StoreError for what may not be, OSError.
    """
    path, root = _settled(place)
    with _folder(path.parent, root) as folder:
        found = _files(folder, path) if folder is not None else {}
    for file, state in found.items():
        _refuse(file, state, path, owned=root is not None)
    if found and root is not None:
        _refuse_tracked(path, root, list(found), place)
    return path


def find_own_folder(place: IndexPlace) -> Path:
    """Return the folder of an index; it need not be there. Raises StoreError for another's."""
    path, root = _settled(place)
    with _folder(path.parent, root):
        return path.parent


def stat_at(path: Path) -> os.stat_result | None:
    """Return what stands at a path, a link not followed; None for nothing. Raises OSError."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _settled(place: IndexPlace) -> tuple[Path, Path | None]:
    """Return where an index is, and the repository below which no link is followed."""
    absolute = Path(os.path.normpath(Path.cwd() / place.path))
    real = Path(os.path.realpath(absolute))
    repo = None if place.repo is None else Path(os.path.realpath(place.repo))
    for inside in (absolute, real):
        if repo is not None and inside != repo and inside.is_relative_to(repo):
            return inside, repo
    return real, None


@contextmanager
def _folder(folder: Path, root: Path | None) -> Iterator[int | None]:
    """Open a folder, from `root` down without following a link; None if it isn't there."""
    place, names = (folder, ()) if root is None else (root, folder.relative_to(root).parts)
    descriptor: int | None = os.open(place, _FOLDER) if place.is_dir() else None
    try:
        for name in names:
            if descriptor is not None:
                place = place / name
                outer, descriptor = descriptor, _inner(descriptor, place)
                os.close(outer)
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _inner(folder: int, place: Path) -> int | None:
    """Open a folder of the user's own in an open one; None if it isn't there."""
    try:
        state = os.stat(place.name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(state.st_mode):
            raise StoreError(_linked(place))
        if state.st_uid != os.geteuid():
            raise StoreError(_foreign(place, state))
        return os.open(place.name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None


def _files(folder: int, path: Path) -> dict[Path, os.stat_result]:
    """Return what stands at an index's place and beside it under a name of its own."""
    found = {}
    for name in os.listdir(folder):
        if name.startswith(path.name) and _BESIDE.fullmatch(name[len(path.name) :]):
            with suppress(FileNotFoundError):  # others come and go
                found[path.with_name(name)] = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return found


def _refuse(file: Path, state: os.stat_result, path: Path, *, owned: bool) -> None:
    if stat.S_ISLNK(state.st_mode):
        raise StoreError(_linked(file))
    if file.name == f"{path.name}.runs":
        if not stat.S_ISDIR(state.st_mode):
            raise StoreError(f"{file} is no folder; move it away")
    elif stat.S_ISDIR(state.st_mode):
        raise StoreError(f"{file} is a folder, and an index is a file; move the folder away")
    elif not stat.S_ISREG(state.st_mode):
        raise StoreError(f"{file} is no regular file; move it away")
    elif state.st_nlink > 1 and file not in (path, name_kept(path)):
        raise StoreError(f"{file} is a hard link to a file that has other names; remove it")
    if owned and state.st_uid != os.geteuid():
        raise StoreError(_foreign(file, state))


def _linked(file: Path) -> str:
    return (
        f"{file} is a link, and a repository can bring links that lead anywhere; remove it, "
        f"{_ELSEWHERE}"
    )


def _foreign(file: Path, state: os.stat_result) -> str:
    return (
        f"{file} belongs to another user (number {state.st_uid}; you are {os.geteuid()}); run llmc "
        f"as that user (in a container: --user {state.st_uid}), take it over with chown, "
        f"{_ELSEWHERE}"
    )


def _refuse_tracked(path: Path, root: Path, files: list[Path], place: IndexPlace) -> None:
    """Refuse what git carries: others can have written it, and whoever pulls gets it."""
    nested = [
        folder
        for folder in path.parents
        if folder != root and folder.is_relative_to(root) and os.path.lexists(folder / ".git")
    ]
    git = Git(root, place.environ)
    names = _tracked(git, nested) if nested else _tracked(git, files)
    for folder in nested:
        names += [f"{folder}/{name}" for name in _tracked(Git(folder, place.environ), files)]
    if names:
        own = f"; your own is kept as {name_kept(path)}, and is put back then"
        ours = own if _is_kept(path) else ""
        raise StoreError(
            f"{path}: {', '.join(names)} is tracked by git, so others may have written it; take it "
            f"out of git with: {_removal(names)}, {_ELSEWHERE}{ours}"
        )


def _removal(names: list[str]) -> str:
    """Return what takes files out of git: an index stays where it is, a journal does not.

    Left beside the user's own index, it would be taken for theirs and played back into it.
    """
    journals = [name for name in names if name.endswith(_JOURNALS)]
    others = [name for name in names if name not in journals]
    commands = [f"git rm {' '.join(map(quote, journals))}"] if journals else []
    commands += [f"git rm -r --cached {' '.join(map(quote, others))}"] if others else []
    return " && ".join(commands)


def _tracked(git: Git, files: list[Path]) -> list[str]:
    """Return which files git carries; none where there is no git, as it brought nothing then.

    Raises StoreError if git gives no answer.
    """
    if not git.is_there:
        return []
    words = ("--literal-pathspecs", "ls-files", "-z", "--", *map(str, files))
    try:
        listing = git(*words, seconds=GIT_SECONDS)
    except ConfigError as error:
        raise StoreError(f"whether git carries {files[0]} can't be told: {error}") from error
    return [os.fsdecode(name) for name in listing.stdout.split(b"\0") if name]


def _is_kept(path: Path) -> bool:
    """Tell whether another file than the one that stands at its place is kept of an index."""
    ours, there = stat_at(name_kept(path)), stat_at(path)
    return ours is not None and (there is None or not os.path.samestat(ours, there))
