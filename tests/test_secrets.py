"""No secret is ever written: tokens are planted, and every byte that a run leaves is searched."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from forked import preload
from reliability import attacks, planted

from pipeline.scrub import (
    find_secret,
    named_like_a_secret,
    scrub,
    scrub_logging,
    scrubbed,
    secrets_in,
)
from pipeline.shipped import shipped_folder


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> None:
    preload()


@pytest.mark.slow
def test_planted_secrets_are_nowhere(tmp_path: Path) -> None:
    tried = planted.planted()
    assert len(tried) >= 40
    assert attacks.run(tried[::2], tmp_path) == []


@pytest.mark.slow
def test_whole_run_with_tokens_in_environment_and_rows_leaves_none(tmp_path: Path) -> None:
    assert attacks.run([planted.whole_run(attacks._TINY)], tmp_path) == []


@pytest.mark.parametrize("kind", planted.TOKENS)
def test_token_is_known_by_its_form(kind: str) -> None:
    token = planted.TOKENS[kind]
    assert find_secret(f"x={token},", {}) is not None
    assert scrub(f"before {token} after", {}) == "before *** after"


def test_value_of_a_variable_that_is_named_like_a_secret_is_one() -> None:
    environ = {"DB_PASSWORD": "open sesame", "HOME": "/home/somebody", "MY_KEY": "short"}
    assert find_secret("say open sesame!", environ) == "the value of DB_PASSWORD"
    assert scrub("open sesame in /home/somebody, short", environ) == "*** in /home/somebody, short"


def test_private_key_and_password_in_an_address_are_masked() -> None:
    assert scrub(f"a {planted.KEY_BLOCK} b", {}) == "a *** b"
    assert scrub("see https://me:swordfish@host/x", {}) == "see https://***@host/x"


@pytest.mark.parametrize(
    "text",
    [
        "google-bert/bert-base-uncased", "hf_internal_testing", "task-classification-of-texts",
        "/data/sk-learn-digits/train.csv", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379c",
        "https://huggingface.co/models", "2026-11-23_08-00-00", "eyJustAName", "localhost:8000",
    ],
)  # fmt: skip
def test_ordinary_text_is_no_secret(text: str) -> None:
    assert find_secret(text, {}) is None
    assert scrub(text, {}) == text


def test_nothing_that_is_shipped_looks_like_a_secret() -> None:
    from omegaconf import OmegaConf

    for file in [*shipped_folder("configs").rglob("*.yaml"), *shipped_folder("recipes").rglob("*")]:
        assert list(secrets_in(OmegaConf.to_container(OmegaConf.load(file), resolve=False))) == []


@pytest.mark.parametrize("key", ["token", "hub_token", "api_key", "a.password", "client_secret"])
def test_key_can_be_named_like_a_secret(key: str) -> None:
    assert named_like_a_secret(key)


@pytest.mark.parametrize("key", ["pad_token", "eos_token", "tokens", "key", "max_length", "name"])
def test_key_of_a_tokenizer_is_not(key: str) -> None:
    assert not named_like_a_secret(key)


def test_nested_texts_are_scrubbed_before_json_escapes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_SECRET", 'with "quotes" and ü')
    told = {"a": ['x with "quotes" and ü'], "n": 1, 'with "quotes" and ü': None}
    assert scrubbed(told) == {"a": ["x ***"], "n": 1, "***": None}


def test_log_is_scrubbed_with_its_traceback(tmp_path: Path) -> None:
    secret = planted.HUB
    handler = logging.FileHandler(tmp_path / "log")
    log = logging.getLogger("pipeline.test_secrets")
    log.addHandler(handler)
    try:
        scrub_logging()
        scrub_logging()  # a second time changes nothing
        try:
            raise KeyError(secret)
        except KeyError:
            log.exception("with %s", secret)
    finally:
        log.removeHandler(handler)
        handler.close()
    text = (tmp_path / "log").read_text()
    assert secret not in text
    assert "with ***" in text
    assert "KeyError: '***'" in text
