"""Training without PEFT's kinds: all of a model, its biases, its head, or bottlenecks behind it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
import truth
from conftest import Compose, moved, write_rows
from kinds import KINDS, Adapted
from peft.tuners.tuners_utils import BaseTunerLayer
from reliability.bit_exact import Case, Moment, kill_and_go_on
from reliability.trainings import preload
from safetensors.torch import load_file, save_file
from test_finetune import LABELS as CALM
from test_finetune import make_base
from torch import Tensor, nn
from zoo import FAMILIES, HEADS, INNER, LABELS, LAYERS, WIDTH

from pipeline.adapted import adapted_architecture, save_adapter, with_adapter
from pipeline.adapter.placement import place
from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.build import build_plan, build_stage
from pipeline.errors import CheckError, ConfigError, StageError
from pipeline.export.graph import fold, save, trace
from pipeline.export.merging import merged
from pipeline.export.parity import Parity
from pipeline.export.report import Report
from pipeline.export.switch import changes_base, switchable
from pipeline.finetune.checkpoints import Checkpoints
from pipeline.outlook import Outlook, disk_needed
from pipeline.partial.choice import head_of
from pipeline.partial.model import PartialModel, insert
from pipeline.partial.settings import Kind, Settings
from pipeline.tasks import task_named

OPTIONS = ("none", "bitfit", "head_only", "bottleneck")
BY_COMMAND_LINE = (
    "none",
    "bottleneck",
)  # an export takes seconds; these two are the furthest apart
RUN = (
    "+recipe=lora_bert", "model=random_bert", "model.config.num_hidden_layers=1", "data=jsonl",
    "data.train=rows.jsonl", "data.text_column=text", "data.label_column=label",
    "finetune.num_train_epochs=1", "visualize.pictures=never", "visualize.open=never",
)  # fmt: skip
UNITS = 4
TARGETS = {"BERT": "houlsby", "GPT-2": "pfeiffer", "ResNet": ("layer.1.convolution",)}
FAMILY_AND_KIND = [
    (family, kind)
    for family in TARGETS
    for kind in Kind
    if (family, kind) != ("GPT-2", Kind.HEAD_ONLY)  # its head is the embedding
]


def settings(family: str, kind: Kind, model: nn.Module, **changes: Any) -> Settings:
    more: dict[str, Any] = {}
    if kind == Kind.BOTTLENECK:
        more = {
            "target_modules": TARGETS[family], "bottleneck_size": UNITS, "init_std": 0.01,
            "non_linearity": "gelu",
        }  # fmt: skip
    return Settings(peft_type=kind, head=head_of(model), **more | changes)


def inserted(family: str, kind: Kind, **changes: Any) -> PartialModel:
    model = FAMILIES[family].build()
    torch.manual_seed(0)
    return insert(model, settings(family, kind, model, **changes))


def trained(model: PartialModel) -> PartialModel:
    """Move everything that trains off its start."""
    model.pristine = False
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(0.2 * torch.randn(value.shape))
    return model


def answers(family: str, model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(**FAMILIES[family].inputs(3, 11)).logits
    return found


# -- what trains ------------------------------------------------------------------------------


def expected_parameters(family: str, kind: Kind) -> int:
    """Return how many parameters train, from the sizes of the tiny models."""
    bert_head, resnet_head = WIDTH * LABELS + LABELS, 32 * LABELS + LABELS
    # Norms; queries, keys, values and outputs; two layers of the feed-forward part.
    block = 2 * WIDTH + 4 * WIDTH + INNER + WIDTH
    one = 2 * WIDTH * UNITS + UNITS + WIDTH  # Houlsby et al. 2019, section 2.1
    stages = 2 * 16 + 2 * 32  # layers of 16 and then of 32 channels, the second ones of each pair
    return {
        ("BERT", Kind.BITFIT): LAYERS * block + WIDTH + WIDTH + bert_head,  # norm and pooler
        ("BERT", Kind.HEAD_ONLY): bert_head,
        ("BERT", Kind.BOTTLENECK): 2 * LAYERS * one + bert_head,
        ("GPT-2", Kind.BITFIT): LAYERS * (2 * WIDTH + 3 * WIDTH + WIDTH + 4 * WIDTH + WIDTH)
        + WIDTH,
        ("GPT-2", Kind.BOTTLENECK): LAYERS * one,
        # A convolution has no bias: a batch norm has. Each stage has a shortcut, the stem one.
        ("ResNet", Kind.BITFIT): 16 + 4 * 16 + 4 * 32 + 32 + resnet_head,
        ("ResNet", Kind.HEAD_ONLY): resnet_head,
        ("ResNet", Kind.BOTTLENECK): 2 * UNITS * stages + 4 * UNITS + stages + resnet_head,
    }[family, kind]


@pytest.mark.parametrize(("family", "kind"), FAMILY_AND_KIND)
def test_what_trains_is_what_the_paper_says(family: str, kind: Kind) -> None:
    model = inserted(family, kind)
    trainable, total = model.get_nb_trainable_parameters()
    plain = sum(value.numel() for value in FAMILIES[family].build().parameters())
    if kind == Kind.NONE:
        assert trainable == total == plain
        return
    assert trainable == expected_parameters(family, kind)
    added = trainable - expected_parameters(family, Kind.HEAD_ONLY) if family != "GPT-2" else 0
    if kind == Kind.BOTTLENECK:
        assert total == plain + (added or trainable)
    else:
        assert total == plain


@pytest.mark.parametrize(("family", "kind"), FAMILY_AND_KIND)
def test_the_placement_says_what_trains_and_why(family: str, kind: Kind) -> None:
    before = {n: type(m).__name__ for n, m in FAMILIES[family].build().named_modules()}
    placement = place(inserted(family, kind), before)
    why = {module.why for module in placement.modules if module.trainable}
    head = set() if family == "GPT-2" else {"head of the task"}
    targets = TARGETS[family] if isinstance(TARGETS[family], str) else TARGETS[family][0]
    assert placement.kind == kind.value
    assert (
        why
        == {
            Kind.NONE: {"adapter=none: everything trains"},
            Kind.BITFIT: {"bias", *head},
            Kind.HEAD_ONLY: head,
            Kind.BOTTLENECK: {f"target_modules: {targets}", *head},
        }[kind]
    )
    roles = {module.role for module in placement.modules if module.trainable}
    assert roles <= ({"adapted", "trained"} if kind == Kind.BOTTLENECK else {"trained"})
    assert all(module.r == UNITS for module in placement.adapted)


def test_what_a_person_names_trains_as_well() -> None:
    model = inserted("BERT", Kind.HEAD_ONLY, modules_to_save=("pooler",))
    trains = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {name.removeprefix("base_model.model.").split(".")[-2] for name in trains} == {
        "classifier", "dense",
    }  # fmt: skip
    assert model.changes_base


def test_tied_weights_count_once_and_stay_tied(tmp_path: Path) -> None:
    model = trained(inserted("GPT-2", Kind.NONE))
    model.save_pretrained(tmp_path)
    held = load_file(tmp_path / "adapter_model.safetensors")
    assert "base_model.model.transformer.wte.weight" in held
    assert not any("lm_head" in name for name in held)
    again = with_adapter(FAMILIES["GPT-2"].build(), tmp_path, trainable=True)
    assert again.get_base_model().lm_head.weight is again.get_base_model().transformer.wte.weight


def test_a_head_that_is_the_embedding_is_not_trained_alone() -> None:
    with pytest.raises(StageError, match="nothing would train: GPT2LMHeadModel has no head with"):
        inserted("GPT-2", Kind.HEAD_ONLY)


def test_full_fine_tuning_copies_no_weight() -> None:
    plain = FAMILIES["BERT"].build()
    places = {name: value.data_ptr() for name, value in plain.named_parameters()}
    model = insert(plain, settings("BERT", Kind.NONE, plain))
    assert model.merge_and_unload() is plain
    assert places == {name: value.data_ptr() for name, value in plain.named_parameters()}


@pytest.mark.parametrize("family", TARGETS)
def test_a_bottleneck_starts_near_the_identity_and_is_what_the_paper_says(family: str) -> None:
    model = inserted(family, Kind.BOTTLENECK)
    plain = answers(family, FAMILIES[family].build())
    assert (answers(family, model) - plain).abs().max() < 1e-2 * plain.abs().max()
    layer: Any = next(m for m in model.modules() if hasattr(m, "bottleneck_down"))
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    given: list[Tensor] = []
    layer.base_layer.register_forward_hook(lambda _, __, made: given.append(made))
    shown: list[Tensor] = []
    layer.register_forward_hook(lambda _, __, made: shown.append(made))
    answers(family, trained(model))
    y = given[0].movedim(1, -1) if family == "ResNet" else given[0]
    weights = (part.weight.flatten(1) for part in (down, up))
    d, u = weights
    hidden = nn.functional.gelu(y @ d.T + down.bias)
    added = hidden @ u.T + up.bias
    found = shown[0].movedim(1, -1) if family == "ResNet" else shown[0]
    torch.testing.assert_close(found, y + added)


def test_presets_of_targets_find_the_layers_of_each_family() -> None:
    found = {}
    for name, family in FAMILIES.items():
        if name in ("ResNet", "CNN"):
            continue
        for preset in ("houlsby", "pfeiffer"):
            plain = family.build()
            model = insert(plain, settings("BERT", Kind.BOTTLENECK, plain, target_modules=preset))
            made = [n for n, m in model.named_modules() if hasattr(m, "bottleneck_up")]
            found[name, preset] = len(made)
    blocks = {"ALBERT": 1, "T5": 2 * LAYERS}
    for name in {name for name, _ in found}:
        assert found[name, "pfeiffer"] == blocks.get(name, LAYERS), name
        more = LAYERS if name == "T5" else 0  # T5's decoder has two attentions
        assert found[name, "houlsby"] == 2 * blocks.get(name, LAYERS) + more, name
    assert HEADS  # the zoo has attention at all


# -- to disk and back -------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "kind"), FAMILY_AND_KIND)
def test_what_was_saved_computes_the_same(family: str, kind: Kind, tmp_path: Path) -> None:
    model = trained(inserted(family, kind))
    save_adapter(model, tmp_path, repo_id="tiny", revision=None, values=True)
    again = with_adapter(FAMILIES[family].build(), tmp_path, trainable=False)
    assert torch.equal(answers(family, again), answers(family, model))
    assert not any(value.requires_grad for value in again.parameters())
    told = json.loads((tmp_path / "partial_config.json").read_text())
    assert told["base_model_name_or_path"] == "tiny"
    held = load_file(tmp_path / "adapter_model.safetensors")
    trainable, _ = model.get_nb_trainable_parameters()
    statistics = [name for name in held if "running_" in name or "num_batches" in name]
    assert sum(v.numel() for n, v in held.items() if n not in statistics) == trainable
    assert bool(statistics) is ((family, kind) == ("ResNet", Kind.NONE))


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        model = inserted("BERT", Kind.BOTTLENECK)
        save_adapter(model, tmp_path / name, repo_id=None, revision=None, values=True)
    for file in ("adapter_model.safetensors", "partial_config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_before_training_nothing_is_saved_that_the_base_model_has(tmp_path: Path) -> None:
    model = inserted("BERT", Kind.NONE)
    save_adapter(model, tmp_path, repo_id=None, revision=None, values=True)
    held = load_file(tmp_path / "adapter_model.safetensors")
    assert set(held) == {f"base_model.model.classifier.{part}" for part in ("weight", "bias")}
    again = with_adapter(FAMILIES["BERT"].build(), tmp_path, trainable=True)
    assert torch.equal(answers("BERT", again), answers("BERT", model))
    assert again.get_nb_trainable_parameters() == model.get_nb_trainable_parameters()


def test_without_values_the_settings_alone_make_the_architecture(tmp_path: Path) -> None:
    model = inserted("BERT", Kind.BOTTLENECK)
    save_adapter(model, tmp_path, repo_id=None, revision=None, values=False)
    assert [each.name for each in tmp_path.iterdir()] == ["partial_config.json"]
    with torch.device("meta"):
        plain = FAMILIES["BERT"].make()
    again = adapted_architecture(plain, tmp_path)
    assert all(value.is_meta for value in again.parameters())
    assert again.get_nb_trainable_parameters() == model.get_nb_trainable_parameters()


def broken_json(folder: Path) -> None:
    (folder / "partial_config.json").write_text("{")


def another_format(folder: Path) -> None:
    file = folder / "partial_config.json"
    file.write_text(file.read_text().replace("partial 1", "partial 9"))


def another_kind(folder: Path) -> None:
    file = folder / "partial_config.json"
    file.write_text(file.read_text().replace("BITFIT", "HEAD_ONLY"))


def fewer_weights(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(dict(list(load_file(file).items())[1:]), file)


def other_shapes(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name: value[:1].clone() for name, value in load_file(file).items()}, file)


def half_a_file(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (broken_json, "partial_config.json is damaged"),
        (another_format, "has the format 'graft-pipeline partial 9'"),
        (another_kind, "0 are missing, 0 have another shape, and 18 others are there"),
        (fewer_weights, "1 are missing"),
        (other_shapes, "have another shape"),
        (half_a_file, "is damaged"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(
    damage: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    trained(inserted("BERT", Kind.BITFIT)).save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(StageError, match=told):
        with_adapter(FAMILIES["BERT"].build(), tmp_path, trainable=False)


# -- running statistics -----------------------------------------------------------------------


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    """Do what transformers' Trainer does at each step."""
    model.train()
    model(**FAMILIES["ResNet"].inputs(4 + number, 0)).logits.square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.named_buffers()}


@pytest.mark.parametrize("name", ["LoRA", "LN tuning", *Kind])
def test_batch_norms_move_only_where_they_train_and_are_saved(name: str, tmp_path: Path) -> None:
    if name in Kind.__members__.values():
        made: Any = inserted("ResNet", Kind(name))
    else:
        made = KINDS[name].insert(FAMILIES["ResNet"]).model
    save_adapter(made, tmp_path / "start", repo_id=None, revision=None, values=True)
    model = with_adapter(FAMILIES["ResNet"].build(), tmp_path / "start", trainable=True)
    before = buffers(model)
    training = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(training, lr=0.01)
    for number in range(3):
        step(model, optimizer, number)
    moving = {
        name for name, value in buffers(model).items() if not torch.equal(value, before[name])
    }
    own = {"none": len(before), "LN tuning": len(before) // 2}.get(name, 0)
    assert len(moving) == own
    save_adapter(model, tmp_path / "end", repo_id=None, revision=None, values=True)
    again = with_adapter(FAMILIES["ResNet"].build(), tmp_path / "end", trainable=False)
    assert torch.equal(answers("ResNet", again), answers("ResNet", model))


def test_dropout_of_a_frozen_model_is_on_while_it_trains(tmp_path: Path) -> None:
    save_adapter(
        inserted("BERT", Kind.HEAD_ONLY), tmp_path, repo_id=None, revision=None, values=True
    )
    model = with_adapter(FAMILIES["BERT"].build(), tmp_path, trainable=True).train()
    assert all(module.training for module in model.modules() if isinstance(module, nn.Dropout))


# -- the picture ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind"),
    [("BERT", Kind.BOTTLENECK), ("ResNet", Kind.BOTTLENECK), ("ResNet", Kind.NONE)],
)
def test_the_picture_is_true(family: str, kind: Kind, tmp_path: Path) -> None:
    before = {n: type(m).__name__ for n, m in FAMILIES[family].build().named_modules()}
    model = trained(inserted(family, kind)).eval()
    adapted = Adapted(
        model=model, before=before, targets=(), inputs=FAMILIES[family].inputs,
        axes=FAMILIES[family].axes,
    )  # fmt: skip
    placement = place(model, before)
    flat = trace(model, FAMILIES[family].inputs(2, 8), adapted.axes, opset=20)
    save(fold(flat, placement, title=family, facts={}), tmp_path / "view.onnx", weights="w.data")
    shown = truth.Shown(adapted=adapted, file=tmp_path / "view.onnx", placement=placement)
    truth.check(shown)
    titles = {node.op_type for _, nodes in truth.levels(shown.graph()) for node in nodes}
    wanted = {Kind.NONE: "TrainedConv2d", Kind.BOTTLENECK: "Bottleneck"}[kind]
    assert any(title.startswith(wanted) for title in titles)


# -- through the stages -----------------------------------------------------------------------


def adapt(
    option: str, base: BaseModel, examples: Examples, composed: Compose, folder: Path, *more: str
) -> AdaptedModel:
    stage: Any = build_stage("adapter", composed(f"adapter={option}", *more)["adapter"])
    made = stage.run((base, examples), folder)
    assert isinstance(made, AdaptedModel)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("option", BY_COMMAND_LINE)
def test_it_trains_and_is_exported_by_the_command_line(option: str, tmp_path: Path) -> None:
    preload()
    write_rows(tmp_path / "rows.jsonl", 30)
    ended = forked.fork(forked.command_line(*RUN, f"adapter={option}", "name=it"), cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    made = tmp_path / "outputs/it/latest/5_export"
    assert json.loads((made / "parity.json").read_text())["within_tolerance"]
    linear = option != "bottleneck"
    assert (made / "merged/model.safetensors").is_file() is linear
    assert (made / "onnx/merged.onnx").is_file() is linear
    assert (made / "adapter/partial_config.json").is_file() is (option != "none")
    norms = (tmp_path / "outputs/it/latest/4_finetune/gradient_norms.jsonl").read_text()
    learned = json.loads(norms.splitlines()[0])["modules"]
    placement = json.loads((made / "placement.json").read_text())["modules"]
    assert set(learned) == {module["name"] for module in placement if module["trainable"]}
    changed = [module for module in placement if module["role"] == "trained"]
    assert all(module["update_norm"] is not None for module in changed)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_was_trained_is_what_a_user_loads(
    option: str, base: BaseModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "training").mkdir()
    adapted = adapt(option, base, examples, composed, tmp_path / "adapter")
    changes = ["finetune.train_batch_size=24", "finetune.learning_rate=0.01"]
    stage: Any = build_stage("finetune", composed(*changes, "finetune.device=cpu")["finetune"])
    made = stage.run((adapted, examples), tmp_path / "training")
    assert made.unlearned == ()
    task = task_named(base.task)
    rows = examples.load("test")
    batch = task.collate(base)([rows[row] for row in range(3)])
    with torch.no_grad():
        before, after = (model(**batch).logits for model in (adapted.load().eval(), made.load()))
        assert not torch.equal(before, after)
        whole = merged(made.load())
        assert (whole is None) is (option == "bottleneck")
        if whole is not None:
            whole.save_pretrained(tmp_path / "merged")
            assert torch.equal(base.load_merged(tmp_path / "merged")(**batch).logits, after)


@pytest.mark.slow
def test_a_killed_training_ends_bit_for_bit_as_one_that_was_not(
    composed: Compose, examples: Examples, tmp_path: Path
) -> None:
    preload()
    base = make_base(tmp_path / "base", dropout=0.1)
    (tmp_path / "adapter").mkdir()
    theirs = replace(examples, labels=CALM)
    given = adapt("none", base, theirs, composed, tmp_path / "adapter")
    moment = Moment(event=4, saved=True)
    assert kill_and_go_on(Case(), (given, theirs), tmp_path / "case", [moment]) == []


@pytest.mark.parametrize("epochs", [1, 4])
def test_disk_that_is_estimated_is_what_full_checkpoints_take(
    epochs: int,
    base: BaseModel,
    examples: Examples,
    composed: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Never less than the files of weights take at once, and at most 1.3 times as much."""
    for name in ("adapter", "training"):
        (tmp_path / name).mkdir()
    given = adapt("none", base, examples, composed, tmp_path / "adapter")
    config = composed(
        "+recipe=full_bert", "model=random_bert", "data=jsonl", "data.train=rows.jsonl",
        f"finetune.num_train_epochs={epochs}", "finetune.device=cpu",
    )  # fmt: skip
    plan = build_plan(config)
    sizes, prune = [], Checkpoints._prune

    def measured(checkpoints: Checkpoints) -> None:
        files = (tmp_path / "training").rglob("*.safetensors")
        sizes.append(sum(file.stat().st_size for file in files))
        prune(checkpoints)

    monkeypatch.setattr(Checkpoints, "_prune", measured)
    stage: Any = plan.finetune
    stage.run((given, examples), tmp_path / "training")
    seen = Outlook(examples=examples, adapted=given, reused=frozenset(("export", "visualize")))
    assert max(sizes) <= disk_needed(plan, seen) <= 1.3 * max(sizes)


def parity(base: BaseModel, examples: Examples) -> Parity:
    task = task_named(base.task)
    return Parity(task, examples.load("test"), task.collate(base), 1e-4)


@pytest.mark.parametrize("by", [0.0, 0.3])
def test_full_fine_tuning_that_changed_nothing_is_noticed(
    by: float, base: BaseModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    (tmp_path / "adapter").mkdir()
    adapted = adapt("none", base, examples, composed, tmp_path / "adapter")
    model = moved(adapted, tmp_path / "trained", by=by).load()
    compared = parity(base, examples)
    compared.reference(model)
    switch: Any = switchable(model, base.load(examples.labels))
    with nullcontext() if by else pytest.raises(CheckError, match="changes no logit"):
        compared.effect_of_adapter(switch, must_differ=True)


def test_logits_too_many_to_keep_are_judged_and_those_kept_are_compared_with_their_own(
    base: BaseModel, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a row a batch and room for a batch, as of a language model with long texts."""
    monkeypatch.setattr("pipeline.export.parity._AT_ONCE", 1)
    monkeypatch.setattr("pipeline.export.parity._KEPT", 1)
    model: Any = base.load(examples.labels)
    compared = parity(base, examples)
    compared.reference(model)
    compared.torch_model("again", model)
    told = compared.report()
    assert told.largest_difference == 0.0
    assert told.formats["again"] == told.reference
    with torch.no_grad():
        model.classifier.bias += 1.0
    compared.torch_model("another", model)
    assert not compared.report().within_tolerance


def test_where_only_the_head_trained_there_is_nothing_to_switch_off() -> None:
    model: Any = inserted("BERT", Kind.HEAD_ONLY)
    assert not changes_base(model)
    assert switchable(model, None) is None


def test_where_there_is_no_adapter_nothing_is_said_to_be_switched_off() -> None:
    told = Report(
        tolerance=1e-4, largest_difference=0.0, within_tolerance=True, effect_of_adapter=None,
        export_shape=(2, 8), probes=(), formats={},
    )  # fmt: skip
    assert list(told.lines()) == ["there is no adapter to switch off; tolerance 1e-04"]
    (line,) = replace(told, effect_of_adapter=0.25).lines()
    assert line == "switching the adapters off changes the logits by 0.25; tolerance 1e-04"


def test_what_is_compared_with_has_the_trained_head() -> None:
    model: Any = trained(inserted("BERT", Kind.BITFIT))
    plain: Any = FAMILIES["BERT"].build()
    switch: Any = switchable(model, plain)
    assert torch.equal(answers("BERT", switch), answers("BERT", model))
    switch.enable_adapters(False)
    assert torch.equal(answers("BERT", switch), answers("BERT", plain))
    assert torch.equal(plain.classifier.weight, model.get_base_model().classifier.weight)


@pytest.mark.parametrize(
    ("family", "name"),
    [("BERT", "prompt tuning"), ("GPT-2", "prompt tuning"), ("BERT", "prefix tuning"),
     ("Llama", "adaption prompt"), ("BERT", "Lily")],
)  # fmt: skip
def test_what_cannot_be_merged_is_switched_off_and_told(
    family: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = KINDS[name].insert(FAMILIES[family])
    switch: Any = switchable(made.model, None)
    with_it = answers(family, switch)
    assert torch.equal(with_it, answers(family, made.model))
    for layer in switch.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.enable_adapters(False)
    without = answers(family, switch)
    assert without.shape == with_it.shape
    plain = answers(family, FAMILIES[family].build())
    if family != "BERT":  # its head is the adapter's own
        torch.testing.assert_close(without[:, -plain.shape[1] :], plain)
    assert not torch.equal(without, with_it)
    with caplog.at_level(logging.INFO):
        assert merged(made.model) is None
    assert f"{made.model.peft_config['default'].peft_type.value} cannot be merged" in caplog.text


@pytest.mark.parametrize("name", ["prompt tuning", "prefix tuning"])
def test_a_prompt_that_was_saved_can_be_trained(name: str, tmp_path: Path) -> None:
    made = KINDS[name].insert(FAMILIES["BERT"])
    save_adapter(made.model, tmp_path, repo_id=None, revision=None, values=True)
    again = with_adapter(FAMILIES["BERT"].build(), tmp_path, trainable=True)
    assert torch.equal(answers("BERT", again), answers("BERT", made.model))
    assert again.get_nb_trainable_parameters() == made.model.get_nb_trainable_parameters()


# -- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["adapter.reduction_factor=0.5"], "reduction_factor must be a finite number from 1"),
        (["adapter.bottleneck_size=8"], "give one of them and null for the other, got 8 and 16"),
        (["adapter.reduction_factor=null"], "give one of them and null for the other"),
        (
            ["adapter.reduction_factor=null", "adapter.bottleneck_size=0"],
            "bottleneck_size must be a whole number of at least 1",
        ),
        (["adapter.init_std=0"], "init_std must be a finite number above 0"),
        (["adapter.non_linearity=swish"], "non_linearity"),
        (["adapter.target_modules=[]"], "target_modules is empty"),
        (["adapter.target_modules='('"], "is not a regular expression"),
        (["adapter.seed=-1"], "seed must be a whole number from 0"),
    ],
)
def test_a_value_that_makes_no_sense_is_told_by_its_name(
    changes: list[str], told: str, composed: Compose
) -> None:
    with pytest.raises(ConfigError, match=told):
        build_stage("adapter", composed("adapter=bottleneck", *changes)["adapter"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["adapter.target_modules=[dence]"], "'dence' matches no module.*'dense'"),
        (["adapter.target_modules=[LayerNorm]"], "LayerNorm, which cannot carry a bottleneck"),
        (
            ["adapter.reduction_factor=null", "adapter.bottleneck_size=33"],
            "bottleneck_size: 33 is more than .* has outputs .32.",
        ),
        (["adapter.modules_to_save=[poler]"], "'poler' matches no module"),
    ],
)
def test_a_target_that_does_not_exist_or_fit_is_refused(
    changes: list[str],
    told: str,
    base: BaseModel,
    examples: Examples,
    composed: Compose,
    tmp_path: Path,
) -> None:
    with pytest.raises(StageError, match=told):
        adapt("bottleneck", base, examples, composed, tmp_path, *changes)
