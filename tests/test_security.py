"""A recipe is data: nothing in it runs code, and nothing is read or written outside its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Compose
from forked import preload
from omegaconf import OmegaConf
from reliability import arena, attacks, fuzz, targets

from pipeline.allowed import shipped_targets, target_problems, why_not_allowed
from pipeline.check import check
from pipeline.consent import allows, take_consent
from pipeline.endpoint import other_hub
from pipeline.errors import ConfigError
from pipeline.interpolations import assert_bounded
from pipeline.shipped import shipped_folder
from pipeline.strict_yaml import read

RECIPE = "+recipe=lora_bert"


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> None:
    preload()


def refused(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(arguments)
    return str(caught.value)


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.slow
def test_every_sixth_attack_fails(tmp_path: Path) -> None:
    everything = attacks.all_attacks(tmp_path / "good")
    families = [each.family for each in everything]
    assert families.count("_target_") >= 60
    assert families.count("hydra") >= 20
    assert families.count("YAML") >= 15
    assert families.count("paths") >= 15
    assert families.count("files") >= 30
    assert families.count("secrets") >= 10
    some = [each for each in everything if each.family != "secrets"][::6]  # those have a test
    assert attacks.run(some, tmp_path / "tried") == []


def test_the_attacks_are_live_and_the_oracle_sees_them(tmp_path: Path) -> None:
    named = {each.name: each for each in targets.named()}
    some = [named[name] for name in ("evil_module.Mine", "pkgutil.resolve_name", "runpy.run_path")]
    effects, tried = attacks.alive(some, tmp_path)
    assert (effects, tried) == (tried - 1, 3)  # Hydra itself blocks runpy


def test_oracle_sees_a_file_a_socket_a_process_and_a_trace(tmp_path: Path) -> None:
    def touch(place: Path) -> None:
        (place / arena.CANARY).touch()

    def connect(place: Path) -> None:
        import socket

        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))

    def start(place: Path) -> None:
        subprocess.run(["true"], check=True)

    def outside(place: Path) -> None:
        (place.parent / "elsewhere").touch()

    def bug(place: Path) -> None:
        raise KeyError("x")

    bad: list[Callable[[Path], None]] = [touch, connect, start, outside, bug]
    tried = [arena.Attack(family="x", name=act.__name__, act=act) for act in bad]
    assert all(each.escaped for each in arena.attempt(tried, tmp_path))


@pytest.mark.slow
def test_fuzzed_inputs_end_cleanly(tmp_path: Path) -> None:
    figures = fuzz.measure(80, tmp_path)
    assert [figure.tried for figure in figures] == [80, 40, 20]
    assert [figure.notes for figure in figures if figure.bad] == []


def test_oracle_of_the_fuzzing_sees_what_is_unclean() -> None:
    def trips() -> None:
        raise ValueError("not ours")

    def takes() -> None:
        bytearray(600 * 2**20).count(1)

    assert "ValueError: not ours" in str(fuzz._tried(trips)["unclean"])
    assert " MB" in str(fuzz._tried(takes)["unclean"])
    assert fuzz._tried(lambda: refused("adapter.r=0"))["unclean"] == ""


# What may be named.


def test_the_classes_of_a_group_are_those_of_its_shipped_options() -> None:
    for folder in shipped_folder("configs").iterdir():
        if folder.is_dir():
            loaded = [OmegaConf.load(file) for file in folder.glob("*.yaml")]
            assert set(shipped_targets(folder.name)) == {each._target_ for each in loaded}
    assert shipped_targets("../configs/model") == ()


def test_class_of_another_group_is_refused_with_what_is_allowed() -> None:
    reason = why_not_allowed("adapter", "pipeline.data.Csv", ())
    assert reason is not None
    assert reason.endswith(
        "Allowed: the classes of adapter=<option>, such as pipeline.adapter.Existing"
    )
    few = why_not_allowed("launch", "pipeline.data.Csv", ())
    assert few is not None
    assert few.endswith(f"Allowed: {', '.join(sorted(shipped_targets('launch')))}")
    assert "pipeline.data.Csv" not in shipped_targets("adapter")
    assert why_not_allowed("data", "pipeline.data.Csv", ()) is None


def test_consent_ends_at_a_dot() -> None:
    assert allows(("mine",), "mine.Stage")
    assert allows(("mine.sub",), "mine.sub.Stage")
    assert not allows(("mine",), "mine2.Stage")
    assert not allows(("mine",), "mine")
    assert not allows(("mine.sub",), "mine.other.Stage")


@pytest.mark.parametrize("given", ["a,b", "[a,b]", "[a, b]"])
def test_consent_is_taken_off_the_command_line(given: str) -> None:
    assert take_consent([RECIPE, f"allow_code={given}", "x=1"]) == (("a", "b"), [RECIPE, "x=1"])
    assert take_consent([f"+allow_code={given}"]) == (("a", "b"), [])


@pytest.mark.parametrize("given", ["", "*", "./x", "a b", "a..b", "${name}", "a,", "-"])
def test_consent_must_be_names(given: str) -> None:
    with pytest.raises(ConfigError, match="allow_code: must be names of packages"):
        take_consent([f"allow_code={given}"])


def test_with_consent_a_class_of_the_users_may_hold_names_of_the_same_package() -> None:
    node = {"_target_": "mine.Stage", "part": [{"_target_": "mine.Part", "_partial_": True}]}
    assert target_problems({"adapter": node}, ("mine",)) == {}
    foreign = {"_target_": "mine.Stage", "part": {"_target_": "os.system"}}
    assert "adapter.part._target_" in str(target_problems({"adapter": foreign}, ("mine",)))


def test_file_beside_the_command_is_not_imported_without_consent(tmp_path: Path) -> None:
    """In a process of its own: what `python -m` puts on the path counts."""
    bite = f"open({str(tmp_path / 'bitten')!r}, 'a').write(__name__)\n"
    names = ("psutil", "pydantic", "omegaconf", "yaml", "hydra_plugins/evil", "mine", "numpy")
    for name in names:
        write(tmp_path / f"{name}.py", bite)
    words = [sys.executable, "-m", "pipeline", RECIPE, "adapter._target_=mine.Lora"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "allow_code=mine" in done.stderr
    assert not (tmp_path / "bitten").exists()
    done = subprocess.run(
        [*words, "allow_code=mine"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "'mine' has no 'Lora'" in done.stderr
    assert (tmp_path / "bitten").read_text() == "mine"


# What may be said to Hydra.


def test_what_hydra_may_be_told_is_told() -> None:
    asked = check([
        RECIPE, "hydra.run.dir=here", "hydra.verbose=true", "hydra/job_logging=none",
        "hydra/launcher=basic",
    ])  # fmt: skip
    assert asked.folder == Path("here")
    check(["-m", RECIPE, "seed=1,2", "hydra.sweep.dir=x", "hydra.sweep.subdir=a${hydra.job.num}"])
    check(["-m", RECIPE, "seed=1,2", "hydra.sweeper.max_batch_size=1"])


def test_composed_settings_of_hydra_are_compared_with_those_without_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second line: what the reading of the files did not find."""
    from pipeline import sources

    monkeypatch.setattr(sources, "_assert_data", lambda *_: None)
    write(tmp_path / "recipe/mine.yaml", "name: x\nhydra: {job: {env_set: {A: b}}}\n")
    folder = ("--config-dir", str(tmp_path), "+recipe=mine")
    assert "recipes may not set 'hydra.job.env_set.A'" in refused(*folder)
    write(tmp_path / "recipe/mine.yaml", "name: x\nhydra: {overrides: {hydra: [x]}}\n")
    assert "recipes may not set 'hydra.overrides.hydra'" in refused(*folder)


def test_two_recipes_that_disagree_are_refused_until_one_is_right(tmp_path: Path) -> None:
    write(tmp_path / "recipe/a.yaml", "name: x\nadapter: {r: 8}\nseed: 1\n")
    write(tmp_path / "recipe/b.yaml", "name: x\nadapter: {r: 16}\nreuse: false\n")
    given = ("--config-dir", str(tmp_path), "+recipe=[a,b]")
    assert refused(*given) == (
        "recipes 'a' and 'b' both set adapter.r (8 / 16); give one recipe or set adapter.r "
        "explicitly"
    )
    check([*given, "adapter.r=4"])


def test_primary_config_of_the_users_takes_ours_as_its_first_default(tmp_path: Path) -> None:
    write(tmp_path / "mine.yaml", "defaults:\n  - config\n  - _self_\nname: x\nadapter: {r: 2}\n")
    asked = check(["--config-dir", str(tmp_path), "--config-name", "mine"])
    assert asked.plan is not None
    assert asked.plan.adapter.r == 2  # type: ignore[attr-defined]


# What a YAML file may be.


def test_plain_file_is_read_as_omegaconf_reads_it(tmp_path: Path) -> None:
    for file in [*shipped_folder("configs").rglob("*.yaml"), *shipped_folder("recipes").rglob("*")]:
        copy = write(tmp_path / file.name, file.read_text(encoding="utf-8"))
        assert read(copy, tmp_path).config == OmegaConf.load(file)


def test_alias_of_a_sane_size_is_fine(tmp_path: Path) -> None:
    file = write(tmp_path / "x.yaml", "a: &a {b: [1, 2]}\nc: {<<: *a, d: *a}\n")
    assert read(file, tmp_path).config == {
        "a": {"b": [1, 2]}, "c": {"b": [1, 2], "d": {"b": [1, 2]}},
    }  # fmt: skip


def test_comment_above_the_header_of_a_recipe_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "recipe/mine.yaml", "# Mine.\n# @package _global_\nname: x\nseed: 5\n")
    asked = check(["--config-dir", str(tmp_path), "+recipe=mine"])
    assert asked.name == "x"


def test_references_that_stay_small_are_fine(composed: Compose) -> None:
    assert_bounded({"a": "${b.c}", "b": {"c": "${..d}"}, "d": "${oc.env:HOME}", "e": "${b}"})
    with pytest.raises(ConfigError, match="config cycle: a -> b.c -> a; give one of them a value"):
        assert_bounded({"a": "${b.c}", "b": {"c": "${a}"}})
    with pytest.raises(ConfigError, match="config cycle"):
        assert_bounded({"a": "${oc.select:b}", "b": "${a}"})


def test_consent_is_recorded_and_survives_a_sweep(tmp_path: Path) -> None:
    from forked import command_line, fork

    write(
        tmp_path / "mine.py",
        "from dataclasses import dataclass\nfrom pipeline.errors import StageError\n"
        "@dataclass(frozen=True)\nclass Model:\n"
        "    def run(self, given, folder):\n        raise StageError('model: mine ran')\n",
    )
    write(tmp_path / "folder/model/own.yaml", "_target_: mine.Model\n")
    words = ["--config-dir", "folder", "name=x", "model=own", "allow_code=mine"]
    for flags in ([], ["-m", "seed=1,2"]):
        ended = fork(command_line(*words, *flags), cwd=tmp_path)
        assert ended.code == 2
        assert "model: mine ran" in ended.stderr
    manifests = [json.loads(each.read_text()) for each in tmp_path.rglob("manifest.json")]
    assert len(manifests) >= 3
    assert all(each["allow_code"] == ["mine"] for each in manifests)
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") is None


def test_another_hub_is_named_without_its_password() -> None:
    assert other_hub({}) is None
    assert other_hub({"HF_ENDPOINT": "https://huggingface.co/"}) is None
    assert other_hub({"HF_ENDPOINT": "https://mirror.example"}) == "https://mirror.example"
    assert other_hub({"HF_ENDPOINT": "https://me:swordfish@x"}) == "https://***@x"
    assert "staging" in str(other_hub({"HUGGINGFACE_CO_STAGING": "1"}))
