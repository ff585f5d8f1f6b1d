"""The group `recipe` behaves like any other Hydra group."""

from pathlib import Path

import pytest
from conftest import Compose
from hydra.errors import MissingConfigException

from pipeline.errors import ConfigError
from pipeline.recipes import forbid_hidden
from pipeline.shipped import recipe_names, shipped_folder


def test_wrong_name_lists_the_right_ones(composed: Compose) -> None:
    with pytest.raises(MissingConfigException) as caught:
        composed("+recipe=lora_bret")
    listed = "\n\t".join(["Available options in 'recipe':", *recipe_names()])
    assert listed in str(caught.value)


@pytest.mark.parametrize("name", ["../../outside/x", "..", "a/../../b", "/etc/passwd"])
def test_recipe_name_cannot_leave_the_folder(name: str, composed: Compose) -> None:
    with pytest.raises(Exception, match=r"Could not find|absolute|no recipe|not find"):
        composed(f"+recipe={name}")


def test_user_recipe_with_a_shipped_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe/lora_bert.yaml").touch()
    with pytest.raises(ConfigError, match="recipe: 'lora_bert' is shipped, so .* rename your file"):
        forbid_hidden([tmp_path])


@pytest.mark.parametrize("option", ["adapter/lora", "data/csv", "config"])
def test_user_option_with_a_shipped_name_is_refused(option: str, tmp_path: Path) -> None:
    file = tmp_path / f"{option}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    with pytest.raises(ConfigError, match=f"'{file.stem}' is shipped, so {file} would be ignored"):
        forbid_hidden([tmp_path])


def test_shipped_folder_does_not_hide_itself() -> None:
    forbid_hidden([shipped_folder("configs")])


def test_user_recipe_with_its_own_name_is_fine(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe/mine.yaml").touch()
    forbid_hidden([tmp_path])


def test_shipped_recipes_are_known_by_name() -> None:
    assert "lora_bert" in recipe_names()
