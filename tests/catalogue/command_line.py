"""Section A: the command line and the YAML. All of it is answered before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from catalogue.case import Case

RECIPE = "+recipe=lora_bert"
MINE = ("--config-dir", "mine", "+recipe=mine")
HEAD = "# @package _global_\ndefaults: [lora_bert, _self_]\nname: mine\n"


def early(number: int, given: str, *arguments: str, says: str, lines: int = 1) -> Case:
    return Case(number=number, given=given, arguments=arguments, says=says, lines=lines, early=True)


def recipe(number: int, given: str, text: str, *, says: str, lines: int = 1) -> Case:
    """Return a case in which a recipe of the user's own says `text` after its first lines."""
    return Case(
        number=number,
        given=given,
        arguments=MINE,
        says=says,
        prepare=written("mine/recipe/mine.yaml", HEAD + text),
        lines=lines,
        early=True,
    )


def written(name: str, text: str) -> Callable[[Path], None]:
    def prepare(here: Path) -> None:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    return prepare


def bomb(levels: int) -> str:
    """Return YAML of a few lines that stands for 10 to the power of `levels` values."""
    lines = ["a0: &a0 [" + ", ".join("1" * 10) + "]"]
    lines += [
        f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 10) + "]"
        for level in range(1, levels)
    ]
    return "\n".join(lines) + "\n"


NAMES = (
    *(
        early(1, f"wrong recipe: {typed}", typed, says=rf"^error: recipe: no recipe .*{near}")
        for typed, near in (
            ("+recipe=lora_bret", r"did you mean 'lora_bert'\? Options: .*lora_bert"),
            ("recipe=lora_bret", r"did you mean 'lora_bert'\? Options: .*lora_bert"),
            ("++recipe=lora_bret", r"did you mean 'lora_bert'\? Options: .*lora_bert"),
            ("+recipe=lora-bert", r"did you mean 'lora_bert'\? Options: .*lora_bert"),
            ("+recipe=inspect_gpt", r"did you mean 'inspect_gpt3'\? Options: .*lora_bert"),
            ("+recipe=[lora_bret]", r"did you mean 'lora_bert'\? Options: .*lora_bert"),
            ("+recipe=LORA_BERT", r"Options: .*lora_bert"),
            ("+recipe=qqqqqq", r"'qqqqqq'\. Options: .*lora_bert"),
        )
    ),
    early(1, "wrong recipe in a sweep", "-m", "+recipe=lora_bert,lora_bret",
          says=r"^error: recipe: no recipe 'lora_bret'; did you mean 'lora_bert'\?"),
    early(1, "wrong recipe, to plan", "plan", "+recipe=lora_bret",
          says=r"^error: recipe: no recipe 'lora_bret'; did you mean 'lora_bert'\?"),
    early(1, "wrong recipe, to show the config", "+recipe=lora_bret", "--cfg", "job",
          says=r"^error: recipe: no recipe 'lora_bret'; did you mean 'lora_bert'\?"),
    *(
        early(1, f"recipe is no name: {typed}", typed,
              says=rf"^error: recipe: choose one option by its name, .*got {got}\b")
        for typed, got in (
            ("+recipe=null", "null"), ("recipe=3", "3"), ("+recipe=[3]", "3"),
            ("+recipe=true", "True"),
        )
    ),
    early(1, "recipe without its key", "lora_bert",
          says=r"^error: cannot read 'lora_bert': give KEY=VALUE, such as \+recipe=lora_bert"),
    early(1, "a plus too few and no value", "+recipe",
          says=r"^error: cannot read '\+recipe': give KEY=VALUE"),
    early(1, "a group of another name", "recipes=lora_bert",
          says=r"^error: recipes: unknown key; did you mean 'recipe'\?", lines=2),
    early(1, "a mistyped command", "opne", "outputs",
          says=r"^error: cannot read 'opne': .*commands open, compare, plan and clean"),
    *(
        Case(number=2, given=f"the recipe spelled {typed}", arguments=(typed, "--cfg", "job"),
             says="", code=0, lines=0)
        for typed in ("recipe=lora_bert", "+recipe=lora_bert", "++recipe=lora_bert")
    ),
    early(3, "empty recipe", "+recipe=",
          says=r"^error: recipe name is empty; choose one of: .*lora_bert"),
    early(3, "empty recipe without its plus", "recipe=",
          says=r"^error: recipe name is empty; choose one of: .*lora_bert"),
    early(4, "no recipe at all",
          says=r"^error: no recipe given; try .*\+recipe=lora_bert.*available: .*lora_bert"),
    early(4, "no recipe, but a key", "adapter.r=4",
          says=r"^error: no recipe given; try .*\+recipe=lora_bert.*available: .*lora_bert"),
    early(4, "an empty list of recipes", "+recipe=[]",
          says=r"^error: .*recipe.*lora_bert"),
    early(4, "no recipe, to plan", "plan", says=r"^error: no recipe given"),
    *(
        early(5, f"path as a recipe: {path}", f"+recipe={path}",
              says=r"^error: recipe name .* must be a plain name \(letters, digits, _ and -\)")
        for path in (
            "../../../x", "/etc/passwd", "a/../../b", "../lora_bert", "lora_bert\\x", "./lora_bert",
        )
    ),
    early(6, "two recipes that disagree", "+recipe=[lora_bert,inspect_llama3_8b]",
          says=r"^error: recipes 'lora_bert' and 'inspect_llama3_8b' both set model \(.*\); give "),
    early(6, "two recipes that disagree, one after the other", RECIPE, "+recipe=inspect_gpt3",
          says=r"^error: recipes 'lora_bert' and 'inspect_gpt3' both set model"),
)  # fmt: skip

KEYS = (
    *(
        early(7, f"unknown key at the top: {key}", RECIPE, f"{key}=3",
              says=rf"^error: {key}: unknown key; did you mean '{ours}'\?")
        for key, ours in {
            "lrr": "finetune.learning_rate",
            "lr": "finetune.learning_rate",
            "learning_rate": "finetune.learning_rate",
            "lerning_rate": "finetune.learning_rate",
            "epochs": "finetune.num_train_epochs",
            "num_epochs": "finetune.num_train_epochs",
            "batch_size": "finetune.train_batch_size",
            "r": "adapter.r",
            "rank": "adapter.r",
            "lora_alpha": "adapter.lora_alpha",
            "target_modules": "adapter.target_modules",
            "opset": "export.opset",
            "max_length": "data.max_length",
            "num_processes": "launch.num_processes",
            "mixed_precision": "finetune.mixed_precision",
            "sed": "seed",
            "nam": "name",
            "adaptr": "adapter",
            "modell": "model",
        }.items()
    ),
    early(7, "unknown key at the top, like none", RECIPE, "qqqqqq=3",
          says=r"^error: qqqqqq: unknown key\. Known keys: adapter, data"),
    early(7, "three unknown keys at once", RECIPE, "lrr=3", "foo=1", "adapter.rr=4", lines=3,
          says=r"^error: foo: unknown key"),
    early(7, "unknown key and wrong values at once", RECIPE, "lrr=3", "adapter.r=0", "seed=-1",
          "export.opset=99", "finetune.device=gpu", says=r"^error: export\.opset", lines=5),
    early(7, "an unknown setting of Hydra", RECIPE, "hydra.nope=1", says=r"^error: hydra\.nope\b"),
    early(9, "dead key, added", RECIPE, "+foo=1", says=r"^error: foo: unknown key\."),
    early(9, "dead key below a dead group", RECIPE, "++train.epoch=3",
          says=r"^error: train\.epoch: unknown key; perhaps 'finetune\.num_train_epochs'"),
    early(9, "dead key, deep", RECIPE, "++brand.new.key=1",
          says=r"^error: brand\.new\.key: unknown key"),
    early(9, "dead key in a group, added", RECIPE, "+adapter.rnk=1",
          says=r"^error: adapter\.rnk: unknown key; did you mean"),
    early(9, "dead key below a key", RECIPE, "+adapter.x.y=1",
          says=r"^error: adapter\.x: unknown key"),
    early(9, "a key that is not there, taken away", RECIPE, "~nope",
          says=r"^error: ~nope: there is no nope"),
    early(9, "a key that is needed, taken away", RECIPE, "~adapter.r",
          says=r"^error: adapter\.r: missing"),
    recipe(9, "dead key in a recipe", "adapter: {rnk: 3}\n",
           says=r"^error: adapter\.rnk: unknown key; did you mean"),
    recipe(9, "dead group in a recipe", "train: {epoch: 3}\n",
           says=r"^error: train\.epoch: unknown key; perhaps 'finetune\.num_train_epochs'"),
)  # fmt: skip

VALUES = (
    *(
        early(10, f"wrong type: {typed}", RECIPE, typed, says=rf"^error: {says}")
        for typed, says in (
            ("finetune.num_train_epochs=abc", r"finetune\.num_train_epochs: .*got 'abc'"),
            ("finetune={a: 1}", r"finetune: choose one option by its name"),
            ("adapter=3", r"adapter: choose one option by its name, .*got 3\. Options: .*lora"),
            ("adapter=null", r"adapter: choose one option by its name, .*got null"),
            ("adapter=[lora]", r"adapter: choose one option by its name, .*did you mean 'lora'\?"),
            ("seed=abc", r"seed: must be a whole number from 0 to 4294967295, got 'abc'"),
            ("seed=1.5", r"seed: must be a whole number .*got 1\.5"),
            ("seed=true", r"seed: must be a whole number .*got True"),
            ("seed=null", r"seed: must be a whole number .*got None"),
            ("seed=[1]", r"seed: must be a whole number .*got \[1\]"),
            ("reuse=maybe", r"reuse: must be true or false, got 'maybe'"),
            ("reuse=1", r"reuse: must be true or false, got 1"),
            ("name=3", r"name: must be letters, digits, .*got 3"),
            ("name=[a]", r"name: must be letters, digits, .*got \['a'\]"),
            ("name=a/b", r"name: must be letters, digits, .*got 'a/b'"),
            ("name=../a", r"name: must be letters, digits, .*got '\.\./a'"),
            ("name=a b", r"name: must be letters, digits, .*got 'a b'"),
            (f"name={'a' * 300}", r"name: must be at most 200 bytes long"),
            ("adapter.target_modules=query,value", r"adapter\.target_modules: query,value has a c"),
            ("adapter.layers_to_transform=[a]", r"adapter\.layers_to_transform: .*got 'a'"),
            ("adapter.layers_to_transform=[true]", r"adapter\.layers_to_transform: should be num"),
            ("adapter.rank_pattern={query: x}", r"adapter\.rank_pattern: .*got 'x'"),
            ("adapter.rank_pattern=3", r"adapter\.rank_pattern: .*got 3"),
        )
    ),
    *(
        early(11, f"empty value: {key}", RECIPE, f"{key}=", says=rf"^error: {says}")
        for key, says in (
            ("finetune.learning_rate", r"finetune\.learning_rate: empty value"),
            ("data.text_column", r"data\.text_column: empty value"),
            ("adapter.target_modules", r"adapter\.target_modules: empty value"),
            ("name", r"no recipe given|name: empty"),
            ("seed", r"seed: must be a whole number .*got ''"),
            ("reuse", r"reuse: must be true or false, got ''"),
            ("adapter", r"adapter: name is empty; choose one of: .*lora"),
            ("model", r"model: name is empty; choose one of: .*minilm"),
            ("launch", r"launch: name is empty; choose one of: local, multi_gpu"),
        )
    ),
    early(11, "an empty value in a list", RECIPE, "adapter.target_modules=['',query]",
          says=r"^error: adapter\.target_modules: empty value"),
    early(11, "a value that must be given and is not", RECIPE, "data=csv",
          says=r"^error: data\.train: not set; give it with data\.train=<value>"),
    early(11, "a path that must be given and is not", RECIPE, "model=local",
          says=r"^error: model\.path: not set; give it with model\.path=<value>"),
    early(11, "no key", RECIPE, "=3", says=r"^error: cannot read '=3': there is no key"),
    *(
        early(15, f"values that refer to one another: {' '.join(typed)}", RECIPE, *typed,
              says=rf"^error: .*config cycle: {cycle}; ")
        for typed, cycle in (
            (("adapter.r=${adapter.lora_alpha}", "adapter.lora_alpha=${adapter.r}"),
             r"adapter\.r -> adapter\.lora_alpha -> adapter\.r"),
            (("seed=${seed}",), "seed -> seed"),
            (("name=${name}",), "name -> name"),
            (("finetune.seed=${adapter.seed}", "adapter.seed=${data.x}",
              "+data.x=${finetune.seed}"),
             r"\S+ -> \S+ -> \S+ -> \S+"),
            (("adapter.r=${adapter}",), "adapter -> .*adapter"),
        )
    ),
    recipe(15, "a cycle in a recipe", "a: ${b}\nb: ${a}\n", says="^error: .*config cycle: a -> b"),
    early(15, "a reference to nothing", RECIPE, "adapter.r=${nope.x}",
          says=r"^error: adapter\.r: refers to nope\.x, which does not exist"),
    early(15, "a variable that is not set", RECIPE, "adapter.r=${oc.env:NO_SUCH_VARIABLE}",
          says=r"^error: adapter\.r: .*NO_SUCH_VARIABLE"),
    early(15, "a resolver that is none", RECIPE, "adapter.r=${env:X}",
          says=r"^error: adapter\.r: "),
    *(
        early(number, f"cannot be read: {typed}", RECIPE, "data=csv", typed,
              says=r"^error: cannot read the override [\w.]+=.*; quote its value: '[\w.]+=\".*\"'$")
        for number, typed in (
            (17, "name=a=b"), (17, "data.train=a=b.csv"), (17, "adapter.bias==none"),
            (17, "adapter.target_modules=[query,value"), (17, "adapter.rank_pattern={a: 1"),
            (18, "data.train=C:\\x{"), (18, "data.train=C:\\my (data)\\x[1].csv"),
            (18, "data.train='C:\\x"), (18, "data.train=a\nb"), (18, "adapter.r=${adapter.r"),
        )
    ),
    early(18, "a path with a comma", RECIPE, "data=csv", "data.train=a,b.csv",
          says=r"^error: data\.train: a,b\.csv has a comma; .*'data\.train=\"a,b\.csv\"'"),
)  # fmt: skip

YAML = (
    recipe(20, "a key twice", "adapter: {r: 1}\nadapter: {r: 2}\n",
           says=r"^error: \S*mine\.yaml line 5: key 'adapter' given twice"),
    recipe(20, "a key twice, inside", "adapter:\n  r: 1\n  r: 2\n",
           says=r"^error: \S*mine\.yaml line 6: key 'r' given twice"),
    recipe(20, "the name twice", "name: other\n",
           says=r"^error: \S*mine\.yaml line 4: key 'name' given twice"),
    recipe(20, "an open bracket", "adapter: [1\n", says=r"^error: \S*mine\.yaml line \d: "),
    recipe(20, "a tab", "adapter:\n\tr: 1\n", says=r"^error: \S*mine\.yaml line 5: a tab"),
    recipe(20, "two documents", "---\nseed: 1\n", says=r"^error: \S*mine\.yaml line 4: "),
    recipe(20, "bytes that are no text", "x: \udcff\udcfe\n", says=r"^error: \S*mine\.yaml.*UTF-8"),
    *(
        recipe(21, f"the tag {tag}", f"x: {tag} ['touch pwned']\n",
               says=r"^error: \S*mine\.yaml line 4: the tag \S+ is not allowed")
        for tag in (
            "!!python/object/apply:os.system", "!!python/name:os.system", "!!python/tuple",
            "!!python/object/new:subprocess.Popen", "!mine",
        )
    ),
    *(
        recipe(22, f"aliases that stand for 10 ** {levels} values", bomb(levels),
               says=r"^error: \S*mine\.yaml: more than 10 000 nodes after expanding aliases")
        for levels in (5, 6, 9)
    ),
    *(
        early(24, f"a class from elsewhere: {target}", RECIPE, f"adapter._target_={target}",
              says=r"^error: adapter\._target_: .*'?" + near)
        for target, near in (
            ("os.getcwd", r"os\.getcwd' is not allowed\. Allowed: the classes of adapter=<opt"),
            ("subprocess.Popen", r"is not allowed"),
            ("builtins.exec", r"is not allowed"),
            ("pipeline.adapter.Lorra", r"did you mean 'pipeline\.adapter\.Lora'\?"),
            ("pipeline.data.Csv", r"is not allowed"),
            ("pipeline.cli.main", r"is not allowed"),
            ("no.such.Thing", r"is not allowed"),
            ("null", r"must be the plain path of a class"),
            ("3", r"must be the plain path of a class"),
        )
    ),
    early(24, "a class inside a stage", RECIPE, "++adapter.x._target_=os.getcwd",
          says=r"^error: adapter\.x\._target_: "),
    recipe(24, "a class from elsewhere in a recipe", "adapter: {_target_: os.getcwd}\n",
           says=r"^error: adapter\._target_: 'os\.getcwd' is not allowed"),
    *(
        recipe(25, f"a recipe sets hydra.{key}", f"hydra: {{{text}}}\n",
               says=rf"^error: \S*mine\.yaml line 4: recipes may not set 'hydra\.{key}")
        for key, text in (
            ("callbacks", "callbacks: {x: {_target_: os.system}}"),
            ("run.dir", "run: {dir: /elsewhere}"),
            ("job.env_set", "job: {env_set: {A: b}}"),
            ("job_logging", "job_logging: {root: {level: DEBUG}}"),
            ("searchpath", "searchpath: [file:///]"),
            ("launcher", "launcher: {_target_: os.system}"),
        )
    ),
    early(25, "a callback on the command line", RECIPE,
          "++hydra.callbacks.x._target_=os.system", says=r"^error: hydra\.callbacks\.x\._target_"),
)  # fmt: skip

STAGES = (
    early(27, "a list of stages", RECIPE, "stages=[train,exprot]",
          says=r"^error: stages: unknown key: all six stages run in their order"),
    early(27, "a stage that is none", RECIPE, "exprot=onnx",
          says=r"^error: exprot: unknown key; did you mean 'export'\?"),
    early(27, "a stage left out", RECIPE, "~export",
          says=r"^error: export: missing; choose one with export=<option>"),
    early(27, "a stage left out that the recipe sets", RECIPE, "~finetune",
          says=r"^error: finetune: missing; choose one with finetune=<option>"),
    Case(
        number=27, given="a recipe that builds on one that is not there", arguments=MINE,
        says=r"^error: recipe/mine: its defaults list: recipe: no recipe 'nope'",
        prepare=written("mine/recipe/mine.yaml", "defaults: [nope, _self_]\nname: mine\n"),
        early=True,
    ),
    Case(number=27, given="a folder of configs that is not there", early=True,
         arguments=("--config-dir", "nowhere", "+recipe=mine"),
         says=r"^error: --config-dir: no such folder: \S*nowhere"),
    early(28, "the stages in another order", RECIPE, "stages=[export,finetune]",
          says=r"^error: stages: unknown key: all six stages run in their order"),
    early(28, "training without weights", RECIPE, "model=random_bert", "model.weights=none",
          says=r"^error: model\.weights=none has no values to train; use finetune=none"),
)  # fmt: skip
