"""The number that decides everything which happens by chance in these tests."""

import os
import secrets

import pytest

from tests.chaos.world import LONG


@pytest.fixture
def seed():
    """Return the seed; $LLMC_SEED gives it, else it is 1, and another one each time at length."""
    number = int(os.environ.get("LLMC_SEED") or (secrets.randbelow(1_000_000) if LONG else 1))
    print(f"LLMC_SEED={number} does this once more")
    return number
