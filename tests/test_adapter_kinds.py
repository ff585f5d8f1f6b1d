"""Every kind of adapter that PEFT has can be chosen, checked, inserted, saved and loaded again."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest
import transformers
from conftest import LABELS, Compose
from zoo import BERT, FAMILIES, LLAMA, text

from pipeline.adapter import kinds
from pipeline.adapter.peft_stage import PeftStage
from pipeline.adapter.presets import PRESETS, ends_of, preset
from pipeline.adapter.ranges import RULES
from pipeline.artifacts import AdaptedModel, BaseModel, Examples, HashedFile
from pipeline.build import build_stage
from pipeline.errors import ConfigError, MachineError, StageError
from pipeline.seal import sha256
from pipeline.shipped import shipped_folder

ROOT = Path(__file__).parent.parent
OF_PEFT = {
    file.stem: file.read_text(encoding="utf-8")
    for file in sorted((shipped_folder("configs") / "adapter").glob("*.yaml"))
    if "_target_: pipeline.adapter.kinds." in file.read_text(encoding="utf-8")
    or "_target_: pipeline.adapter.Lora" in file.read_text(encoding="utf-8")
}
ON_A_GPU = {"loftq"}
RUNNABLE = sorted(OF_PEFT.keys() - ON_A_GPU)
# PEFT's defaults are meant for layers of some hundred units; here they have 32.
SMALL: Mapping[str, str] = {
    "adamss": "r=8 num_subspaces=2", "adaption_prompt": "adapter_len=4", "c3a": "block_size=16",
    "fourierft": "n_frequency=50", "gralora": "r=4", "hira": "r=4", "lily": "r=4", "miss": "r=4",
    "oft": "oft_block_size=16", "osf": "effective_rank=8", "peanut": "r=4", "psoft": "r=4",
    "randlora": "r=4", "road": "group_size=16", "shira": "r=4", "trainable_tokens":
    "token_indices=[3,4,5,6,7,8,9]", "vblora": "num_vectors=32 vector_length=16",
    "waveft": "n_frequency=50", "frod": "sparse_rate=0.05", "p_tuning": "encoder_hidden_size=16",
}  # fmt: skip


def saved_base(family: str, task: str, auto_class: str, folder: Path) -> BaseModel:
    FAMILIES[family].build().save_pretrained(folder)  # type: ignore[operator]
    weights = folder / "model.safetensors"
    return BaseModel(
        folder=folder,
        weights=(HashedFile(path=weights, sha256=sha256(weights), size=weights.stat().st_size),),
        name=family, repo_id=None, revision=None, source=family, task=task, auto_class=auto_class,
    )  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp("llama")
    return saved_base("Llama", "causal_lm", "AutoModelForCausalLM", folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp("bert")
    auto_class = "AutoModelForSequenceClassification"
    return saved_base("BERT", "sequence_classification", auto_class, folder)


def no_rows(base: BaseModel, folder: Path, longest: int = 0) -> Examples:
    return Examples(
        folder=folder, task=base.task, sources=(), revision=None,
        labels=LABELS if base.task == "sequence_classification" else (),
        train_rows=0, validation_rows=0, test_rows=0, longest=longest, mean_length=0,
    )  # fmt: skip


Insert = Callable[..., AdaptedModel]


@pytest.fixture
def insert(composed: Compose, tmp_path: Path) -> Insert:
    """Return a function that runs `adapter=OPTION` with settings on a base."""

    def run(option: str, base: BaseModel, *settings: str, longest: int = 0) -> AdaptedModel:
        overrides = [f"adapter.{each}" for each in settings]
        stage: Any = build_stage("adapter", composed(f"adapter={option}", *overrides)["adapter"])
        folder = tmp_path / f"adapter{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        method = stage.run if base.weights else stage.look
        made: AdaptedModel = method((base, no_rows(base, tmp_path, longest)), folder)
        return made

    return run


def moved(made: AdaptedModel, folder: Path, by: float = 0.05) -> Any:
    """Give what trains other values, as training would, and save it; return the model."""
    return moved_on(made, made.load(trainable=True), folder, by)


def moved_on(made: AdaptedModel, model: Any, folder: Path, by: float) -> Any:
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += by * torch.randn(value.shape, generator=generator)
    made.base.save_adapter(model, folder)
    return model.eval()


def answers(model: Any, option: str = "") -> Any:
    import torch

    given = text(2, 8)
    if option in ("poly", "multitask_prompt_tuning"):
        given["task_ids"] = torch.zeros(2, dtype=torch.long)
    with torch.no_grad():
        return model(**given).logits


# -- what is written ------------------------------------------------------------------------------


def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(
        "adapter_kinds", str(ROOT / "scripts/adapter_kinds")
    )
    spec = importlib.util.spec_from_loader("adapter_kinds", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["adapter_kinds"] = module  # dataclasses look for their module there
    loader.exec_module(module)
    return module


def test_written_files_are_what_the_installed_peft_says() -> None:
    """In a process of its own: Python remembers unions in the order in which it first met them."""
    command = [sys.executable, str(ROOT / "scripts/adapter_kinds"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_type_of_peft_is_an_option_or_is_left_out_for_a_reason() -> None:
    import peft

    written = script()
    assert set(peft.PeftType) == set(written.KINDS) | set(written.LEFT_OUT)
    assert {kind.option for kind in written.KINDS.values()} < set(OF_PEFT)
    assert all(written.LEFT_OUT.values())


def test_the_options_are_many_and_lora_is_one() -> None:
    assert len(RUNNABLE) >= 47
    assert {"lora", "dora", "adalora", "prompt_tuning"} <= set(RUNNABLE)


def test_settings_are_checked_before_any_heavy_library_is_imported() -> None:
    code = (
        "import sys; import pipeline.adapter, pipeline.adapter.kinds;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'peft', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# -- what is checked ------------------------------------------------------------------------------


STAGES = [getattr(kinds, name) for name in kinds.__all__]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_every_number_has_a_range(stage: type[PeftStage]) -> None:
    hints = get_type_hints(stage)
    numbers = [
        field.name for field in fields(stage)
        if hints[field.name] in (int, float, int | None, float | None, int | float | None)
    ]  # fmt: skip
    assert numbers
    assert [name for name in numbers if name not in RULES] == []


@pytest.mark.parametrize(
    ("option", "settings", "says"),
    [
        (
            "loha",
            ["r=0", "alpha=0"],
            ["r must be a whole number of at least 1, got 0", "alpha mus"],
        ),
        ("lokr", ["module_dropout=1"], ["module_dropout must be in [0, 1), got 1"]),
        ("oft", ["r=-1"], ["r must be a whole number of at least 0, got -1"]),
        ("oft", ["eps=nan"], ["eps must be a finite number above 0, got nan"]),
        ("road", ["group_size=5"], ["group_size must be an even number of at least 2, got 5"]),
        (
            "vera",
            ["+projection_prng=1"],
            ["projection_prng: unknown key; did you mean 'projection_prng_key'?"],
        ),
        ("vera", ["projection_prng_key=-1"], ["projection_prng_key must be a whole number from 0"]),
        ("prompt_tuning", ["num_virtual_tokens=0"], ["num_virtual_tokens must be a whole number"]),
        ("prompt_tuning", ["prompt_tuning_init=WORDS"], ["prompt_tuning_init: "]),
        ("trainable_tokens", ["token_indices=[]"], ["token_indices is empty; name tokens"]),
        ("trainable_tokens", ["token_indices=[-1]"], ["token_indices counts the tokens from 0"]),
        ("ia3", ["feedforward_modules='(*'"], ["feedforward_modules: '(*' is not a regular expr"]),
        ("boft", ["bias=lora_only"], ["bias: should be 'none', 'all' or 'boft_only', got 'lora_"]),
        ("adalora", ["beta1=1", "deltaT=0", "seed=-1"], ["beta1 must", "deltaT must", "seed must"]),
        ("glora", ["r=much"], ["r: "]),
    ],
)
def test_wrong_settings_are_told_all_at_once(
    option: str, settings: list[str], says: list[str], composed: Compose
) -> None:
    overrides = [f"+adapter.{s[1:]}" if s.startswith("+") else f"adapter.{s}" for s in settings]
    with pytest.raises(ConfigError) as caught:
        build_stage("adapter", composed(f"adapter={option}", *overrides)["adapter"])
    lines = str(caught.value).splitlines()
    for said in says:
        assert any(line.startswith(f"adapter.{said}") for line in lines), lines


# -- presets of targets ---------------------------------------------------------------------------

SMALL_TEXT: dict[str, Any] = {**BERT, "pad_token_id": 0}
OTHERS: Mapping[str, Callable[[], Any]] = {
    "ModernBERT": lambda: transformers.ModernBertForSequenceClassification(
        transformers.ModernBertConfig(
            **SMALL_TEXT, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
        )
    ),
    "DeBERTa v2": lambda: transformers.DebertaV2ForSequenceClassification(
        transformers.DebertaV2Config(**SMALL_TEXT)
    ),
    "Mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**LLAMA)),
    "Gemma": lambda: transformers.GemmaForCausalLM(transformers.GemmaConfig(**LLAMA, head_dim=8)),
    "ConvNeXt": lambda: transformers.ConvNextForImageClassification(
        transformers.ConvNextConfig(hidden_sizes=[16, 32], depths=[1, 1], num_stages=2)
    ),
}
LIKE_LLAMA = ("q_proj v_proj", "q_proj k_proj v_proj o_proj", "gate_proj up_proj down_proj")
LIKE_BERT = (
    "query value", "query key value attention.output.dense",
    "intermediate.dense 0.output.dense 1.output.dense",
)  # fmt: skip
EXPECTED: Mapping[str, tuple[str, str, str]] = {
    "BERT": LIKE_BERT,
    "RoBERTa": LIKE_BERT,
    "DistilBERT": ("q_lin v_lin", "q_lin k_lin v_lin out_lin", "lin1 lin2"),
    "ModernBERT": ("Wqkv", "Wqkv attn.Wo", "Wi mlp.Wo"),
    "DeBERTa v2": (
        "query_proj value_proj", "query_proj key_proj value_proj attention.output.dense",
        LIKE_BERT[2],
    ),
    "GPT-2": ("c_attn", "c_attn attn.c_proj", "c_fc mlp.c_proj"),
    "Llama": LIKE_LLAMA,
    "Qwen 3": LIKE_LLAMA,
    "Mistral": LIKE_LLAMA,
    "Gemma": LIKE_LLAMA,
    "T5": ("q v", "q k v o", "wi wo"),
    "ViT": ("q_proj v_proj", "q_proj k_proj v_proj o_proj", "fc1 fc2"),
}  # fmt: skip


def built(name: str) -> Any:
    return OTHERS[name]() if name in OTHERS else FAMILIES[name].build()


@pytest.mark.parametrize("family", EXPECTED)
def test_presets_name_the_layers_of_every_family(family: str) -> None:
    from pipeline.adapter.head import head_of

    model = built(family)
    labels = ("a", "b", "c") if "Classification" in type(model).__name__ else ()
    head = head_of(model, labels) if labels else ()
    found = [
        " ".join(ends_of(preset(name, model, head, "target_modules"), model))
        for name in ("query_value", "attention", "mlp")
    ]
    assert tuple(found) == EXPECTED[family]


@pytest.mark.parametrize("family", EXPECTED)
def test_all_linear_means_what_it_means_to_peft(family: str) -> None:
    import peft
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers

    model = built(family)
    asked = peft.LoraConfig(target_modules="all-linear", task_type="SEQ_CLS")
    heads = ("classifier", "pre_classifier", "pooler", "head")  # these train in full
    theirs = {
        name for name in _maybe_include_all_linear_layers(asked, model).target_modules
        if name.partition(".")[0] not in heads
    }  # fmt: skip
    assert set(preset("all-linear", model, heads, "target_modules")) == theirs


def test_ends_match_the_wanted_modules_and_no_others() -> None:
    model = built("BERT")
    wanted = preset("mlp", model, ("classifier",), "target_modules")
    ends = ends_of(wanted, model)
    hit = [n for n, _ in model.named_modules() if any(f".{n}".endswith(f".{e}") for e in ends)]
    assert hit == wanted


@pytest.mark.parametrize(
    ("family", "name", "says"),
    [
        ("ResNet", "query_value", "ResNetForImageClassification has no layers that 'query_value'"),
        (
            "ResNet",
            "all-linear",
            "Linear layers: none outside the head; convolutions: .*convolution",
        ),
        ("ConvNeXt", "attention", "Linear layers: pwconv1, pwconv2; convolutions: "),
        ("CNN", "attention", "Linear layers: hidden, head; convolutions: features.0, features.4"),
    ],
)
def test_preset_that_stands_for_nothing_says_what_there_is(
    family: str, name: str, says: str
) -> None:
    with pytest.raises(StageError, match=f"adapter.target_modules: .*{says}"):
        preset(name, built(family), ("classifier",), "target_modules")


def test_preset_is_shown_and_given_to_peft_by_name(
    insert: Insert, bert: BaseModel, caplog: pytest.LogCaptureFixture
) -> None:
    made = insert("lora", bert, "target_modules=attention")
    assert "    target_modules attention: query, key, value, attention.output.dense" in caplog.text
    told = json.loads((made.folder / "adapter_config.json").read_text())
    assert told["target_modules"] == ["attention.output.dense", "key", "query", "value"]
    assert len(made.placement.adapted) == 8


def test_every_preset_is_told_in_the_yaml() -> None:
    assert all(name in OF_PEFT["lora"] or name == "norms" for name in PRESETS)


# -- every kind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", RUNNABLE)
def test_adapter_is_the_same_after_it_was_saved_and_loaded(
    option: str, insert: Insert, bert: BaseModel, llama: BaseModel, tmp_path: Path
) -> None:
    import torch

    lines = OF_PEFT[option].splitlines()
    causal = any("causal language model" in line or "Llama or" in line for line in lines[:4])
    base = llama if causal else bert
    settings = SMALL.get(option, "").split()
    made = insert(option, base, *settings)
    assert made.placement.adapted
    assert made.trainable > 0

    model = made.load(trainable=True).eval()
    start = answers(model, option)
    model = moved_on(made, model, tmp_path / "trained", by=0.05)
    before = answers(model, option)
    assert not torch.allclose(before, start, atol=1e-4), "nothing was moved"
    for trainable in (False, True) if "num_virtual_tokens" in OF_PEFT[option] else (False,):
        again = base.load_adapter(made.labels, tmp_path / "trained", trainable=trainable).eval()
        torch.testing.assert_close(answers(again, option), before, atol=1e-5, rtol=1e-5)

    without = insert(option, replace(base, weights=()), *settings)
    assert (without.trainable, without.total) == (made.trainable, made.total)


@pytest.mark.parametrize("start", ["pissa", "olora", "mica", "orthogonal", "gaussian"])
def test_start_that_takes_from_the_base_leaves_the_model_what_it_was(
    start: str, insert: Insert, bert: BaseModel, tmp_path: Path
) -> None:
    import torch

    settings = ("r=4", "target_modules=all-linear", "use_rslora=true")
    made = insert("lora", bert, *settings, f"init_lora_weights={start}")
    torch.manual_seed(made.folder.stat().st_size % 7)  # nothing may depend on it
    plain = insert("lora", bert, *settings)
    torch.testing.assert_close(answers(made.load()), answers(plain.load()), atol=1e-5, rtol=1e-4)
    model = moved(made, tmp_path / "trained", by=0.3)
    for seed in range(2):
        torch.manual_seed(seed)
        again = bert.load_adapter(LABELS, tmp_path / "trained")
        torch.testing.assert_close(answers(again), answers(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("start", ["pissa_niter_4", "eva", "corda"])
def test_start_that_cannot_be_computed_again_is_no_choice(start: str, composed: Compose) -> None:
    with pytest.raises(ConfigError, match="adapter.init_lora_weights: should be"):
        build_stage("adapter", composed(f"adapter.init_lora_weights={start}")["adapter"])


def test_loftq_needs_a_gpu(insert: Insert, bert: BaseModel) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(MachineError, match="loftq rounds the base model on a GPU") as caught:
        insert("loftq", bert)
    assert caught.value.exit_code == 3


def test_qlora_needs_the_package_that_rounds(
    insert: Insert, bert: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as if it were not installed
    for base in (bert, replace(bert, weights=())):
        with pytest.raises(MachineError, match="needs the package bitsandbytes") as caught:
            insert("qlora", base)
        assert caught.value.exit_code == 3


def test_qlora_trains_on_four_bits_and_answers_with_the_same_values(
    insert: Insert, tmp_path: Path
) -> None:
    import torch

    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    settings = {**BERT, **no_dropout, "hidden_size": 64}  # it rounds 64 at a time
    config = transformers.BertConfig(**settings)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    base = BaseModel(
        folder=weights.parent, weights=(HashedFile(path=weights, sha256="0" * 64, size=1),),
        name="BERT", repo_id=None, revision=None, source="BERT", task="sequence_classification",
        auto_class="AutoModelForSequenceClassification",
    )  # fmt: skip
    made = insert("qlora", base, "bnb_4bit_compute_dtype=float32")
    model = moved(made, tmp_path / "trained").train()  # else it multiplies in bfloat16 on a CPU
    assert "Linear4bit" in {type(module).__name__ for module in model.modules()}
    again = made.base.load_adapter(LABELS, tmp_path / "trained")
    assert "Linear4bit" not in {type(module).__name__ for module in again.modules()}
    torch.testing.assert_close(answers(again), answers(model), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(answers(again), answers(base.load_adapter(LABELS, made.folder)))


def test_prompt_that_starts_from_a_text_is_saved_without_a_path(
    insert: Insert, base: BaseModel
) -> None:
    made = insert(
        "prompt_tuning", base, "prompt_tuning_init=TEXT", "prompt_tuning_init_text='is it a pear'",
        "num_virtual_tokens=4",
    )  # fmt: skip
    told = json.loads((made.folder / "adapter_config.json").read_text())
    assert told["tokenizer_name_or_path"] is None
    assert str(base.folder) not in json.dumps(told)
    assert made.load(trainable=True).get_nb_trainable_parameters()[0] == made.trainable


# -- what is refused ------------------------------------------------------------------------------


def test_kind_that_cannot_train_a_new_head_is_refused(insert: Insert, bert: BaseModel) -> None:
    says = r"TRAINABLE_TOKENS trains no module in full, so the head \(classifier.* would stay froz"
    with pytest.raises(StageError, match=says):
        insert("trainable_tokens", bert)


@pytest.mark.parametrize(
    ("tokens", "longest", "says"),
    [
        (64, 0, "64 leave no room for a text; this model has 64 positions"),
        (20, 50, r"20 and the longest text, of 50 tokens, .* set data.max_length=44, or add fewer"),
    ],
)
def test_virtual_tokens_that_leave_no_room_are_refused(
    tokens: int, longest: int, says: str, insert: Insert, bert: BaseModel
) -> None:
    with pytest.raises(StageError, match=f"adapter.num_virtual_tokens: {says}"):
        insert("prompt_tuning", bert, f"num_virtual_tokens={tokens}", longest=longest)


@pytest.mark.parametrize(
    ("option", "settings", "says"),
    [
        ("vera", "r=2000000000", "adapter.r: 2000000000 is more than any layer .* has weights"),
        ("adalora", "init_r=33", "adapter.init_r: 33 is more than any layer of this model is wide"),
        ("c3a", "block_size=7", "adapter: C3A does not fit BertForSequenceClassification: "),
        ("loha", "target_modules=[quary]", r"'quary' matches no module; did you mean 'query'\?"),
        ("adaption_prompt", "adapter_len=4", "ADAPTION_PROMPT does not fit BertForSequenceClass"),
        ("shira", "target_modules=[LayerNorm]", "adapter: SHIRA does not fit Bert.*LayerNorm"),
    ],
)
def test_setting_that_does_not_fit_the_model_is_refused(
    option: str, settings: str, says: str, insert: Insert, bert: BaseModel
) -> None:
    with pytest.raises(StageError, match=says):
        insert(option, bert, settings)


# -- going on from an adapter ----------------------------------------------------------------------


@pytest.mark.parametrize("option", ["lora", "ia3", "p_tuning"])
def test_training_goes_on_from_an_existing_adapter(
    option: str, insert: Insert, bert: BaseModel, tmp_path: Path
) -> None:
    import torch

    first = insert(option, bert, *SMALL.get(option, "").split())
    (tmp_path / "old").mkdir()
    model = moved(first, tmp_path / "old" / "adapter")
    then = insert("existing", bert, f"path={tmp_path / 'old' / 'adapter'}")
    torch.testing.assert_close(answers(then.load()), answers(model), atol=1e-5, rtol=1e-5)
    assert then.placement == first.placement
    looked = insert("existing", replace(bert, weights=()), f"path={tmp_path / 'old' / 'adapter'}")
    assert looked.trainable == first.trainable


def test_existing_adapter_is_read_by_its_content(
    composed: Compose, insert: Insert, bert: BaseModel
) -> None:
    made = insert("lora", bert)
    stage: Any = build_stage(
        "adapter", composed("adapter=existing", f"adapter.path={made.folder}")["adapter"]
    )
    names = ("adapter_config.json", "adapter_model.safetensors")
    assert stage.reads() == {str(made.folder / n): sha256(made.folder / n) for n in names}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere", "adapter.path: .*nowhere is no folder"),
        (
            "empty",
            "empty is no adapter in PEFT's format: it needs adapter_config.json and adapter_mo",
        ),
        ("above", "above is no adapter in PEFT's format: .*; adapter/ in it is one"),
    ],
)
def test_folder_without_an_adapter_is_refused(
    path: str, says: str, insert: Insert, bert: BaseModel, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    moved(insert("lora", bert), tmp_path / "above" / "adapter")
    with pytest.raises(StageError, match=says):
        insert("existing", bert, f"path={tmp_path / path}")


@pytest.mark.parametrize("weights", [True, False])
def test_adapter_of_another_model_is_refused(
    weights: bool, insert: Insert, bert: BaseModel, llama: BaseModel
) -> None:
    made = insert("lora", llama)
    base = bert if weights else replace(bert, weights=())
    with pytest.raises(StageError, match="adapter: .* does not fit.*: Target modules"):
        insert("existing", base, f"path={made.folder}")


# -- the head -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("BERT", ("classifier",)),
        ("RoBERTa", ("classifier",)),
        ("DistilBERT", ("pre_classifier", "classifier")),
        ("DeBERTa v2", ("pooler", "classifier")),
        ("ModernBERT", ("head", "classifier")),
        ("ViT", ("classifier",)),
        ("ResNet", ("classifier",)),
        ("CNN", ("head",)),
    ],
)
def test_head_is_found(family: str, head: tuple[str, ...]) -> None:
    from pipeline.adapter.head import head_of

    labels = tuple(map(str, range(10 if family == "CNN" else 3)))
    assert head_of(built(family), labels) == head
