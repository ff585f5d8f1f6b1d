"""Section C, first half: folders that are no model, or not the one that was meant."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catalogue.case import Case, Proved

__all__ = ["CASES", "PROVED"]

Prepare = Callable[[Path], None]

_RUN = ("+recipe=lora_bert", "data=none", "finetune=none", "visualize.pictures=never",
        "visualize.open=never")  # fmt: skip
_LOCAL = (*_RUN, "model=local", "model.path={here}/m")
_HUB = (*_RUN, "model=bert_base")


def _built(*more: str) -> tuple[str, ...]:
    return (*_RUN, "model=random_bert", *more)


@functools.cache
def _pristine() -> Path:
    """Return a tiny BERT in a folder, made once."""
    from pipeline.model import FromConfig

    folder = Path(tempfile.mkdtemp(prefix="bert-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    FromConfig(
        name="tiny", model_type="bert", seed=0, dropout=0.0, weights="full",
        task="sequence_classification",
        config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 64, "max_position_embeddings": 64},
    ).run(None, folder)  # fmt: skip
    return folder


def _model(*changes: Prepare) -> Prepare:
    """Put a copy of the tiny BERT into `m`, and change it."""

    def prepare(here: Path) -> None:
        shutil.copytree(_pristine(), here / "m")
        for change in changes:
            change(here / "m")

    return prepare


def _without(*names: str) -> Prepare:
    def change(model: Path) -> None:
        for name in names:
            (model / name).unlink()

    return change


def _write(name: str, content: str | bytes) -> Prepare:
    def change(model: Path) -> None:
        (model / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def _json(name: str, **fields: object) -> Prepare:
    """Set fields of a JSON file; None takes one out."""

    def change(model: Path) -> None:
        told: dict[str, Any] = {**json.loads((model / name).read_text()), **fields}
        kept = {key: value for key, value in told.items() if fields.get(key, "") is not None}
        (model / name).write_text(json.dumps(kept))

    return change


def _config(**fields: object) -> Prepare:
    return _json("config.json", **fields)


def _weights(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Prepare:
    """Change the tensors, by their names."""

    def rewrite(model: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = model / "model.safetensors"
        kept = {name: value.contiguous() for name, value in change(load_file(file)).items()}
        save_file(kept, file, metadata={"format": "pt"})

    return rewrite


def _cut(share: float) -> Prepare:
    def change(model: Path) -> None:
        file = model / "model.safetensors"
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])

    return change


def _poisoned(value: float) -> Prepare:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors["encoder.layer.1.attention.self.query.weight"][3, 5] = value
        return tensors

    return _weights(change)


def _sharded(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    parts = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    where = {name: parts[n % 2] for n, name in enumerate(sorted(tensors))}
    for part in parts:
        held = {name: value for name, value in tensors.items() if where[name] == part}
        save_file(held, model / part, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": where}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def _as_pickle(model: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


class _Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, ("canary",)


def _hostile_pickle(model: Path) -> None:
    import pickle

    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"a": _Hostile()}))


def _renamed(model: Path) -> None:
    (model / "model.safetensors").rename(model / "weights.safetensors")


def _halved(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: value for n, (name, value) in enumerate(sorted(tensors.items())) if n % 2}


def _as_bytes(tensors: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {
        name: value.to(torch.int8) if "query.weight" in name else value
        for name, value in tensors.items()
    }


_LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"

_PATHS = (
    Case(
        number=67,
        given="no such folder",
        arguments=_LOCAL,
        says=r"^error: model\.path: no such folder: .*/m$",
    ),
    Case(
        number=67,
        given="typing mistake in the path",
        arguments=(*_RUN, "model=local", "model.path={here}/bret"),
        says=r"^error: model\.path: no such folder: .*/bret; did you mean 'bert'\?$",
        prepare=lambda here: (here / "bert").mkdir(),
    ),
    Case(
        number=67,
        given="no such folder above either",
        arguments=(*_RUN, "model=local", "model.path={here}/no/m"),
        says=r"^error: model\.path: no such folder: .*/no/m; nor is there a folder .*/no$",
    ),
    Case(
        number=67,
        given="link to nothing",
        arguments=_LOCAL,
        says=r"^error: model\.path: .*/m is a link to nothing",
        prepare=lambda here: (here / "m").symlink_to("gone"),
    ),
    Case(
        number=67,
        given="no path",
        arguments=(*_RUN, "model=local"),
        says=r"^error: model\.path: .*model\.path=",
        early=True,
    ),
    Case(
        number=67,
        given="an id of the hub for a path",
        arguments=(*_RUN, "model=local", "model.path=google-bert/bert-base-uncased"),
        says=r"^error: model\.path: no such folder: .*/google-bert/bert-base-uncased",
    ),
    Case(
        number=68,
        given="hub id with a typing mistake, offline",
        arguments=(*_HUB, "model.repo_id=bert-base-uncasd"),
        says=r"^error: model\.repo_id: 'bert-base-uncasd' is not in the local cache and the hub ca",
        environment={"HF_HUB_OFFLINE": "1"},
    ),
    Case(
        number=68,
        given="the hub cannot be reached",
        arguments=(*_HUB, "model.repo_id=no-such/model"),
        says=r"^error: model\.repo_id: 'no-such/model' is not in the local cache and the hub canno",
        environment={"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"},
    ),
    Case(
        number=68,
        given="what cannot be a hub id",
        arguments=(*_HUB, "model.repo_id='/models/bert'"),
        says=r"^error: model\.repo_id: '/models/bert' is not a hub id: ",
    ),
    Case(
        number=69,
        given="path is a file",
        arguments=_LOCAL,
        says=r"^error: model\.path: .*/m is a file; expected a folder with config\.json$",
        prepare=lambda here: (here / "m").touch(),
    ),
    Case(
        number=71,
        given="no config.json",
        arguments=_LOCAL,
        says=r"^error: model\.path: .*/m has no config\.json$",
        prepare=lambda here: (here / "m").mkdir(),
    ),
    Case(
        number=71,
        given="the folder above the model",
        arguments=(*_RUN, "model=local", "model.path={here}"),
        says=r"^error: model\.path: .* has no config\.json; perhaps .*/m$",
        prepare=_model(),
    ),
    Case(
        number=71,
        given="a model of llama.cpp",
        arguments=_LOCAL,
        says=r"^error: model\.path: .*/m has no config\.json; model\.gguf is of another format",
        prepare=_model(_without("config.json"), _write("model.gguf", "GGUF")),
    ),
    Case(
        number=71,
        given="an adapter in place of a model",
        arguments=_LOCAL,
        says=r"^error: model\.path: .*/m is an adapter, not a model: it has adapter_config\.json",
        prepare=_model(_without("config.json"), _write("adapter_config.json", "{}")),
    ),
    Case(
        number=71,
        given="an adapter inside of a model, which would be loaded with it",
        arguments=_LOCAL,
        says=r"^error: model\.path: .*/m is an adapter, not a model: it has adapter_config\.json",
        prepare=_model(_write("adapter_config.json", '{"base_model_name_or_path": "/other"}')),
    ),
)

_CONFIGS = (
    *(
        Case(
            number=72,
            given=f"config.json {told}",
            arguments=_LOCAL,
            says=rf"^error: model: .*/m/config\.json {says}",
            prepare=_model(_write("config.json", content)),
        )
        for told, content, says in (
            (
                "cut off",
                '{"model_type": "bert",\n "hid',
                "line 2: not valid JSON: .*; get it again",
            ),
            ("empty", "", "line 1: not valid JSON"),
            ("of bytes", b"\xff\xfe\x00", "is not valid JSON: "),
            ("a list", "[]", r"holds a list, not an object \{\.\.\.\}$"),
            ("nested too deep", '{"a": ' + "[" * 100_000, "is not valid JSON: maximum recursion"),
        )
    ),
    Case(
        number=74,
        given="unknown model_type",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/config\.json: transformers 5\.[\d.]+ has no model type 'bertt';",
        prepare=_model(_config(model_type="bertt")),
    ),
    Case(
        number=74,
        given="no model_type",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/config\.json has no model_type, such as bert; get it again$",
        prepare=_model(_config(model_type=None)),
    ),
    Case(
        number=74,
        given="a number as model_type",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/config\.json: transformers .* has no model type 5$",
        prepare=_model(_config(model_type=5)),
    ),
    Case(
        number=74,
        given="unknown model_type of a model to build",
        arguments=_built("model.model_type=berrt"),
        says=r"^error: model\.model_type: transformers .* has no model type 'berrt'; did you mean",
    ),
    *(
        Case(
            number=82,
            given=f"{key} {value!r} in config.json",
            arguments=(*_LOCAL, "model.dropout=null"),
            says=rf"^error: model: .*/m/config\.json.*{says}",
            prepare=_model(_config(**{key: value})),
        )
        for key, value, says in (
            ("hidden_size", "wide", "'hidden_size' expected int, got str"),
            ("hidden_size", 33, r"not a multiple of the number of attention heads"),
            ("hidden_size", -32, "no model that can be built"),
            ("num_attention_heads", 0, "no model that can be built: ZeroDivisionError"),
            ("hidden_act", "geluu", "no model that can be built: KeyError: 'geluu'"),
            ("hidden_dropout_prob", 7, "dropout probability has to be between 0 and 1"),
            ("num_hidden_layers", 10**9, "num_hidden_layers 1000000000 is more than 1,000 bl"),
            ("dtype", "bf16x", "bf16x"),
        )
    ),
    *(
        Case(
            number=82,
            given=f"{setting} for a model to build",
            arguments=_built(setting),
            says=rf"^error: model\.{says}",
        )
        for setting, says in (
            ("model.config.hidden_size=33", r"config: .*not a multiple of the number of attention"),
            (
                "model.config.num_hidden_layers=-1",
                "config: num_hidden_layers -1 is less than one bl",
            ),
            (
                "model.config.num_hidden_layers=100000",
                r"config: num_hidden_layers 100000 is more",
            ),
            (
                "model.config.vocab_size=100",
                r"config: the tokenizer numbers its words up to 259, but",
            ),
            ("model.config.hidden_size=wide", "config: "),
        )
    ),
    Case(
        number=78,
        given="a model that cannot do the task",
        arguments=_built("model.model_type=vit", "model.config={}"),
        says=r"^error: model\.task: vit cannot do sequence_classification: transformers has no Aut",
    ),
    Case(
        number=78,
        given="a model in a folder that cannot do the task",
        arguments=_LOCAL,
        says=r"^error: model\.task: a model of this type \(.*\) cannot do sequence_classification",
        prepare=_model(_write("config.json", '{"model_type": "vit"}')),
    ),
    Case(
        number=78,
        given="unknown task",
        arguments=_built("model.task=sequence_clasification"),
        says=r"^error: model\.task: no task 'sequence_clasification'; did you mean 'sequence_class",
    ),
    Case(
        number=86,
        given="dtype, which is no setting of the model",
        arguments=_built("model.dtype=bf16x"),
        says=r"^error: model\.dtype: unknown key",
        early=True,
    ),
    Case(
        number=90,
        given="unknown model argument",
        arguments=_built("model.num_lables=2"),
        says=r"^error: model\.num_lables: unknown key",
        early=True,
    ),
    Case(
        number=90,
        given="dropout 7",
        arguments=_built("model.dropout=7"),
        says=r"^error: model\.dropout must be in \[0, 1\), got 7",
        early=True,
    ),
    Case(
        number=87,
        given="a GPU on a machine without one",
        arguments=(
            "+recipe=lora_bert",
            "model=random_bert",
            "data=support",
            "finetune.device=cuda",
            "visualize.open=never",
        ),
        says=r"^error: finetune\.device: no CUDA GPU on this machine; use auto or cpu$",
        environment={"CUDA_VISIBLE_DEVICES": ""},
        code=3,
    ),
    *(
        Case(
            number=89,
            given=f"{where} asks for flash attention",
            arguments=arguments,
            says=r"^error: model.* asks for flash_attention_2 .*, which needs the package flash-",
            prepare=prepare,
        )
        for where, arguments, prepare in (
            ("config.json", _LOCAL, _model(_config(_attn_implementation="flash_attention_2"))),
            ("model.config", _built("+model.config.attn_implementation=flash_attention_2"), None),
        )
    ),
    Case(
        number=89,
        given="an attention that does not exist",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/config\.json asks for the attention kernel 'spda' .*did you mea",
        prepare=_model(_config(attn_implementation="spda")),
    ),
    *(
        Case(
            number=117,
            given=f"an attention kernel of the hub as {key}",
            arguments=_LOCAL,
            says=r"^error: model: .*/m/config\.json asks for the .*kernel 'evil/kernel' .*only eag",
            prepare=_model(_config(**{key: value})),
        )
        for key, value in (
            ("_attn_implementation", "evil/kernel"),
            ("attn_implementation", {"": "evil/kernel"}),
            ("experts_implementation", "evil/kernel"),
            ("text_config", {"_attn_implementation": "evil/kernel"}),
        )
    ),
    Case(
        number=116,
        given="a model that needs code of its author",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/config\.json asks to run Python code .* \(auto_map\); that is n",
        prepare=_model(_config(auto_map={"AutoModel": "evil.Evil"}), _write("evil.py", "1/0")),
    ),
    Case(
        number=116,
        given="trust_remote_code, which is no setting",
        arguments=(*_LOCAL, "model.trust_remote_code=true"),
        says=r"^error: model\.trust_remote_code: unknown key",
        prepare=_model(),
        early=True,
    ),
)

_FILES = (
    Case(
        number=75,
        given="no weights",
        arguments=_LOCAL,
        says=r"^error: model: .*/m has no model\.safetensors$",
        prepare=_model(_without("model.safetensors")),
    ),
    Case(
        number=75,
        given="weights under another name",
        arguments=_LOCAL,
        says=r"^error: model: .*/m has no model\.safetensors; weights\.safetensors is no name",
        prepare=_model(_renamed),
    ),
    Case(
        number=75,
        given="one part of two missing",
        arguments=_LOCAL,
        says=r"^error: model: .*index\.json lists model-00002-of-00002\.safetensors with 19 of the",
        prepare=_model(_sharded, _without("model-00002-of-00002.safetensors")),
    ),
    Case(
        number=75,
        given="parts without their index",
        arguments=_LOCAL,
        says=r"^error: model: .*/m has model-00001-of-00002\.safetensors, but no model\.safetensor",
        prepare=_model(_sharded, _without("model.safetensors.index.json")),
    ),
    Case(
        number=75,
        given="an index that lists a file elsewhere",
        arguments=_LOCAL,
        says=r"^error: model: .*index\.json lists '\.\./other\.safetensors', which is not in its f",
        prepare=_model(
            _sharded,
            _json("model.safetensors.index.json", weight_map={"a": "../other.safetensors"}),
        ),
    ),
    Case(
        number=75,
        given="an index of nothing",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/model\.safetensors\.index\.json has no weight_map; get it again",
        prepare=_model(_sharded, _write("model.safetensors.index.json", "{}")),
    ),
    Case(
        number=75,
        given="config.json names a file of weights",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/config\.json names a file of weights of its own",
        prepare=_model(_config(transformers_weights="other.safetensors")),
    ),
    *(
        Case(
            number=76,
            given=f"weights cut off after {share:.0%}",
            arguments=_LOCAL,
            says=r"^error: model: .*/m/model\.safetensors is damaged \(.*\); get it again$",
            prepare=_model(_cut(share)),
        )
        for share in (0.0001, 0.01, 0.5, 0.999)
    ),
    Case(
        number=76,
        given="empty file of weights",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/model\.safetensors is empty \(0 bytes\); get it again$",
        prepare=_model(_write("model.safetensors", b"")),
    ),
    Case(
        number=76,
        given="noise in place of weights",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/model\.safetensors is damaged \(",
        prepare=_model(_write("model.safetensors", b"\x10" * 5000)),
    ),
    Case(
        number=76,
        given="link to weights that are gone",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/model\.safetensors is a link to nothing, or no file",
        prepare=_model(
            _without("model.safetensors"),
            lambda model: (model / "model.safetensors").symlink_to("gone"),
        ),
    ),
    Case(
        number=77,
        given="git-lfs pointer",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/model\.safetensors is a git-lfs pointer \(\d+ bytes\); run `git",
        prepare=_model(_write("model.safetensors", _LFS)),
    ),
    Case(
        number=77,
        given="git-lfs pointer in one of two parts",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/model-00002-of-00002\.safetensors is a git-lfs pointer",
        prepare=_model(_sharded, _write("model-00002-of-00002.safetensors", _LFS)),
    ),
    Case(
        number=115,
        given="pickle alone",
        arguments=_LOCAL,
        says=r"^error: model: .*/m has only pytorch_model\.bin, a pickle; convert .*model\.allow_p",
        prepare=_model(_as_pickle),
    ),
    Case(
        number=115,
        given="hostile pickle, allowed",
        arguments=(*_LOCAL, "model.allow_pickle=true"),
        says=r"^error: model: .*/m/pytorch_model\.bin is damaged, or more than weights \(",
        prepare=_model(_hostile_pickle),
    ),
)

_FIT = (
    Case(
        number=78,
        given="weights of another architecture",
        arguments=_LOCAL,
        says=r"^error: model: .* does not fit DistilBertForSequenceClassification: \d+ of its \d+",
        prepare=_model(
            _write(
                "config.json",
                '{"model_type": "distilbert", "dim": 32, "n_layers": 2, '
                '"n_heads": 2, "hidden_dim": 64, "vocab_size": 260}',
            )
        ),
    ),
    Case(
        number=79,
        given="half of the weights missing",
        arguments=_LOCAL,
        says=r"^error: model: .* does not fit .*: 20 of its 39 weights are missing .* first: bert",
        prepare=_model(_weights(_halved)),
    ),
    Case(
        number=79,
        given="no weight at all in the file",
        arguments=_LOCAL,
        says=r"^error: model: .* does not fit .*: 39 of its 39 weights are missing",
        prepare=_model(_weights(lambda tensors: {})),
    ),
    Case(
        number=79,
        given="more layers in config.json than in the weights",
        arguments=_LOCAL,
        says=r"^error: model: .* does not fit .*: 16 of its 55 weights are missing .*layer\.2\.",
        prepare=_model(_config(num_hidden_layers=3)),
    ),
    Case(
        number=79,
        given="head of a language model missing",
        arguments=(*_LOCAL, "model.task=causal_lm", "adapter.target_modules=[c_attn]"),
        says=r"^error: model: .* does not fit .*None may be random; choose weights of this archit",
        prepare=_model(_config(is_decoder=True), _weights(_halved)),
    ),
    Case(
        number=79,
        given="compressed weights",
        arguments=_LOCAL,
        says=r"^error: model: .*: the weight .*query\.weight is compressed \(I8\), which cannot be",
        prepare=_model(_weights(_as_bytes)),
    ),
    Case(
        number=79,
        given="a config of compressed weights",
        arguments=_LOCAL,
        says=r"^error: model: .*/m/config\.json is of compressed weights \(quantization_config\)",
        prepare=_model(_config(quantization_config={"quant_method": "gptq", "bits": 4})),
    ),
    *(
        Case(
            number=80,
            given=f"{kind} in the base weights",
            arguments=_LOCAL,
            says=rf"^error: model: .*: the weight bert\.encoder\.layer\.1\.attention\.self\.query\."
            rf"weight has {kind} \(1 of 1,024 values",
            prepare=_model(_poisoned(value)),
        )
        for kind, value in (("NaN", float("nan")), ("Inf", float("-inf")))
    ),
    Case(
        number=82,
        given="hidden_size of another model in config.json",
        arguments=_LOCAL,
        says=r"^error: model: .* does not fit .*: \d+ of its 39 weights .* has the shape \(32,\) a",
        prepare=_model(_config(hidden_size=48, num_attention_heads=3)),
    ),
)

_WORDS = (
    Case(
        number=85,
        given="no token to pad with",
        arguments=_LOCAL,
        says=r"^error: model: the tokenizer in .*/m has neither a pad_token nor an eos_token",
        prepare=_model(_json("tokenizer_config.json", pad_token=None, sep_token=None)),
    ),
    Case(
        number=64,
        given="no tokenizer: transformers would make one of five words",
        arguments=_LOCAL,
        says=r"^error: model: no tokenizer in .*/m: none of tokenizer\.json, vocab\.txt is there;",
        prepare=_model(_without("tokenizer.json", "tokenizer_config.json")),
    ),
    Case(
        number=64,
        given="words missing, settings there",
        arguments=_LOCAL,
        says=r"^error: model: no tokenizer in .*/m: ",
        prepare=_model(_without("tokenizer.json")),
    ),
    Case(
        number=64,
        given="an empty list of words",
        arguments=_LOCAL,
        says=r"^error: model: the tokenizer in .*/m has no words, but .*vocab\.txt should have",
        prepare=_model(
            _without("tokenizer.json", "tokenizer_config.json"), _write("vocab.txt", "")
        ),
    ),
    *(
        Case(
            number=64,
            given=f"{name} {told}",
            arguments=_LOCAL,
            says=rf"^error: model: no tokenizer in .*/m: {says}",
            prepare=_model(_write(name, content)),
        )
        for name, told, content, says in (
            ("tokenizer.json", "cut off", '{"version":', ""),
            ("tokenizer.json", "a list", "[]", ""),
            ("tokenizer_config.json", "cut off", '{"pad', ""),
            ("tokenizer_config.json", "a list", "[]", ""),
        )
    ),
    Case(
        number=64,
        given="more words than the model has room for",
        arguments=_LOCAL,
        says=r"^error: model: /?.*/m: the tokenizer numbers its words up to 260, but .* room for 2",
        prepare=_model(
            _json(
                "tokenizer.json",
                added_tokens=[
                    {
                        "id": 300,
                        "content": "[NEW]",
                        "single_word": False,
                        "lstrip": False,
                        "rstrip": False,
                        "normalized": False,
                        "special": True,
                    }
                ],
            )
        ),
    ),
)

CASES: tuple[Case, ...] = (*_PATHS, *_CONFIGS, *_FILES, *_FIT, *_WORDS)

PROVED: tuple[Proved, ...] = (
    Proved(number=81, by="tests/test_model.py::test_head_of_another_size_is_replaced_and_told"),
)
