"""The adapter stage puts LoRA where it was asked, says so, and refuses what it cannot do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import LABELS, Compose

from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.build import build_stage
from pipeline.errors import StageError
from pipeline.placement import Module, Placement
from pipeline.seal import digests

HIDDEN, LAYERS = 32, 2
HEAD = len(LABELS) * HIDDEN + len(LABELS)

Run = Callable[..., AdaptedModel]


@pytest.fixture
def run(composed: Compose, base: BaseModel, examples: Examples, tmp_path: Path) -> Run:
    def run_with(*overrides: str) -> AdaptedModel:
        stage = build_stage(
            "adapter",
            composed(
                *(f"+adapter.{o[1:]}" if o.startswith("+") else f"adapter.{o}" for o in overrides)
            )["adapter"],
        )
        return stage.run((base, examples), tmp_path)  # type: ignore[attr-defined, no-any-return]

    return run_with


@pytest.mark.parametrize("r", [1, 4, 8])
def test_trains_two_matrices_a_target_and_the_head(r: int, run: Run) -> None:
    made = run(f"r={r}")
    matrices = LAYERS * 2 * r * (HIDDEN + HIDDEN)
    assert made.trainable == matrices + HEAD


def test_placement_names_every_module_and_what_became_of_it(run: Run) -> None:
    placement = run("r=4").placement
    by_name = {module.name: module for module in placement.modules}
    assert {module.name for module in placement.adapted} == {
        f"bert.encoder.layer.{layer}.attention.self.{end}"
        for layer in range(LAYERS)
        for end in ("query", "value")
    }
    query = by_name["bert.encoder.layer.1.attention.self.query"]
    assert (query.kind, query.r, query.lora_alpha, query.scaling) == ("LORA", 4, 16, 4.0)
    assert query.why == "target_modules: query"
    assert query.trainable == 4 * (HIDDEN + HIDDEN)
    assert query.frozen == HIDDEN * HIDDEN + HIDDEN
    assert by_name["bert.encoder.layer.1.attention.self.key"].role == "frozen"
    assert by_name["classifier"].role == "trained"
    assert by_name["classifier"].why == "modules_to_save: classifier"
    assert by_name["classifier"].trainable == HEAD


def test_totals_equal_pefts_own(run: Run) -> None:
    made = run("target_modules=all-linear", "r=2")
    trainable, total = made.load(trainable=True).get_nb_trainable_parameters()
    assert (made.trainable, made.total) == (trainable, total)
    assert made.placement.trainable + made.placement.frozen == total


def test_adapted_modules_are_pefts_own_tuner_layers(run: Run) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    made = run("target_modules=[query,dense]")
    model = made.load().get_base_model()
    layers = {n for n, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    assert {module.name for module in made.placement.adapted} == layers


def test_unknown_target_lists_the_modules_that_exist_and_the_nearest(run: Run) -> None:
    with pytest.raises(StageError) as caught:
        run("target_modules=[quary]")
    said = str(caught.value)
    assert "adapter.target_modules: 'quary' matches no module; did you mean 'query'?" in said
    assert "classifier, dense, key, position_embeddings, query" in said


def test_partly_matching_list_fails_where_peft_says_nothing(run: Run) -> None:
    with pytest.raises(StageError, match=r"'vaule' matches no module; did you mean 'value'\?"):
        run("target_modules=[query,vaule]")


def test_pattern_that_matches_nothing_fails(run: Run) -> None:
    with pytest.raises(StageError, match="no module's whole name matches 'query'"):
        run("target_modules=query")


def test_pattern_matches_whole_names(run: Run) -> None:
    made = run(r"target_modules='bert\.encoder\.layer\.1\..*query'")
    assert [m.name for m in made.placement.adapted] == ["bert.encoder.layer.1.attention.self.query"]


def test_layer_that_cannot_carry_lora_is_refused(run: Run) -> None:
    with pytest.raises(StageError, match="LayerNorm"):
        run("target_modules=[LayerNorm]")


def test_unknown_module_to_save_is_refused(run: Run) -> None:
    with pytest.raises(
        StageError, match=r"modules_to_save: 'clasifier'.*did you mean 'classifier'"
    ):
        run("modules_to_save=[clasifier]")


def test_head_that_would_stay_frozen_and_random_is_refused(base: BaseModel) -> None:
    from peft import LoraConfig, get_peft_model

    from pipeline.tasks.head import check_head_trains

    without_task = LoraConfig(target_modules=["query"])  # what a missing task type does
    model = get_peft_model(base.load(LABELS), without_task)
    with pytest.raises(StageError, match=r"the head \(classifier.*would stay frozen"):
        check_head_trains(model)


def test_part_of_a_head_that_would_stay_frozen_is_refused_too(base: BaseModel) -> None:
    from peft import LoraConfig, get_peft_model

    from pipeline.tasks.head import check_head_trains

    lora_in_the_head = LoraConfig(target_modules=["query", "classifier"])
    model = get_peft_model(base.load(LABELS), lora_in_the_head)  # A and B train, W is random
    with pytest.raises(StageError, match=r"the head \(classifier.*would stay frozen"):
        check_head_trains(model)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["exclude_modules=[vaule]"], "exclude_modules: 'vaule' matches no module; did you mean"),
        (["exclude_modules=[value]"], "target_modules: 'value' touches none of the 2 adapted"),
        (["layers_to_transform=[0,99]"], "layers_to_transform: block 99 touches none of the 2"),
        (["+rank_pattern.vaule=4"], "adapter.rank_pattern: 'vaule' touches none of the 4"),
        (["target_modules='.*query'", "layers_to_transform=[0]"], "adapter: "),
    ],
)
def test_setting_that_touches_nothing_is_refused(overrides: list[str], says: str, run: Run) -> None:
    with pytest.raises(StageError) as caught:
        run(*overrides)
    assert says in str(caught.value)


def test_rank_pattern_gives_the_named_modules_another_rank(run: Run) -> None:
    placement = run(r"+rank_pattern={layer.0.attention.self.query:2}").placement
    ranks = {module.name.split("layer.")[1]: module.r for module in placement.adapted}
    assert ranks["0.attention.self.query"] == 2
    assert ranks["1.attention.self.query"] == 8


def test_placement_lists_every_module_of_the_model(run: Run, base: BaseModel) -> None:
    names = {name for name, _ in base.load(LABELS).named_modules() if name}
    modules = run().placement.modules
    assert {module.name for module in modules} == names
    assert {m.why for m in modules if m.name == "bert.encoder"} == {"no parameters of its own"}


def test_rank_above_the_layer_is_refused(run: Run) -> None:
    with pytest.raises(
        StageError, match="adapter.r: 33 is more than any layer of this model is wi"
    ):
        run("r=33")
    with pytest.raises(StageError, match=r"adapter.r: 8 is more than bert.*is wide \(2 to 32\)"):
        run("target_modules=[token_type_embeddings]")


def test_absurd_rank_takes_no_memory_before_it_is_refused(run: Run) -> None:
    with pytest.raises(StageError, match="adapter.r: 1000000000000 is more than any layer"):
        run("r=1000000000000")  # the matrices would have 2 million GB


def test_biases_train_when_asked(run: Run) -> None:
    made = run("bias=lora_only")
    without = LAYERS * 2 * 8 * (HIDDEN + HIDDEN) + HEAD
    assert made.trainable == without + LAYERS * 2 * HIDDEN


def test_same_seed_gives_the_same_initial_weights(run: Run) -> None:
    from safetensors.numpy import load_file

    first = load_file(run("seed=3").folder / "adapter_model.safetensors")
    second = load_file(run("seed=3").folder / "adapter_model.safetensors")
    other = load_file(run("seed=4").folder / "adapter_model.safetensors")
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_saved_adapter_is_pefts_format_without_a_path_of_this_machine(run: Run) -> None:
    made = run()
    config = json.loads((made.folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["base_model_name_or_path"] is None  # it is nowhere on the hub
    assert sorted(file.name for file in made.folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "placement.json",
    ]


def test_placement_reads_back_as_it_was_written(run: Run, tmp_path: Path) -> None:
    placement = run().placement
    placement.save(tmp_path / "again.json")
    assert Placement.read(tmp_path / "again.json") == placement


# -- kinds of adapters that the stage does not make yet, but `place` reads -----------------------


def placed(base: BaseModel, **settings: object) -> Placement:
    """Place an adapter of any kind; `place` itself holds its sums to PEFT's own."""
    import peft

    from pipeline.adapter.placement import place

    model = base.load(LABELS)
    before = {name: type(module).__name__ for name, module in model.named_modules()}
    kind = getattr(peft, str(settings.pop("kind")))
    return place(peft.get_peft_model(model, kind(task_type="SEQ_CLS", **settings)), before)


def named(placement: Placement, name: str) -> Module:
    return next(module for module in placement.modules if module.name == name)


def test_dropout_of_the_adapter_is_told(run: Run) -> None:
    assert {module.lora_dropout for module in run("lora_dropout=0.25").placement.adapted} == {0.25}
    assert {module.lora_dropout for module in run("lora_dropout=0.0").placement.adapted} == {0.0}


def test_prompt_is_a_module_of_its_own_where_no_layer_is_adapted(base: BaseModel) -> None:
    placement = placed(base, kind="PromptTuningConfig", num_virtual_tokens=5)
    (prompt,) = placement.adapted
    assert (prompt.name, prompt.kind) == ("prompt_encoder.default", "PROMPT_TUNING")
    assert (prompt.trainable, prompt.why) == (5 * HIDDEN, "num_virtual_tokens: 5")
    assert placement.trainable == 5 * HIDDEN + HEAD


@pytest.mark.parametrize(
    ("settings", "one_layer", "expected"),
    [
        ({"kind": "IA3Config", "feedforward_modules": []}, HIDDEN, (None, None, None)),
        ({"kind": "LoHaConfig", "r": 4, "alpha": 8}, 4 * 4 * HIDDEN, (4, 8, 2.0)),
        ({"kind": "AdaLoraConfig", "init_r": 6, "total_step": 9}, 6 * (2 * HIDDEN + 1), (6, 8, 8)),
    ],
)
def test_layers_of_other_kinds_are_told_as_they_are(
    settings: dict[str, object],
    one_layer: int,
    expected: tuple[int | None, float | None, float | None],
    base: BaseModel,
) -> None:
    placement = placed(base, **settings, target_modules=["query", "value"])
    assert len(placement.adapted) == 2 * LAYERS
    for module in placement.adapted:
        assert (module.r, module.lora_alpha, module.scaling) == expected
        assert module.trainable == one_layer
        assert module.why in {"target_modules: query", "target_modules: value"}


def test_tokens_that_train_beside_lora_are_an_adapter_of_their_own_kind(base: BaseModel) -> None:
    placement = placed(
        base, kind="LoraConfig", target_modules=["query"], trainable_token_indices=[7, 8, 9]
    )
    words = named(placement, "bert.embeddings.word_embeddings")
    assert (words.role, words.kind, words.trainable) == ("adapted", "TRAINABLE_TOKENS", 3 * HIDDEN)
    assert words.why == "trainable_token_indices"


def test_norms_that_train_carry_the_adapter(base: BaseModel) -> None:
    placement = placed(base, kind="LNTuningConfig", target_modules=["LayerNorm"])
    norm = named(placement, "bert.encoder.layer.1.output.LayerNorm")
    assert (norm.kind, norm.trainable, norm.frozen) == ("LN_TUNING", 2 * HIDDEN, 2 * HIDDEN)


def test_parameters_of_the_model_itself_are_counted() -> None:
    import peft
    import torch

    from pipeline.adapter.placement import place

    class Shifted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(4, 3)
            self.shift = torch.nn.Parameter(torch.zeros(5))

    before = {"": "Shifted", "inner": "Linear"}
    model = peft.get_peft_model(Shifted(), peft.LoraConfig(r=2, target_modules=["inner"]))
    whole, inner = place(model, before).modules
    assert (whole.name, whole.frozen, whole.trainable) == ("", 5, 0)
    assert (inner.frozen, inner.trainable) == (4 * 3 + 3, 2 * (4 + 3))


# -- adapters that PEFT would load without a word ------------------------------------------------


Damage = Callable[[Path], None]


def edited(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Damage:
    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = folder / "adapter_model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return damage


def configured(**fields: object) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    return damage


def loads(base: BaseModel, adapted: AdaptedModel, tmp_path: Path, *damages: Damage) -> None:
    folder = Path(shutil.copytree(adapted.folder, tmp_path / "adapter"))
    for damage in damages:
        damage(folder)
    base.load_adapter(LABELS, folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_folder_that_is_no_adapter_is_refused(
    name: str, base: BaseModel, adapted: AdaptedModel, tmp_path: Path
) -> None:
    with pytest.raises(StageError, match="is no adapter in PEFT's format: it needs adapter_config"):
        loads(base, adapted, tmp_path, lambda folder: (folder / name).unlink())


def test_adapter_of_another_architecture_is_refused(
    base: BaseModel, adapted: AdaptedModel, tmp_path: Path
) -> None:
    says = r"adapter: .* does not fit: BertForSequenceClassification has none of the modules that"
    with pytest.raises(StageError, match=says):
        loads(base, adapted, tmp_path, configured(target_modules=["q_lin", "v_lin"]))


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_damaged_adapter_is_refused(
    share: float, base: BaseModel, adapted: AdaptedModel, tmp_path: Path
) -> None:
    def cut(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    with pytest.raises(StageError, match=r"adapter: .*adapter_model.safetensors is damaged \("):
        loads(base, adapted, tmp_path, cut)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"peft_type": "LORO"}', "{}"])
def test_damaged_config_of_an_adapter_is_refused(
    content: str, base: BaseModel, adapted: AdaptedModel, tmp_path: Path
) -> None:
    def write(folder: Path) -> None:
        (folder / "adapter_config.json").write_text(content)

    with pytest.raises(StageError, match=r"adapter: .* does not fit: \S"):
        loads(base, adapted, tmp_path, write)


def test_adapter_whose_config_and_weights_differ_is_refused(
    base: BaseModel, adapted: AdaptedModel, tmp_path: Path
) -> None:
    says = r"adapter: .* does not fit: size mismatch for .*lora_A.*\[8, 32\].*\[16, 32\]"
    with pytest.raises(StageError, match=says):
        loads(base, adapted, tmp_path, configured(r=16))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda tensors: {name.replace("bert.", "other."): v for name, v in tensors.items()},
            r"of the 10 weights it needs, 8 are missing, and 8 others are there; first: \S*bert\.",
        ),
        (
            lambda tensors: {name: v for name, v in tensors.items() if "layer.1." not in name},
            r"of the 10 weights it needs, 4 are missing, and 0 others are there",
        ),
        (
            lambda tensors: {**tensors, "base_model.model.bert.pooler.dense.lora_A.weight":
                             tensors["base_model.model.classifier.weight"].clone()},
            r"0 are missing, and 1 others are there; first: \S*pooler\S* has no place in it",
        ),
    ],
)  # fmt: skip
def test_adapter_of_other_names_is_refused(
    change: Callable[[dict[str, Any]], dict[str, Any]],
    says: str,
    base: BaseModel,
    adapted: AdaptedModel,
    tmp_path: Path,
) -> None:
    with pytest.raises(StageError, match=says):
        loads(base, adapted, tmp_path, edited(change))


def test_same_settings_make_the_same_bytes(
    base: BaseModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    made = []
    for name in ("one", "two"):
        (folder := tmp_path / name).mkdir()
        stage: Any = build_stage("adapter", composed("adapter.use_dora=true")["adapter"])
        stage.run((base, examples), folder)
        made.append(digests(folder))
    assert made[0] == made[1]
