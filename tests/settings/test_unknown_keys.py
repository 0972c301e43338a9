"""A key of `llmc.toml` that nothing reads is an error that says what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmc.errors import ConfigError
from llmc.settings.documents import CONFIG_FILE
from llmc.settings.flags import Flags
from llmc.settings.loading import load_settings

ENTRY = '[[enrichment.chain]]\nname = "n"\n'

UNKNOWN = {
    '[[enrich.chain]]\nname = "n"': ["[[enrich.chain]]", "did you mean [[enrichment.chain]]?"],
    '[[enrichment.chains]]\nname = "n"': ["enrichment.chains", "[[enrichment.chain]]?"],
    '[[chain]]\nname = "n"': ["[[chain]]", "did you mean [[enrichment.chain]]?"],
    "[enrichmnt]\nconcurrency = 4": ["[enrichmnt]", "did you mean [enrichment]?"],
    "[Enrichment]\nconcurrency = 4": ["[Enrichment]", "did you mean [enrichment]?"],
    '[index]\nexclude = ["a/"]': ["[index]", ".ragignore", "[[enrichment.chain]]"],
    'exclude = ["a/"]': ["exclude", ".ragignore"],
    '[enrichment]\nexclude = ["a/"]': ["enrichment.exclude", ".ragignore"],
    "concurrency = 4": ["concurrency", "did you mean concurrency in [enrichment]?"],
    "[enrichment]\nconcurency = 4": ["enrichment.concurency", "enrichment.concurrency?"],
    "[enrichment]\nslots = 4": ["enrichment.slots", "slots in [[enrichment.chain]]?"],
    "[enrichment]\nzeal = 4": ["enrichment.zeal", "allowed: default_chain, concurrency"],
    "[logging]\nlevel = 3": ["[logging]", "allowed: [enrichment]"],
    "zeal = 4": ["zeal", "allowed: [enrichment]"],
    "[enrichment]\nmax_concurrency = 4": ["enrichment.max_concurrency", "enrichment.concurrency?"],
    "[enrichment]\ncooldown = 4": ["enrichment.cooldown", "enrichment.cooldown_seconds?"],
    '[enrichment]\nbase_url = "u"': ["enrichment.base_url", "url in [[enrichment.chain]]?"],
    '[enrichment.chain]\nname = "n"': ["[enrichment.chain]", "begins with [[enrichment.chain]]"],
    f"{ENTRY}modle = 'm'": ["'modle'", "did you mean model?", "routing_tier"],
    f"{ENTRY}tier = '7b'": ["'tier'", "did you mean routing_tier?"],
    f"{ENTRY}base_url = 'u'": ["'base_url'", "did you mean url?"],
    f"{ENTRY}timeout = 3": ["'timeout'", "did you mean timeout_seconds?"],
    f"{ENTRY}api_key = 'x'": ["'api_key'", "did you mean api_key_env?"],
    "[network]\ntrustenv = true": ["network.trustenv", "did you mean network.trust_env?"],
    "[network]\nca-file = 'a'": ["ca-file", "did you mean network.ca_file?"],
    f"{ENTRY}options = {{num_ctxx = 4}}": ["'num_ctxx'", "did you mean num_ctx?"],
    f"{ENTRY}options = {{Temprature = 1}}": ["'Temprature'", "did you mean temperature?"],
    f"{ENTRY}keep-alive = 'x'": ["'keep-alive'", "did you mean keep_alive?"],
}


@pytest.mark.parametrize(("text", "parts"), UNKNOWN.items(), ids=UNKNOWN)
def test_it_is_named_with_the_file_and_what_is_allowed(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, environ={})
    assert str(tmp_path / CONFIG_FILE) in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_many_are_not_all_told(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text("".join(f"zeal_{number} = 1\n" for number in range(500)))
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, environ={})
    assert len(str(caught.value)) < 2000
    assert "495 more" in str(caught.value)


def test_a_key_shows_nothing_that_could_hide_in_it(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('"\\u001b[2J\\u202e" = 1\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, environ={})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", ["[embeddings]\nmodel = 'm'", "[enrichment]\nenforce = true", "zeal = 1"]
)
def test_the_batch_driver_passes_it_over(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    assert load_settings(tmp_path, Flags(lenient=True), environ={}).chain == ()
