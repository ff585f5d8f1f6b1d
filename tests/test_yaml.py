"""Every YAML file we ship builds. A new file is covered the moment it is saved."""

from dataclasses import fields
from pathlib import Path

import pytest
from conftest import Compose

from pipeline.build import build_plan, build_stage
from pipeline.shipped import shipped_folder
from pipeline.stage import Plan

CONFIGS, RECIPES = shipped_folder("configs"), shipped_folder("recipes")
OPTIONS = sorted(f"{file.parent.name}={file.stem}" for file in CONFIGS.glob("*/*.yaml"))
NAMES = sorted(str(file.relative_to(RECIPES).with_suffix("")) for file in RECIPES.rglob("*.yaml"))
ALL_FILES = sorted([*CONFIGS.rglob("*.yaml"), *RECIPES.rglob("*.yaml")])
LOOK = ["data=none", "finetune=none"]
# What the user must give before an option makes sense.
GIVEN = {
    "adapter=existing": ["adapter.path=x"],
    "data=image_folder": ["data.path=x"],
    "data=csv": ["data.train=x.csv"],
    "data=jsonl": ["data.train=x.jsonl"],
    "data=parquet": ["data.train=x.parquet"],
    "model=local": ["model.path=x"],
    "model=module": ["model.class_path=pipeline.own.cnn.Cnn"],
    "model=pt2": ["model.path=x.pt2"],
    "model=gpt3_175b": LOOK,
    "model=llama3_70b": LOOK,
    "model=llama3_8b": LOOK,
}


def test_the_lists_below_are_not_empty() -> None:
    assert len(OPTIONS) >= 19
    assert "adapter=lora" in OPTIONS
    assert "lora_bert" in NAMES
    assert len(ALL_FILES) == len(OPTIONS) + len(NAMES) + 1


def test_every_group_is_a_field_of_the_plan_and_a_module() -> None:
    groups = {entry.name for entry in CONFIGS.iterdir() if entry.is_dir()}
    assert groups == {field.name for field in fields(Plan)}
    package = Path(build_plan.__code__.co_filename).parent
    for group in groups:
        assert (package / group).is_dir() or (package / f"{group}.py").is_file()


@pytest.mark.parametrize("option", OPTIONS)
def test_option_builds(option: str, composed: Compose) -> None:
    build_plan(composed("name=test", option, *GIVEN.get(option, [])))


@pytest.mark.parametrize("option", OPTIONS)
def test_option_is_built_by_the_module_named_after_its_group(
    option: str, composed: Compose
) -> None:
    group = option.partition("=")[0]
    assert composed(option)[group]["_target_"].startswith(f"pipeline.{group}.")


@pytest.mark.parametrize("option", OPTIONS)
def test_option_names_every_field_of_its_class(option: str, composed: Compose) -> None:
    group = option.partition("=")[0]
    config = composed("name=test", option, *GIVEN.get(option, []))[group]
    stage = build_stage(group, config)
    assert {field.name for field in fields(stage)} == set(config) - {"_target_"}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_recipe_builds_and_is_named_after_its_file(name: str, composed: Compose) -> None:
    config = composed(f"+recipe={name}")
    build_plan(config)
    assert config["name"] == name
    assert "recipe" not in config


@pytest.mark.parametrize("file", ALL_FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_file_says_what_it_is_for_what_it_needs_and_the_command(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = []
    for line in lines:
        if not line.startswith("#"):
            break
        comments.append(line)
    header = "\n".join(comments)
    assert "python -m pipeline +recipe=" in header
    if file.name != "config.yaml":
        assert "Needs" in header


@pytest.mark.parametrize("name", NAMES)
def test_recipe_header_gives_its_own_command(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"python -m pipeline +recipe={name}" in text
