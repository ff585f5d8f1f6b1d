"""Classes and functions that a config could name, if it were allowed to, and what each would do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from reliability.arena import CANARY, Attack

__all__ = ["BESIDE", "as_yaml", "named", "placed", "smuggled"]

C, HERE = "{canary}", "{here}"
_TOUCH = f"open({C!r}, 'w').close()"
_CLASS = "from dataclasses import dataclass\n@dataclass\nclass Mine:\n    def run(self): ...\n"
_CODE = f"{_TOUCH}\n{_CLASS}"
BESIDE: dict[str, str | bytes] = {
    "evil_module.py": _CODE,
    "evil_package/__init__.py": _CODE,
    "evil_package/inside.py": "",
    "hub_repo/hubconf.py": f"def entry():\n    {_TOUCH}\n",
    "sites/evil.pth": f"import builtins; builtins.{_TOUCH}\n",
    "remote/config.json": json.dumps(
        {"model_type": "evil", "auto_map": {"AutoConfig": "configuration_evil.EvilConfig"}}
    ),
    "remote/configuration_evil.py": f"{_TOUCH}\nclass EvilConfig: ...\n",
    "evil.txt": "x",
}
"""What lies in the current folder, as a stranger's archive would lay it there."""


def _call(target: str, /, **keys: Any) -> dict[str, Any]:
    return {"_target_": target, **keys}


def _args(target: str, /, *values: Any, **keys: Any) -> dict[str, Any]:
    return {"_target_": target, "_args_": list(values), **keys}


def _path(value: str = C) -> dict[str, Any]:
    return _args("pathlib.Path", value)


NODES: tuple[dict[str, Any], ...] = (
    _args("os.system", f"touch {C}"),
    _args("posix.system", f"touch {C}"),
    _args("os.popen", f"touch {C}"),
    _args("os.mkdir", C),
    _args("os.makedirs", C),
    _args("os.open", C, 65),
    _args("os.symlink", HERE, C),
    _args("os.posix_spawn", "/usr/bin/touch", ["touch", C], {}),
    _args("os.spawnlp", 0, "touch", "touch", C),
    _args("os.execvp", "touch", ["touch", C]),
    _args("pty.spawn", ["touch", C]),
    _call("subprocess.run", args=["touch", C]),
    _call("subprocess.Popen", args=["touch", C]),
    _call("subprocess.call", args=["touch", C]),
    _args("subprocess.check_output", ["touch", C]),
    _args("subprocess.getoutput", f"touch {C}"),
    _args("builtins.eval", f"open({C!r}, 'w')"),
    _args("builtins.exec", _TOUCH),
    _args("builtins.open", C, "w"),
    _args("io.open", C, "w"),
    _args("codecs.open", C, "w"),
    _args("builtins.__import__", "evil_module"),
    _args("pathlib.Path.touch", _path()),
    _args("pathlib.Path.write_text", _path(), "x"),
    _args("pathlib.Path.mkdir", _path()),
    _args("shutil.copyfile", f"{HERE}/evil.txt", C),
    _args("shutil.copytree", f"{HERE}/sites", C),
    _args("shutil.move", f"{HERE}/evil.txt", C),
    _args("asyncio.run", _args("asyncio.create_subprocess_shell", f"touch {C}")),
    _call("multiprocessing.process.BaseProcess.run", self=_call(
        "multiprocessing.Process", target=_args("hydra.utils.get_method", "os.system"),
        args=[f"touch {C}"])),
    _args("runpy.run_path", f"{HERE}/evil_module.py"),
    _args("runpy.run_module", "evil_module"),
    _args("pkgutil.resolve_name", "evil_module:Mine"),
    _args("importlib.import_module", "evil_module"),
    _args("importlib.util.find_spec", "evil_package.inside"),
    _args("importlib.machinery.SourceFileLoader.load_module", _args(
        "importlib.machinery.SourceFileLoader", "evil", f"{HERE}/evil_module.py")),
    _args("site.addsitedir", f"{HERE}/sites"),
    _args("site.addpackage", f"{HERE}/sites", "evil.pth", None),
    _call("torch.load", f=f"{HERE}/evil.pkl", weights_only=False),
    _call("torch.serialization.load", f=f"{HERE}/evil.pkl", weights_only=False),
    _args("torch.hub.load", f"{HERE}/hub_repo", "entry", source="local"),
    _args("torch.save", {}, C),
    _call("torch.utils.cpp_extension.load", name="x", sources=[f"{HERE}/evil.txt"]),
    _call("numpy.load", file=f"{HERE}/evil.pkl", allow_pickle=True),
    _args("numpy.save", C, [1]),
    _args("numpy.savetxt", C, [1]),
    _args("pandas.read_pickle", f"{HERE}/evil.pkl"),
    _args("sympy.sympify", f"__import__('os').system('touch {C}')"),
    _call("transformers.AutoConfig.from_pretrained", trust_remote_code=True,
          pretrained_model_name_or_path=f"{HERE}/remote"),
    _args("transformers.dynamic_module_utils.get_class_from_dynamic_module",
          "configuration_evil.EvilConfig", f"{HERE}/remote"),
    _args("huggingface_hub.utils._subprocess.run_subprocess", f"touch {C}"),
    _args("accelerate.test_utils.testing.run_command", ["touch", C]),
    _args("setuptools._distutils.spawn.spawn", ["touch", C]),
    _args("pip._internal.utils.subprocess.call_subprocess", ["touch", C]),
    _args("jinja2.Template.render", _args("jinja2.Template", (
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os"
        f".system('touch {C}')" "}}"))),
    _args("webbrowser.GenericBrowser.open", _args(
        "webbrowser.GenericBrowser", ["touch", C]), "x"),
    _args("ctypes.CDLL", f"{HERE}/evil.so"),
    _args("ctypes.cdll.LoadLibrary", f"{HERE}/evil.so"),
    _call("evil_module.Mine"),
    _call("evil_package.Mine"),
    _call("evil_package.inside.Mine"),
    _args("logging.os.system", f"touch {C}"),
    _args("pathlib.os.system", f"touch {C}"),
    _args("tempfile._os.system", f"touch {C}"),
    _args("timeit.timeit", _TOUCH, number=1),
    _args("cProfile.run", _TOUCH),
    _args("pdb.run", _TOUCH),
    _args("code.InteractiveInterpreter.runsource", _call("code.InteractiveInterpreter"), _TOUCH),
    _args("functools.partial", _args("hydra.utils.get_method", "os.system"), f"touch {C}"),
    _args("functools.reduce", _args("hydra.utils.get_method", "os.mkdir"), [C, 511]),
    _args("operator.call", _args("hydra.utils.get_method", "os.system"), f"touch {C}"),
    _args("hydra.utils.instantiate", _args("os.mkdir", C)),
    _args("hydra.utils.get_class", "evil_module.Mine"),
    _args("hydra.utils.get_object", "evil_module.Mine"),
    _args("omegaconf.OmegaConf.save", {}, C),
    _args("yaml.unsafe_load", f"!!python/object/apply:os.mkdir [{C}]"),
    _args("pickle.load", _args("builtins.open", f"{HERE}/evil.pkl", "rb")),
    _args("joblib.load", f"{HERE}/evil.pkl"),
    _args("shelve.open", C),
    _args("sqlite3.connect", C),
    _args("zipfile.ZipFile", C, "w"),
    _args("tarfile.open", C, "w"),
    _args("gzip.open", C, "wb"),
    _args("bz2.open", C, "wb"),
    _args("lzma.open", C, "wb"),
    _args("logging.FileHandler", C),
    _args("py_compile.compile", f"{HERE}/evil_module.py", C),
    _args("venv.create", C),
    _args("urllib.request.urlretrieve", f"file://{HERE}/evil.txt", C),
    _args("tempfile.mkdtemp", "", CANARY, HERE),
    _args("datasets.load_dataset", f"{HERE}/remote", trust_remote_code=True),
    # Ours, but no class of the group.
    _args("pipeline.launch.processes.run_and_listen", ["touch", C], {}),
    _call("pipeline.cli.main"),
    _args("pipeline.record.os.system", f"touch {C}"),
    _args("pipeline.seal.publish", _path(f"{HERE}/sites"), _path()),
    _call("pipeline.data.Csv"),
    _call("pipeline.adapter.lora.Lora"),
    _call("pipeline.adapter.Lora.__class__"),
    _call("pipeline.adapter.Lora "),
    _call(" pipeline.adapter.Lora"),
    _call("pipeline.adapter..Lora"),
)  # fmt: skip


def evil_pickle(place: Path) -> None:
    """Put a pickle there that makes the canary when it is loaded."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.mkdir, (str(place / CANARY),)

    (place / "evil.pkl").write_bytes(pickle.dumps(Evil()))


def as_yaml(value: object) -> str:
    """Return JSON, which is YAML."""
    return json.dumps(value, ensure_ascii=False)


def named() -> list[Attack]:
    """Name each of them in an option of the user's own."""
    return [
        Attack(
            family="_target_",
            name=node["_target_"],
            arguments=("--config-dir", "mine", "name=x", "adapter=evil"),
            files={**BESIDE, "mine/adapter/evil.yaml": as_yaml(node)},
            prepare=evil_pickle,
            says="error: ",
        )
        for node in NODES
    ]


_SYSTEM = as_yaml(_args("os.mkdir", C))


def placed() -> list[Attack]:
    """Name one in every group, and at places that are no stage."""
    groups = ("model", "data", "adapter", "finetune", "export", "visualize", "launch")
    by_group = [
        Attack(
            family="_target_", name=f"{group} from the command line",
            arguments=("+recipe=lora_bert", f"{group}._target_=evil_module.Mine"),
            files=BESIDE, says=f"{group}._target_: 'evil_module.Mine' is not allowed",
        )
        for group in groups
    ]  # fmt: skip
    recipes = {
        "at the top": f"_target_: os.mkdir\n_args_: ['{C}']",
        "in a mapping": f"adapter: {{rank_pattern: {_SYSTEM}}}",
        "in a list": f"adapter: {{target_modules: [{_SYSTEM}]}}",
        "in a list of lists": f"adapter: {{target_modules: [[{_SYSTEM}]]}}",
        "in an unknown key": f"adapter: {{evil: {_SYSTEM}}}",
        "in an unknown group": f"evil: {_SYSTEM}",
        "half a call": "adapter: {_partial_: true}",
        "arguments": f"adapter: {{_args_: ['{C}']}}",
        "recursion": "adapter: {_recursive_: true}",
        "conversion": "adapter: {_convert_: all}",
        "a factory": "adapter: {'()': os.mkdir}",
    }
    return by_group + [
        Attack(
            family="_target_", name=f"in a recipe, {name}",
            arguments=("--config-dir", "mine", "+recipe=evil"),
            files={**BESIDE, "mine/recipe/evil.yaml": f"name: x\n{text}\n"}, says="error: ",
        )
        for name, text in recipes.items()
    ]  # fmt: skip


def smuggled() -> list[Attack]:
    """Hide the name, or the consent."""
    lines = {
        "a reference": "adapter: {_target_: '${name}'}\nname: evil_module.Mine",
        "a whole node": f"adapter: ${{evil}}\nevil: {_SYSTEM}",
        "made from text": "adapter: '${oc.decode:\"{_target_: evil_module.Mine}\"}'",
        "made by a resolver": "adapter: '${oc.create:{_target_: evil_module.Mine}}'",
        "from the environment": "adapter: {_target_: '${oc.env:EVIL}'}",
        "decoded from the environment": "adapter: ${oc.decode:${oc.env:EVIL_NODE}}",
        "a nested reference": "adapter: {_target_: '${${name}}'}",
        "with a merge key": f"evil: &e {_SYSTEM}\nadapter: {{<<: *e}}",
        "with an alias": "evil: &e evil_module.Mine\nadapter: {_target_: *e}",
        "consent in the recipe": "allow_code: evil_module\nadapter: {_target_: evil_module.Mine}",
        "consent in a list": "allow_code: [evil_module]\nadapter: {_target_: evil_module.Mine}",
        "consent with a dot": "hydra.allow_code: x\nadapter: {_target_: evil_module.Mine}",
    }
    environment = {"EVIL": "evil_module.Mine", "EVIL_NODE": "{_target_: evil_module.Mine}"}
    recipes = [
        Attack(
            family="_target_", name=f"hidden, {name}",
            arguments=("--config-dir", "mine", "+recipe=evil", "name=x"),
            files={**BESIDE, "mine/recipe/evil.yaml": f"{text}\n"},
            environment=environment, says="error: ",
        )
        for name, text in lines.items()
    ]  # fmt: skip
    typed = {
        "other consent": ("adapter._target_=evil_module.Mine", "allow_code=other"),
        "half a name": ("adapter._target_=evil_module.Mine", "allow_code=evil"),
        "no name": ("adapter._target_=evil_module.Mine", "allow_code=*"),
        "empty consent": ("adapter._target_=evil_module.Mine", "allow_code="),
        "a reference": ("adapter._target_=evil_module.Mine", "allow_code=${name}"),
        "a path": ("adapter._target_=evil_module.Mine", "allow_code=./evil_module.py"),
        "a dict": ("adapter={_target_:evil_module.Mine}",),
        "added": ("++adapter._target_=evil_module.Mine",),
        "nested": ("++adapter.rank_pattern={_target_:evil_module.Mine}",),
        "swept": ("-m", "adapter._target_=pipeline.adapter.Lora,evil_module.Mine"),
    }
    return recipes + [
        Attack(
            family="_target_", name=f"typed, {name}", arguments=("+recipe=lora_bert", *words),
            files=BESIDE, says="error: ",
        )
        for name, words in typed.items()
    ]  # fmt: skip
