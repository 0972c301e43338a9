"""Numbers that mean nothing are refused, with what they may be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from llmc.errors import ConfigError
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings

FLAGS: list[tuple[Flags, str]] = [
    (Flags(limit=-1), "limit is -1"),
    (Flags(retries=0), "retries is 0"),
    (Flags(retries=-3), "retries is -3"),
    (Flags(retry_wait=-0.5), "retry_wait is -0.5"),
    (Flags(retry_wait=math.nan), "retry_wait is nan"),
    (Flags(cooldown=-1), "cooldown is -1"),
    (Flags(host_patience=-1.0), "host_patience is -1.0"),
    (Flags(gateway_timeout=0.0), "gateway_timeout is 0.0"),
    (Flags(gateway_timeout=math.inf), "gateway_timeout is inf"),
    (Flags(slots=0), "slots is 0"),
]


@pytest.mark.parametrize(("flags", "said"), FLAGS, ids=[said for _, said in FLAGS])
def test_a_flag_is_refused(tmp_path: Path, flags: Flags, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{said}; it must be"):
        load_settings(tmp_path, flags, {})


def test_no_limit_is_said_by_0(tmp_path: Path) -> None:
    assert load_settings(tmp_path, Flags(limit=0), {}).pace.limit == 0


def test_the_batch_driver_takes_what_it_always_did(tmp_path: Path) -> None:
    flags = Flags(retries=0, retry_wait=-1.0, limit=-1, lenient=True)
    assert load_settings(tmp_path, flags, {}).pace.retries == 0


@pytest.mark.parametrize(
    "option",
    ["num_ctx = 0", "num_ctx = -5", "num_batch = 0", "num_predict = -3", "temperature = -1",
     "max_tokens = 0", "num_gpu = -2", "top_p = -0.1"],
)  # fmt: skip
def test_an_option_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option.split()[0]} is .*it must be a number"):
        _chain(tmp_path, option)


@pytest.mark.parametrize("option", ["num_predict = -1", "num_gpu = -1", "num_gpu = 0", "seed = -1"])
def test_one_with_a_meaning_below_0_is_not(tmp_path: Path, option: str) -> None:
    assert len(_chain(tmp_path, option)) == 1


@pytest.mark.parametrize("text", ["inf", "1e12", "nan", "-1", "0"])
def test_a_wait_for_hosts_that_would_never_end_counts_as_unset(tmp_path: Path, text: str) -> None:
    environ = {"ENRICH_HEALTHCHECK_TIMEOUT_SECONDS": text}
    assert load_settings(tmp_path, environ=environ).health.timeout == 5.0


def _chain(repo: Path, option: str) -> tuple[object, ...]:
    text = f'[[enrichment.chain]]\nname = "n"\noptions = {{ {option} }}\n'
    (repo / "llmc.toml").write_text(text)
    return load_settings(repo, environ={}).chain
