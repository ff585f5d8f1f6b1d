"""What the command line and the composed config may not hold, found before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from pipeline.allowed import target_problems
from pipeline.errors import ConfigError
from pipeline.interpolations import assert_bounded
from pipeline.scrub import find_secret, named_like_a_secret, secrets_in, why_refused
from pipeline.wording import one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["assert_no_secret_typed", "in_words", "resolved", "vetted"]


def assert_no_secret_typed(arguments: Sequence[str]) -> None:
    """Refuse a command line with a token in it: Hydra would write it into four files.

    Raises:
        ConfigError: Names the key; never the value.
    """
    for argument in arguments:
        key, equals, value = argument.lstrip("+~-").partition("=")
        kind = find_secret(argument)
        by_name = equals and named_like_a_secret(key) and value not in ("", "null", "???")
        if by_name or kind is not None:
            raise ConfigError(why_refused(key if equals else "an argument", kind))


@contextmanager
def in_words() -> Iterator[None]:
    """Turn whatever Hydra, OmegaConf or their parser trip over into one line: it was the input.

    Raises:
        ConfigError: In place of any other exception.
    """
    try:
        yield
    except ConfigError:
        raise
    except RecursionError as error:
        raise ConfigError("the config is nested too deeply") from error
    except Exception as error:
        raise ConfigError(one_line(error) or f"cannot be read ({type(error).__name__})") from error


def vetted(composed: DictConfig, consent: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the config of the stages, resolved, and what is wrong with it.

    Args:
        composed: With Hydra's own node, which is left out.
        consent: Packages of the user's own whose classes may be named.

    Raises:
        ConfigError: It has a secret, refers to itself, or cannot be resolved.
    """
    from omegaconf import OmegaConf

    ours = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    plain = cast(dict[str, Any], OmegaConf.to_container(ours, resolve=False))
    _assert_no_secret(plain)
    assert_bounded(plain)
    with in_words():
        config = cast(dict[str, Any], OmegaConf.to_container(ours, resolve=True))
    _assert_no_secret(config)
    # A reference may hide what it brings, and what is resolved may hide where it came from.
    found = [target_problems(each, consent) for each in (plain, config)]
    return config, [line for each in found for lines in each.values() for line in lines]


def resolved(where: str, node: DictConfig, key: str) -> str:
    """Return the text of one value of Hydra's own node, such as the folder of the run.

    Raises:
        ConfigError: It cannot be resolved, or has a secret in it.
    """
    try:
        with in_words():
            value = str(node[key])
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from error
    if (kind := find_secret(value)) is not None:
        raise ConfigError(why_refused(where, kind))
    return value


def _assert_no_secret(config: Mapping[str, Any]) -> None:
    if refused := list(secrets_in(config)):
        raise ConfigError("\n".join(refused))
