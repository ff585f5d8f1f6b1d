"""YAML and command lines that aim at Hydra itself, at the YAML reader, and at files elsewhere."""

from __future__ import annotations

from pathlib import Path

from reliability.arena import Attack
from reliability.targets import BESIDE, C

__all__ = ["at_hydra", "at_paths", "at_yaml"]

_CALLBACK = "{x: {_target_: evil_module.Mine}}"
_HANDLER = "{handlers: {x: {'()': os.mkdir, path: '" + C + "'}}, root: {handlers: [x]}}"
_OWN_TAG = "%TAG ! tag:yaml.org,2002:python/object/apply:\n---\na: !os.mkdir ['{canary}']"


def at_hydra() -> list[Attack]:
    """Let Hydra import, call, log or write for us before our program starts."""
    recipes = {
        "callbacks": f"hydra: {{callbacks: {_CALLBACK}}}",
        "job logging": f"hydra: {{job_logging: {_HANDLER}}}",
        "hydra logging": f"hydra: {{hydra_logging: {_HANDLER}}}",
        "environment": "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}",
        "copied environment": "hydra: {job: {env_copy: [HOME]}}",
        "run folder": "hydra: {run: {dir: '" + C + "'}}",
        "sweep folder": "hydra: {sweep: {dir: '" + C + "'}}",
        "sweep subfolder": "hydra: {sweep: {subdir: ../../x}}",
        "output folder": "hydra: {output_subdir: ../../x}",
        "working folder": "hydra: {job: {chdir: true}}",
        "launcher": "hydra: {launcher: {_target_: evil_module.Mine}}",
        "sweeper": "hydra: {sweeper: {_target_: evil_module.Mine}}",
        "mode": "hydra: {mode: MULTIRUN}",
        "search path": "hydra: {searchpath: ['file://{here}']}",
        "overrides": "hydra: {overrides: {hydra: ['hydra.run.dir=x']}}",
        "task overrides": "hydra: {overrides: {task: ['adapter._target_=evil_module.Mine']}}",
        "verbose": "hydra: {verbose: true}",
        "a dotted key": "hydra.callbacks.x._target_: evil_module.Mine",
        "null": "hydra: null",
        "a reference": "hydra: ${evil}\nevil: {callbacks: " + _CALLBACK + "}",
        "a merge key": "evil: &e {hydra: {callbacks: " + _CALLBACK + "}}\n<<: *e",
        "a default": "defaults: [override /hydra/job_logging: none]",
        "a launcher by default": "defaults: [override /hydra/launcher: evil]",
        "a package": "defaults: [/adapter@hydra.callbacks.x: evil]",
        "a relative package": "defaults: [/adapter@_global_.hydra.callbacks.x: evil]",
        "a package of a config": "defaults: ['evil@hydra.callbacks']",
        "an optional default": "defaults: [optional /hydra/env: evil]",
    }
    evil = {
        **BESIDE,
        "mine/adapter/evil.yaml": "_target_: evil_module.Mine\n",
        "mine/hydra/launcher/evil.yaml": "_target_: evil_module.Mine\n",
        "mine/hydra/job_logging/evil.yaml": _HANDLER,
        "mine/hydra/env/evil.yaml": "EVIL: 1\n",
    }
    by_recipe = [
        Attack(
            family="hydra", name=f"a recipe sets {name}",
            arguments=("--config-dir", "mine", "+recipe=evil", "name=x", *flags),
            files={**evil, "mine/recipe/evil.yaml": f"name: x\n{text}\n"}, says="error: ",
        )
        for name, text in recipes.items()
        for flags in ((), ("--multirun", "seed=1,2"))[: 2 if "overrides" in name else 1]
    ]  # fmt: skip
    headers = ("hydra", "hydra.callbacks.x", "hydra.job.env_set", "_global_.hydra.callbacks")
    by_header = [
        Attack(
            family="hydra", name=f"the header '@package {header}' of {group}",
            arguments=("--config-dir", "mine", "name=x", f"{plus}{group}=evil"),
            files={**BESIDE, f"mine/{group}/evil.yaml":
                   f"# @package {header}\n_target_: evil_module.Mine\n"}, says="error: ",
        )
        for header in headers
        for group, plus in (("recipe", "+"), ("adapter", ""))
    ]  # fmt: skip
    typed = (
        "hydra.callbacks.x._target_=evil_module.Mine",
        "+hydra.callbacks.x._target_=evil_module.Mine",
        "++hydra.callbacks={x:{_target_:evil_module.Mine}}",
        "hydra={callbacks:{x:{_target_:evil_module.Mine}}}",
        "={hydra:{callbacks:{x:{_target_:evil_module.Mine}}}}",
        "++hydra.job_logging.handlers.x={'()':evil_module.Mine}",
        "+hydra.job.env_set.LD_PRELOAD=evil.so",
        "+hydra.launcher._target_=evil_module.Mine",
        "hydra.launcher={_target_:evil_module.Mine}",
        "hydra.sweeper.params={a:b}",
        "hydra.searchpath=[file://{here}/mine]",
        "hydra.output_subdir=../../x",
        "hydra.job.chdir=true",
        "~hydra.job_logging",
        "hydra/launcher=evil",
        "hydra/job_logging=evil",
        "hydra/job_logging=../../mine/hydra/job_logging/evil",
        "hydra/env=evil",
        "+adapter@hydra.callbacks.x=evil",
        "adapter@_global_.hydra=evil",
        "--experimental-rerun={here}/evil.pkl",
        "--config-path={here}/mine",
        "--config-name=../mine/adapter/evil",
        "--config-name={here}/mine/adapter/evil",
    )
    from reliability.targets import evil_pickle

    by_hand = [
        Attack(
            family="hydra", name=f"typed: {word}", files=evil, prepare=evil_pickle,
            arguments=("--config-dir", "mine", "+recipe=lora_bert", word), says="error: ",
        )
        for word in typed
    ]  # fmt: skip
    own_primary = Attack(
        family="hydra", name="a primary config of the user's",
        arguments=("--config-dir", "mine", "--config-name", "evil"),
        files={**BESIDE, "mine/evil.yaml": "name: x\nhydra: {callbacks: " + _CALLBACK + "}\n"},
        says="recipes may not set 'hydra.callbacks'",
    )  # fmt: skip
    without_ours = Attack(
        family="hydra", name="a primary config without ours",
        arguments=("--config-dir", "mine", "--config-name", "evil"),
        files={**BESIDE, "mine/evil.yaml": "name: x\n"}, says="must begin with 'defaults",
    )  # fmt: skip
    return [*by_recipe, *by_header, *by_hand, own_primary, without_ours]


def at_yaml() -> list[Attack]:
    """Exhaust or confuse the reader."""
    bomb = "\n".join(
        [f"a0: &a0 [{', '.join(['x'] * 10)}]"]
        + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    )
    merged = "\n".join(
        ["a0: &a0 {x0: 1, y0: 2}"]
        + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], x{n}: 1}}" for n in range(1, 8)]
    )
    texts: dict[str, tuple[str | bytes, str]] = {
        "an alias bomb": (bomb, "more than 10 000 nodes after expanding aliases"),
        "a bomb of merge keys": (merged, "more than 10 000 nodes after expanding aliases"),
        "a bomb of text": (f"a: &a {'x' * 10_000}\nb: [{'*a, ' * 999}x]\n", "more than 1 MB"),
        "a bomb of references": ("\n".join(
            [f"a{n}: '${{a{n + 1}}}${{a{n + 1}}}'" for n in range(40)]
        ) + "\na40: xxxxxxxx", "more than 1 000 000 values"),
        "an alias of itself": ("a: &a [*a]", "an alias stands inside what it stands for"),
        "a mapping of itself": ("a: &a {b: *a}", "an alias stands inside what it stands for"),
        "a python object": ("a: !!python/object/apply:os.mkdir ['{canary}']", "line 1: the tag"),
        "a python name": ("a: !!python/name:os.system ''", "line 1: the tag !!python/name"),
        "a python module": ("a: !!python/module:evil_module ''", "line 1: the tag"),
        "a path": ("a: !!python/object/apply:pathlib.Path ['x']", "line 1: the tag"),
        "a tag of its own": (_OWN_TAG, "the tag"),
        "an include": ("a: !include /etc/passwd", "the tag !include"),
        "binary": ("a: !!binary eA==", "the tag !!binary"),
        "a set": ("a: !!set {x, y}", "the tag !!set"),
        "a key twice": ("name: a\nname: b", "line 2: key 'name' given twice"),
        "a key that is a list": ("? [a]\n: b", "a key must be a word"),
        "no key": ("null: x", "error: "),
        "a tab": ("a:\n\tb: 1", "line 2: a tab"),
        "deep": ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        "deeper": ("a: " + "{a: " * 3000, "error: "),
        "two documents": ("name: x\n---\nname: y", "a second document"),
        "a list": ("- name\n- x", "must be keys with values"),
        "a word": ("name", "must be keys with values"),
        "no UTF-8": (b"name: x\nb: \xff\xfe", "line 2: is not UTF-8"),
        "UTF-16": ("name: x".encode("utf-16"), "is not UTF-8"),
        "a zero byte": (b"name: x\na: \x00", "line 2: has the character"),
        "2 MB": ("a: " + "x" * 2_000_000, "has 2.0 MB"),
        "a long number": ("seed: " + "9" * 5000, "a number of 5000 characters"),
        "base sixty": ("seed: 1" + ":10" * 1000, "a number of"),
        "a circle": ("a: ${b}\nb: ${a}", "config cycle: a -> b -> a"),
        "a circle of one": ("a: ${a}", "config cycle: a -> a"),
        "a circle through a group": ("adapter: {x: '${adapter}'}", "config cycle: "),
        "nested references": ("a: ${${${${name}}}}", "error: "),
        "a broken reference": ("a: ${", "error: "),
        "defaults that are no list": ("defaults: {a: b}", "defaults must be a list"),
        "defaults of itself": ("defaults: [evil]", "error: "),
    }  # fmt: skip
    return [
        Attack(
            family="YAML", name=name, arguments=("--config-dir", "mine", "+recipe=evil"),
            files={**BESIDE, "mine/recipe/evil.yaml": text}, says=says,
        )
        for name, (text, says) in texts.items()
    ]  # fmt: skip


def at_paths() -> list[Attack]:
    """Read a YAML file elsewhere, or write a run elsewhere."""
    outside = "name: outside\nadapter: {r: 666}\n"
    plain, inside = "must be a plain name", "inside hydra.sweep.dir"
    words = {
        ("+recipe=../../../outside",): plain,
        ("+recipe={here}/outside",): plain,
        ("+recipe=..",): plain,
        ("+recipe=.",): plain,
        ("+recipe=a/../../x",): plain,
        ("+recipe='a b'",): plain,
        ("+recipe=[lora_bert,../x]",): plain,
        ("+recipe=",): "recipe name is empty; choose one of: ",
        ("+recipe=lora_bert", "model=../../outside"): plain,
        ("+recipe=lora_bert", "model={here}/outside"): plain,
        ("-m", "+recipe=lora_bert", "model=minilm,../../outside"): plain,
        ("+recipe=lora_bert", "name=../../x"): "name: must be letters",
        ("+recipe=lora_bert", "name=/tmp/x"): "name: must be letters",
        ("+recipe=lora_bert", "name=.."): "name: must be letters",
        ("+recipe=lora_bert", "name='~'"): "name: must be letters",
        ("-m", "+recipe=lora_bert", "seed=1,2", "hydra.sweep.subdir=../x"): inside,
        ("-m", "+recipe=lora_bert", "seed=1,2", "hydra.sweep.subdir={here}/x"): inside,
        ("-m", "+recipe=lora_bert", "seed=1,2", "data.train=../../../x", "data=csv",
         "hydra.sweep.subdir=${hydra.job.override_dirname}"): "inside hydra.sweep.dir",
    }  # fmt: skip
    typed = [
        Attack(family="paths", name=" ".join(each), arguments=each, says=says,
               files={**BESIDE, "outside.yaml": outside})
        for each, says in words.items()
    ]  # fmt: skip
    defaults = (
        "/model: ../../outside", "/model: /etc/x", "../../outside", "/recipe: ../../outside",
        "override /model: ../../../outside", "/../outside", "optional ../../outside",
        "/model: ${name}", "/model: [../x]",
    )  # fmt: skip
    by_default = [
        Attack(
            family="paths", name=f"defaults: {each}", says="error: ",
            arguments=("--config-dir", "mine", "+recipe=evil"),
            files={**BESIDE, "outside.yaml": outside,
                   "mine/recipe/evil.yaml": f"defaults:\n  - {each}\n  - _self_\nname: x\n"},
        )
        for each in defaults
    ]  # fmt: skip

    def link(place: Path) -> None:
        (place / "mine/recipe").mkdir(parents=True)
        (place / "mine/recipe/evil.yaml").symlink_to(place / "outside.yaml")

    def link_folder(place: Path) -> None:
        (place / "away").mkdir()
        (place / "away/evil.yaml").write_text(outside)
        (place / "mine").mkdir()
        (place / "mine/recipe").symlink_to(place / "away")

    links = [
        Attack(
            family="paths", name=name, says="leads out of mine", prepare=prepare,
            arguments=("--config-dir", "mine", "+recipe=evil"), files={"outside.yaml": outside},
        )
        for name, prepare in (("a link", link), ("a linked folder", link_folder))
    ]  # fmt: skip
    return [*typed, *by_default, *links]
