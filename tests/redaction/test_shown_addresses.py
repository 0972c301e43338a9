"""An address is shown whole, less what signs in."""

from __future__ import annotations

import pytest

from llmc.redaction.addresses import blot_address


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/v1/chat/completions",
        "https://corp.openai.azure.com/openai/deployments/mini/chat?api-version=2024-10-21",
        "http://[::1]:11434",
        "box:8000/v1",
        "ftp://box",
        "",
    ],
)
def test_it_is_shown_whole(url: str) -> None:
    assert blot_address(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:hunter2x9@box/v1",
        "http://hunter2x9@box/v1",
        "ann:hunter2x9@box",
        "http://ann:hunter2x9@p@box/v1",
        "http://box/v1?key=hunter2x9",
        "http://box/v1?a=b&code=hunter2x9#x=hunter2x9",
        "http://box/kP4hunter2x9Qz71LmT/v1",
    ],
)
def test_what_signs_in_is_not(url: str) -> None:
    assert "hunter2x9" not in blot_address(url)
    assert "box" in blot_address(url)
