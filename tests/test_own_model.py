"""A user's own module goes through transformers, PEFT and the export as it is, with consent."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Compose
from forked import command_line, fork
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from torch import Tensor, nn

from pipeline.artifacts import BaseModel
from pipeline.build import build_stage
from pipeline.consent import forget_consent, granted, keep_consent
from pipeline.errors import ConfigError, StageError
from pipeline.fit import outside_body
from pipeline.own.archive import read_program
from pipeline.own.cnn import Cnn
from pipeline.own.program import Program, program_values
from pipeline.pretrained import config_of, merged

LABELS = ("cat", "dog", "cow")
LORA = {"target_modules": ["conv", "hidden"], "modules_to_save": ["classifier"], "r": 4}

MINE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10, width=8):
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(1, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)
        self.two.weight = self.one.weight
        self.scale = nn.Parameter(torch.randn(width))
        self.classifier = nn.Linear(width, num_classes)
        self.register_buffer("counted", torch.arange(3.0)[2:].item() * torch.ones(1), False)
        self.plain = torch.full((1,), 3.0)

    def forward(self, x):
        if self.training:
            return torch.zeros(x.shape[0], self.classifier.out_features)
        x = self.norm(self.conv(x)).relu().mean((2, 3)) * self.scale * self.counted + self.plain
        return {"features": x, "logits": self.classifier(self.two(self.one(x)))}

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(784, 6), nn.Linear(6, 4)

    def forward(self, x):
        return (self.last(self.first(x.flatten(1)).relu()),)

class Whole(nn.Module):
    def forward(self, x):
        return x

class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("no such luck")

def made():
    return Net()
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of a user in the current folder, with consent to import it."""
    file = tmp_path / "my_net.py"
    file.write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    keep_consent(["my_net"])
    yield file
    forget_consent()
    sys.modules.pop("my_net", None)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """The shipped network as a `.pt2`, and the module that it was."""
    model = seeded(Cnn).train()
    model(images(8))  # so that the statistics of batch norm say something
    model.eval()
    file = tmp_path_factory.mktemp("pt2") / "net.pt2"
    save_program(model, file)
    return file, model


def save_program(model: nn.Module, file: Path, *, free: bool = True, strict: bool = False) -> None:
    shapes = ({0: torch.export.Dim("batch")},) if free else None
    program = torch.export.export(model, (images(2),), dynamic_shapes=shapes, strict=strict)
    torch.export.save(program, file)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def images(rows: int) -> Tensor:
    return torch.randn(rows, 1, 28, 28, generator=torch.Generator().manual_seed(rows))


def base_of(composed: Compose, folder: Path, *overrides: str) -> BaseModel:
    stage: Any = build_stage("model", composed(*overrides)["model"])
    folder.mkdir(parents=True, exist_ok=True)
    made = stage.run(None, folder)
    assert isinstance(made, BaseModel)
    return made


def logits(model: nn.Module, rows: int = 3) -> Tensor:
    with torch.no_grad():
        made = model(pixel_values=images(rows))
    found: Tensor = made.logits
    return found


def refused(composed: Compose, *overrides: str) -> str:
    with pytest.raises((StageError, ConfigError)) as caught:
        base_of(composed, Path("made"), *overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def cnn(composed: Compose, tmp_path: Path) -> BaseModel:
    return base_of(composed, tmp_path / "cnn", "model=cnn")


def moved(model: PeftModel) -> PeftModel:
    """Move every weight that trains off its start."""
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += 0.1 * torch.randn(value.shape)
    return model


# The wrapper.


def test_names_and_values_are_those_of_the_class_itself(cnn: BaseModel) -> None:
    model = cnn.load(LABELS)
    plain = Cnn(num_labels=3).eval()
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_modules()] == [n for n, _ in plain.named_modules()]
    plain.load_state_dict(model.state_dict())
    assert torch.equal(logits(model), plain(images(3)))


def test_adapters_on_convolutions_and_linear_layers_are_used(cnn: BaseModel) -> None:
    base = cnn.load(LABELS)
    before = logits(base)
    model = moved(get_peft_model(base, LoraConfig(**LORA))).eval()
    assert not torch.allclose(logits(model), before)
    kinds = {name: type(module).__module__ for name, module in base.named_modules()}
    assert kinds["blocks.0.conv"] == kinds["hidden"] == "peft.tuners.lora.layer"
    model.train()(pixel_values=images(4)).logits.sum().backward()
    assert all(v.grad is not None for n, v in model.named_parameters() if "lora_" in n)


def test_the_adapter_fits_the_plain_class_and_merging_changes_nothing(
    cnn: BaseModel, tmp_path: Path
) -> None:
    model = moved(get_peft_model(cnn.load(LABELS), LoraConfig(**LORA))).eval()
    model.save_pretrained(tmp_path / "adapter")
    wanted = logits(model)
    plain = Cnn(num_labels=3).eval()
    plain.load_state_dict(cnn.load(LABELS).state_dict())
    alone = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    assert torch.allclose(alone(images(3)), wanted, atol=1e-6)
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    again = merged(cnn.auto_class, tmp_path / "merged")
    assert torch.allclose(logits(again), wanted, atol=1e-6)
    assert again.config.id2label == dict(enumerate(LABELS))


def test_a_copy_shares_nothing_and_an_adapter_in_it_is_its_own(cnn: BaseModel) -> None:
    model = cnn.load(LABELS)
    other = copy.deepcopy(model)
    before = logits(model)
    moved(get_peft_model(other, LoraConfig(**LORA, init_lora_weights="gaussian")))
    assert torch.equal(logits(model), before)
    assert not torch.allclose(logits(other), before)
    assert other.inner._modules is other._modules is not model._modules


def test_the_mode_reaches_the_module_itself(composed: Compose, mine: Path, tmp_path: Path) -> None:
    base = base_of(composed, tmp_path / "a", "model=module", "model.class_path=my_net.Net")
    model = get_peft_model(base.load(LABELS), LoraConfig(target_modules=["conv"]))
    assert logits(model.train()).abs().sum() == 0
    assert logits(model.eval()).abs().sum() > 0


def test_a_model_comes_back_with_its_statistics_ties_and_what_it_does_not_save(
    composed: Compose, mine: Path, tmp_path: Path
) -> None:
    base = base_of(composed, tmp_path / "a", "model=module", "model.class_path=my_net.Net")
    model = base.load(LABELS)
    with torch.no_grad():
        model.norm.running_mean += 2
    model.save_pretrained(tmp_path / "saved")
    again = merged(base.auto_class, tmp_path / "saved")
    assert torch.equal(logits(again), logits(model))
    assert again.two.weight is again.one.weight
    assert float(again.norm.running_mean[0]) == 2
    assert float(again.inner.counted) == 2
    assert float(again.inner.plain) == 3


def test_on_the_meta_device_no_value_is_made(composed: Compose, mine: Path, tmp_path: Path) -> None:
    base = base_of(
        composed,
        tmp_path / "a",
        "model=module",
        "model.class_path=my_net.Net",
        "model.weights=none",
    )
    model = base.load(LABELS)
    assert {value.device.type for value in model.state_dict().values()} == {"meta"}
    assert not base.weights
    assert model(pixel_values=images(2).to("meta")).logits.shape == (2, 3)


def test_random_weights_follow_from_the_seed_and_the_head_from_the_labels(
    composed: Compose, tmp_path: Path
) -> None:
    bases = [
        base_of(composed, tmp_path / str(at), "model=cnn", f"seed={seed}")
        for at, seed in enumerate((0, 0, 1))
    ]
    sums = [base.weights[0].sha256 for base in bases]
    assert sums[0] == sums[1] != sums[2]
    for count in (2, 5):
        model = bases[0].load(tuple(map(str, range(count))))
        assert model.classifier.out_features == count
        head = outside_body(model, model.state_dict())
        assert head == {"classifier.weight", "classifier.bias"}
        assert 0 < float(model.classifier.weight.detach().std()) < 0.2  # as its class makes it


def test_the_image_processor_makes_what_the_model_takes(cnn: BaseModel) -> None:
    picture = Image.fromarray(np.full((40, 30), 255, np.uint8))
    made = cnn.load_image_processor()([picture, picture], return_tensors="pt")["pixel_values"]
    assert made.shape == (2, 1, 28, 28)
    assert made.dtype == torch.float32
    assert float(made.max()) == float(made.min()) == 1  # white, as (1 - 0.5) / 0.5


@pytest.mark.slow
def test_the_graph_computes_the_same_and_is_folded_by_modules(
    cnn: BaseModel, tmp_path: Path
) -> None:
    import onnxruntime

    from pipeline.export.graph import save, trace
    from pipeline.export.picture import Architecture, bare

    model = moved(get_peft_model(cnn.load(LABELS), LoraConfig(**LORA))).eval()
    axes = {"pixel_values": {0: "batch"}}
    file = tmp_path / "flat.onnx"
    save(trace(model, {"pixel_values": images(2)}, axes, opset=20), file, weights="flat.data")
    session = onnxruntime.InferenceSession(file)
    (found,) = session.run(None, {"pixel_values": images(5).numpy()})
    assert np.allclose(found, logits(model, 5).numpy(), atol=1e-5)
    plain = cnn.architecture(LABELS)
    drawn = Architecture(plain, {"pixel_values": images(2)}, axes, opset=20)
    placement = bare(plain, drawn.operations, drawn.per)
    view = drawn.view(placement, title="Cnn", facts={})
    names = {node.name for node in view.graph}
    assert {"blocks.0", "blocks.1", "classifier"} <= names
    assert "blocks.0.conv" not in names  # it is inside
    assert placement.frozen == sum(value.numel() for value in plain.parameters())


# The class and the consent.


def test_a_class_of_the_users_needs_consent(composed: Compose, mine: Path) -> None:
    forget_consent()
    said = refused(composed, "model=module", "model.class_path=my_net.Net")
    assert "add allow_code=my_net to the command line" in said
    keep_consent(["my_ne", "other.my_net"])
    assert "allow_code=my_net" in refused(composed, "model=module", "model.class_path=my_net.Net")


def test_a_config_that_names_a_class_does_not_import_it(tmp_path: Path, mine: Path) -> None:
    forget_consent()
    mine.write_text("from pathlib import Path\nPath('canary').touch()\n" + MINE)
    told = {"model_type": "own_module", "class_path": "my_net.Net", "arguments": {}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(StageError, match="allow_code=my_net"):
        merged("AutoModelForImageClassification", tmp_path)
    assert config_of(tmp_path).class_path == "my_net.Net"
    assert not Path("canary").exists()
    told["class_path"] = "subprocess.Popen"
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(StageError, match="allow_code=subprocess"):
        merged("AutoModelForImageClassification", tmp_path)


def test_only_a_command_line_gives_consent_and_its_processes_inherit_it(
    mine: Path, tmp_path: Path
) -> None:
    forget_consent()
    torch.save({"x": torch.ones(1)}, "w.pth")
    line = command_line("open", "w.pth", "class_path=my_net.Net")
    ended = fork(line, cwd=tmp_path, environment={"GRAFT_ALLOWED_CODE": "my_net"})
    assert ended.code == 2
    assert "add allow_code=my_net" in ended.stderr
    line = command_line("open", "w.pth", "class_path=my_net.Net", "allow_code=my_net")
    ended = fork(line, cwd=tmp_path)
    assert "w.pth is not of Net" in ended.stderr  # it was imported
    keep_consent(["my_net"])
    code = "from pipeline.consent import granted; print(granted())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "('my_net',)\n"
    assert granted() == ("my_net",)


def test_an_edit_of_the_class_runs_the_stage_again_and_is_not_passed_over(
    composed: Compose, mine: Path, tmp_path: Path
) -> None:
    overrides = ("model=module", "model.class_path=my_net.Net")
    stage: Any = build_stage("model", composed(*overrides)["model"])
    before = stage.reads()
    assert list(before) == [str(mine)]
    base = base_of(composed, tmp_path / "a", *overrides)
    mine.write_text(MINE + "\n# edited\n")
    assert stage.reads() != before
    with pytest.raises(StageError, match="was edited since this model was saved"):
        base.load(LABELS)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["class_path=my_net"], "must be the path of a class, such as my_net.Net, got 'my_net'"),
        (["class_path=my_net.Nte"], "has no 'Nte'; did you mean 'Net'"),
        (["class_path=my_net.made"], "has a function, not an nn.Module, as 'made'"),
        (["class_path=my_net.Broken"], "my_net.Broken() fails: RuntimeError: no such luck"),
        (["class_path=my_net.Net", "++model.kwargs={widht: 3}"], "unexpected keyword argument"),
        (["class_path=my_net.Whole"], "makes the shape (2, 1, 28, 28) of 2 images"),
        (["class_path=my_net.Fixed", "model.image_size=30"], "Do model.image_size"),
        (["class_path=my_net.Net", "model.image_size=0"], "image_size must be from 1 to 4096"),
        (["class_path=my_net.Net", "model.num_channels=2"], "num_channels must be 1 (grey) or 3"),
        (["class_path=my_net.Net", "model.image_std=[0]"], "image_std must be above 0"),
        (["class_path=my_net.Net", "model.image_mean=[0.5,0.5]"], "a number for each of"),
        (["class_path=my_net.Net", "model.weights=nope.pth"], "no such file: nope.pth"),
        (["class_path=my_net.Net", "model.weights=my_net.py"], "must be one of .safetensors"),
    ],
)
def test_a_mistake_is_one_sentence(
    composed: Compose, mine: Path, overrides: list[str], said: str
) -> None:
    assert said in refused(composed, "model=module", f"model.{overrides[0]}", *overrides[1:])


def test_a_module_that_cannot_be_imported_says_why(composed: Compose, mine: Path) -> None:
    mine.write_text("import nothing_of_that_name")
    said = refused(composed, "model=module", "model.class_path=my_net.Net")
    assert "cannot import 'my_net': ModuleNotFoundError" in said
    keep_consent(["nowhere"])
    said = refused(composed, "model=module", "model.class_path=nowhere.Net")
    assert "there is no module 'nowhere' in this folder" in said or "cannot import" in said


def test_outputs_that_do_not_follow_the_labels_must_be_as_many(
    composed: Compose, mine: Path, tmp_path: Path
) -> None:
    base = base_of(composed, tmp_path / "a", "model=module", "model.class_path=my_net.Fixed")
    assert base.load_config().head == ["last"]
    assert base.load(("1", "2", "3", "4")).head_modules == ("last",)
    with pytest.raises(StageError, match="Fixed has 4 outputs, and there are 3 labels; let its"):
        base.load(LABELS)


# Its weights.


@pytest.mark.parametrize("form", ["plain", "parallel", "checkpoint", "safetensors"])
def test_weights_of_a_file_are_taken_and_a_head_of_other_labels_is_new(
    composed: Compose, mine: Path, tmp_path: Path, form: str
) -> None:
    import my_net  # type: ignore[import-not-found]
    from safetensors.torch import save_model

    net = my_net.Net(num_classes=3).eval()
    values = net.state_dict()
    file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_model(net, str(file))
    elif form == "checkpoint":
        torch.save({"epoch": 3, "optimizer": {}, "model_state_dict": values}, file)
    else:
        before = "module." if form == "parallel" else ""
        torch.save({f"{before}{name}": value for name, value in values.items()}, file)
    base = base_of(
        composed, tmp_path / "a", "model=module", "model.class_path=my_net.Net",
        f"model.weights={file}",
    )  # fmt: skip
    assert len(base.labels) == 3
    assert torch.equal(logits(base.load(LABELS)), net(images(3))["logits"])
    assert base.load(("a", "b")).classifier.out_features == 2


def test_weights_of_another_model_and_more_than_weights_are_refused(
    composed: Compose, mine: Path, tmp_path: Path
) -> None:
    import my_net

    ours = ("model=module", "model.class_path=my_net.Net")
    torch.save(my_net.Net(width=4).state_dict(), "narrow.pth")
    said = refused(composed, *ours, "model.weights=narrow.pth")
    assert "first: scale, (4,) in the file and (8,) in the model" in said
    torch.save(my_net.Net(), "whole.pth")
    said = refused(composed, *ours, "model.weights=whole.pth")
    assert "more than weights" in said
    assert "torch.save(model.state_dict()" in said
    values = my_net.Net().state_dict() | {"scale": torch.full((8,), float("nan"))}
    torch.save(values, "nan.pth")
    assert "scale has NaN or Inf" in refused(composed, *ours, "model.weights=nan.pth")
    Path("cut.pth").write_bytes(Path("narrow.pth").read_bytes()[:500])
    assert "is damaged" in refused(composed, *ours, "model.weights=cut.pth")


# A program.


def test_a_program_computes_what_it_did_and_its_layers_carry_adapters(
    composed: Compose, exported: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    file, model = exported
    base = base_of(composed, tmp_path / "a", "model=pt2", f"model.path={file}")
    ten = tuple("0123456789")
    loaded = base.load(ten)
    assert torch.allclose(logits(loaded, 5), model(images(5)), atol=1e-6)
    assert set(loaded.state_dict()) == set(model.state_dict())
    kinds = {name: type(module).__name__ for name, module in loaded.named_modules()}
    assert kinds["blocks.0.conv"] == "Conv2d"
    assert kinds["blocks.0"] == "Block"
    assert isinstance(loaded.get_submodule("blocks.0.conv"), nn.Conv2d)
    adapted = moved(get_peft_model(loaded, LoraConfig(**LORA))).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    plain = PeftModel.from_pretrained(copy.deepcopy(model), tmp_path / "adapter").eval()
    assert torch.allclose(plain(images(3)), logits(adapted), atol=1e-6)


def test_a_program_gets_a_new_head_for_other_labels_and_stays_in_eval_mode(
    composed: Compose, exported: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    base = base_of(composed, tmp_path / "a", "model=pt2", f"model.path={exported[0]}")
    model = base.load(LABELS)
    assert model.head_modules == ("classifier",)
    assert logits(model).shape == (3, 3)
    before = copy.deepcopy(model.state_dict())
    assert torch.equal(logits(model.train()), logits(model.eval()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(logits(merged(base.auto_class, tmp_path / "saved")), logits(model))


def test_norms_of_a_program_train_in_full_where_they_are_asked_to(
    exported: tuple[Path, nn.Module],
) -> None:
    program = Program(read_program(exported[0]), 10)
    program.load_state_dict(program_values(exported[0]))
    before = program(images(3))
    settings = LoraConfig(target_modules=["conv"], modules_to_save=["norm"])
    model = moved(get_peft_model(program, settings)).eval()
    assert not torch.allclose(model(images(3)), before)


class Odd(nn.Module):
    """Shapes of its own, a constant, a shared layer, a list of tensors, 'same' padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding="same", groups=1, dilation=2)
        self.deep = nn.Conv2d(4, 8, 3, stride=2, groups=4, bias=False)
        self.twice = nn.Linear(4, 4)
        self.bilinear = nn.Parameter(torch.randn(4, 4))
        self.ones = torch.ones(4) * 2
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.conv(x).relu_()).mean((2, 3))
        left, right = x.reshape(x.shape[0] * 2, -1).view(x.shape[0], -1).chunk(2, dim=1)
        left = self.twice(self.twice(left) @ self.bilinear + self.ones)
        made: Tensor = self.head(torch.cat([left, right], dim=1).to(torch.float32))
        return made


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_of_many_operators_computes_the_same(tmp_path: Path, strict: bool) -> None:
    model = seeded(Odd).eval()
    save_program(model, tmp_path / "odd.pt2", strict=strict)
    program = Program(read_program(tmp_path / "odd.pt2"), 3)
    program.load_state_dict(program_values(tmp_path / "odd.pt2"))
    assert torch.allclose(program(images(7)), model(images(7)), atol=1e-6)
    linear = [n for n, m in program.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert linear == ["conv", "deep", "twice", "head"]


def changed(file: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy a zip with some of its files changed, or left out."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if (held := change(name, old.read(name))) is not None:
                new.writestr(name, held)
    return target


class Evil:
    def __reduce__(self) -> Any:
        return os.mknod, ("canary",)


def test_nothing_in_a_program_is_run(
    composed: Compose, exported: tuple[Path, nn.Module], mine: Path
) -> None:
    evil = pickle.dumps(Evil())

    def pickled(name: str, held: bytes) -> bytes:
        if name.endswith(("weights/weight_0", "sample_inputs/model.pt")):
            return evil
        return held.replace(b'"use_pickle": false', b'"use_pickle": true', 1)

    def evaluated(name: str, held: bytes) -> bytes:
        symbol = b"Symbol('"
        return held.replace(symbol, b"__import__('os').mknod('canary') or " + symbol)

    def called(name: str, held: bytes) -> bytes:
        return held.replace(b"torch.ops.aten.relu.default", b"os.mknod")

    def filed(name: str, held: bytes) -> bytes:
        return held.replace(b"torch.ops.aten.relu.default", b"torch.ops.aten.from_file.default")

    file = exported[0]
    says = {
        pickled: "as a pickle, which can run code", evaluated: None,
        called: "calls os.mknod, which is not supported",
        filed: "calls aten.from_file.default, which is not supported",
    }  # fmt: skip
    for number, (change, said) in enumerate(says.items()):
        bad = changed(file, Path(f"{number}.pt2"), change)
        assert bad.read_bytes() != file.read_bytes()
        if change in (pickled, evaluated):  # both are live: torch's own loading runs them
            with suppress(RuntimeError):
                torch.export.load(bad)
            Path("canary").unlink()
        if said is None:
            base_of(composed, Path("good"), "model=pt2", f"model.path={bad}")
        else:
            assert said in refused(composed, "model=pt2", f"model.path={bad}")
    assert not Path("canary").exists()


def test_a_program_that_cannot_be_trained_says_why(
    composed: Compose, exported: tuple[Path, nn.Module], mine: Path
) -> None:
    def said(name: str) -> str:
        return refused(composed, "model=pt2", f"model.path={name}")

    save_program(seeded(Cnn).eval(), Path("two.pt2"), free=False)
    assert "for batches of exactly 2; export it again with dynamic_shapes" in said("two.pt2")
    save_program(seeded(Cnn).train(), Path("train.pt2"))
    assert "exported in train mode" in said("train.pt2")
    file = exported[0]
    Path("cut.pt2").write_bytes(file.read_bytes()[:5000])
    assert "no whole zip file" in said("cut.pt2")
    changed(file, Path("old.pt2"), lambda name, held: None if "models/" in name else held)
    assert "save it again with torch.export.save" in said("old.pt2")
    changed(file, Path("new.pt2"), lambda _, held: held.replace(b'"major": 8', b'"major": 9'))
    assert "has version 9 of the format, and 8 is known" in said("new.pt2")
    changed(file, Path("no.pt2"), lambda n, held: None if n.endswith("weight_3") else held)
    assert "lacks the tensor" in said("no.pt2")
    assert "no such file" in said("nope.pt2")
