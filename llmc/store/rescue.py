"""A damaged index is replaced by a new one with all that can still be read of it.

It is kept aside, never deleted. How the exchange survives a crash is in `database.replacing`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from llmc.errors import CorruptIndexError, StoreError
from llmc.models import IndexPlace
from llmc.store.database.custody import locate, make_place
from llmc.store.database.opening import OPENING_PATIENCE_SEC
from llmc.store.database.replacing import exchange, make_ready
from llmc.store.database.trouble import explain_files, find_inode
from llmc.store.owners import exclude_others, survey, sweep
from llmc.store.salvage import copy_readable

Answer = TypeVar("Answer")


def rescue_if_damaged(index: IndexPlace, use: Callable[[], Answer]) -> Answer:
    """Use an index; one that is found damaged is rescued, and used once more. Raises StoreError."""
    try:
        return use()
    except CorruptIndexError as error:
        rescue(index, error)
        return use()


def rescue(index: IndexPlace | Path, found: CorruptIndexError) -> tuple[Path, int]:
    """Put a new index, filled with what is readable of it, in place of a damaged one.

    Returns where that one is now, with its journals, and how many enrichments were saved. Only the
    file that the error was about is replaced. A rescue that breaks off leaves the index as it was,
    or is ended by the next open. Raises StoreError, also where another process has done this
    already or is at work on the index, and for a link: whose file it leads to isn't known here.
    """
    place = make_place(index)
    path = locate(place)
    if place.path.is_symlink():
        raise StoreError(
            f"{place.path} is a link to {path}, which is no usable index; remove "
            "the link, or move that file away yourself"
        )
    with (
        explain_files(path, f"cannot rescue {path}"),
        exclude_others(path, OPENING_PATIENCE_SEC),
    ):
        if found.inode not in (None, find_inode(path)):
            raise StoreError(f"{path} has just been replaced by another process; start again")
        others, dead = survey(path)
        if others:
            raise StoreError(
                f"{path} is damaged, and others are at work on it (process "
                f"{', '.join(sorted(name.split('-')[0] for name in others))}); "
                "stop them, then run: llmc index"
            )
        make_ready(path, place, lambda new: copy_readable(path, new))
        done = exchange(path, place, str(found))
        sweep(path, dead)
    return done
