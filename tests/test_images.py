"""Images, from files to a picture of the adapted model."""

import io
import json
import logging
import math
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import onnx
import pytest
from conftest import Compose
from datasets import Dataset, load_from_disk
from forked import command_line, fork, preload
from PIL import Image
from truth import drawn_adapters

from pipeline.artifacts import BaseModel, Examples
from pipeline.build import build_stage
from pipeline.errors import MachineError, StageError
from pipeline.placement import Placement
from pipeline.tasks.pictures import check_picture, decoded

Damage = Callable[[Path], object]
COLOURS = {"blue": (20, 40, 230), "green": (10, 200, 30), "red": (240, 10, 5)}


def save(
    file: Path, colour: tuple[int, ...] = (1, 2, 3), mode: str = "RGB", size: int = 12
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size, size), colour).save(file)
    return file


def photos(folder: Path, each: int = 8, *, start: int = 0) -> Path:
    """Write a folder of colours, no two images of it the same."""
    for label, (red, green, blue) in COLOURS.items():
        for number in range(start, start + each):
            save(
                folder / label / f"{number:02}.png",
                (red, green, blue - number % 5),
                size=8 + number,
            )
    return folder


@pytest.fixture(scope="module")
def vit(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return made_model(composed, tmp_path_factory.mktemp("vit"))


def made_model(composed: Compose, folder: Path, *overrides: str) -> BaseModel:
    config = composed("model=random_vit", *overrides)["model"]
    made = build_stage("model", config).run(None, folder)  # type: ignore[attr-defined]
    assert isinstance(made, BaseModel)
    return made


def made_data(
    composed: Compose, base: BaseModel, path: Path, folder: Path, *overrides: str
) -> Examples:
    config = composed("data=image_folder", f"data.path='{path}'", *overrides)["data"]
    folder.mkdir(exist_ok=True)
    made = build_stage("data", config).run(base, folder)  # type: ignore[attr-defined]
    assert isinstance(made, Examples)
    return made


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# How an image is shown to a model


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_not_cut(channels: int) -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    shown = np.asarray(decoded(encoded(Image.fromarray(values)), channels))
    assert shown.reshape(3, -1)[:, 0].tolist() == [0, 100, 255]


def test_what_is_transparent_shows_white_not_the_colour_below() -> None:
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 200, 255))
    assert np.asarray(decoded(encoded(image), 3)).tolist() == [[[255] * 3, [0, 0, 200]]]


def test_a_transparent_palette_shows_white() -> None:
    image = Image.new("P", (1, 1), 0)
    image.putpalette([9, 9, 9])
    assert decoded(encoded(image, transparency=0), 3).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 77), ("1", 1), ("P", 0), ("CMYK", (0, 255, 0, 0))]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_has_the_channels_of_the_model(mode: str, colour: Any, channels: int) -> None:
    image = Image.new(mode, (5, 4), colour)
    content = encoded(image, "TIFF")
    check_picture(content)
    shown = np.asarray(decoded(content, channels))
    assert shown.dtype == np.uint8
    assert shown.shape == ((4, 5) if channels == 1 else (4, 5, 3))
    assert np.array_equal(
        shown, np.asarray(image.convert("RGB").convert("L" if channels == 1 else "RGB"))
    )


def test_the_mark_of_a_phone_turns_the_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert decoded(encoded(Image.new("RGB", (6, 2)), "JPEG", exif=exif), 3).size == (2, 6)


def bomb() -> bytes:
    """Return the header of a PNG that would unpack to 10 gigapixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
FRAMES = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
WRONG = [
    ("is empty (0 bytes)", b""),
    ("is no PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image", b"hello"),
    ("but a web page; download the image itself", b"<!DOCTYPE html><html>404"),
    ("but a git-lfs pointer; run `git lfs pull`", b"version https://git-lfs.github.com/spec/v1\n"),
    ("is damaged or cut off", encoded(NOISE)[:3000]),
    ("is damaged or cut off", encoded(NOISE, "JPEG")[:1500]),
    ("unpacks to more than", bomb()),
    (
        "holds 3 images (an animation or pages)",
        encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]),
    ),
    (
        "holds 3 images (an animation or pages)",
        encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]),
    ),
    ("holds numbers of 32 bits (mode F)", encoded(Image.new("F", (4, 4), 0.5), "TIFF")),
    ("is no PNG", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
]


@pytest.mark.parametrize(("said", "content"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_shown_is_refused_by_the_name_of_its_file(
    said: str, content: bytes, composed: Compose, vit: BaseModel, tmp_path: Path
) -> None:
    file = photos(tmp_path / "photos") / "red" / "05.png"
    file.write_bytes(content)
    config = composed("data=image_folder", f"data.path='{tmp_path}/photos'")["data"]
    stage = build_stage("data", config)
    for method in ("look", "run"):
        (folder := tmp_path / method).mkdir()
        with pytest.raises(StageError) as caught:
            getattr(stage, method)(vit, folder)
        assert str(caught.value).startswith(f"data.path: {file} ")
        assert said in str(caught.value)


# Folders


def test_folders_are_labels_and_splits_are_drawn_in_proportion(
    composed: Compose, vit: BaseModel, tmp_path: Path
) -> None:
    made = made_data(
        composed, vit, photos(tmp_path / "photos", 10), tmp_path / "data",
        "data.test_size=0.2", "data.validation_size=0.125",
    )  # fmt: skip
    assert made.labels == tuple(sorted(COLOURS))
    assert (made.train_rows, made.validation_rows, made.test_rows) == (21, 3, 6)
    for split, each in (("train", 7), ("validation", 1), ("test", 2)):
        assert sorted(made.load(split)["labels"]) == sorted([*range(3)] * each)
    for row in made.load("test"):
        colour = decoded(row["image"], 3).getpixel((0, 0))
        assert isinstance(colour, tuple)
        nearest = min(
            COLOURS,
            key=lambda name: sum(abs(a - b) for a, b in zip(COLOURS[name], colour, strict=True)),
        )
        assert nearest == made.labels[row["labels"]]


def test_folders_of_splits_are_taken_as_they_are(
    composed: Compose, vit: BaseModel, tmp_path: Path
) -> None:
    photos(tmp_path / "photos/train", 6)
    photos(tmp_path / "photos/val", 2, start=6)
    photos(tmp_path / "photos/test", 3, start=8)
    made = made_data(composed, vit, tmp_path / "photos", tmp_path / "data")
    assert (made.train_rows, made.validation_rows, made.test_rows) == (18, 6, 9)


def test_the_same_images_make_the_same_bytes_wherever_they_lie(
    composed: Compose, vit: BaseModel, tmp_path: Path
) -> None:
    tables = []
    for name in ("one", "two"):
        made = made_data(composed, vit, photos(tmp_path / name, 10), tmp_path / f"data_{name}")
        files = [file for file in sorted(made.folder.rglob("*")) if file.is_file()]
        tables.append({str(file.relative_to(made.folder)): file.read_bytes() for file in files})
    assert tables[0] == tables[1]


def test_what_is_read_is_every_image_by_its_content(composed: Compose, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 3)
    (folder / "red" / "notes.txt").write_text("x")
    config = composed("data=image_folder", f"data.path='{folder}'")["data"]
    stage: Any = build_stage("data", config)
    before = stage.reads()
    assert sorted(before) == sorted(map(str, folder.rglob("*.png")))
    save(changed := folder / "red" / "00.png", (9, 9, 9))
    after = stage.reads()
    assert [name for name in after if after[name] != before[name]] == [str(changed)]


def linked(name: str, target: Callable[[Path], Path]) -> Damage:
    return lambda folder: (folder / name).symlink_to(target(folder))


def beside_train(folder: Path) -> None:
    photos(folder / "train", 2)


def without_train(folder: Path) -> None:
    shutil.rmtree(folder)
    photos(folder / "test", 2)


def outside(folder: Path) -> Path:
    return save(folder.parent / "outside.png")


def only_red(folder: Path) -> None:
    for name in ("blue", "green"):
        shutil.rmtree(folder / name)


def twice(folder: Path) -> None:
    shutil.rmtree(folder)
    photos(folder / "train", 2)
    shutil.copytree(folder / "train", folder / "test")


LAYOUTS: list[tuple[str, Damage]] = [
    ("secret.png is a link to .*outside.png, outside ", linked("red/secret.png", outside)),
    ("more is a link to .*, outside ", linked("more", lambda folder: folder.parent)),
    ("red/again is a link to the folder .*blue; its", linked("red/again", lambda f: f / "blue")),
    ("lost.png is a link to nothing", linked("red/lost.png", lambda f: f / "gone.png")),
    ("pipe.png is a pipe or a device", lambda f: os.mkfifo(f / "red/pipe.png")),
    ("loose.png lies in no folder of a label", lambda f: save(f / "loose.png")),
    ("blue lies beside train, which is the name of a split", beside_train),
    ("has test but no train; name the folder", without_train),
    ("the images of test are those of train, byte for byte", twice),
    ("empty has no images", lambda f: (f / "empty").mkdir()),
    ("needs a folder for each label, at least two, and has only red", only_red),
    ("is a file; expected a folder", lambda f: (shutil.rmtree(f), f.write_text("x"))),
    ("no such folder: .*photos", shutil.rmtree),
]  # fmt: skip


@pytest.mark.parametrize(("said", "damage"), LAYOUTS, ids=range(len(LAYOUTS)))
def test_another_layout_is_refused_with_the_place(
    said: str, damage: Damage, composed: Compose, vit: BaseModel, tmp_path: Path
) -> None:
    damage(photos(tmp_path / "photos"))
    with pytest.raises(StageError, match=f"^data.path: .*{said}"):
        made_data(composed, vit, tmp_path / "photos", tmp_path / "data")


def test_a_label_that_training_lacks_is_named_with_its_file(
    composed: Compose, vit: BaseModel, tmp_path: Path
) -> None:
    photos(tmp_path / "photos/train", 4)
    photos(tmp_path / "photos/test", 2, start=4)
    file = save(tmp_path / "photos/test/rot/1.png")
    with pytest.raises(StageError, match=f"{file}: label 'rot' is not among the 3 labels"):
        made_data(composed, vit, tmp_path / "photos", tmp_path / "data")


def test_strays_are_listed_and_left_out(
    composed: Compose, vit: BaseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = photos(tmp_path / "photos", 10)
    (folder / "red/notes.txt").write_text("x")
    (folder / "red/.DS_Store").write_text("x")
    with caplog.at_level(logging.WARNING, "pipeline"):
        made = made_data(composed, vit, folder, tmp_path / "data")
    assert made.train_rows + made.validation_rows + made.test_rows == 30
    assert "left out, for their names are no images': red/notes.txt" in caplog.text
    assert ".DS_Store" not in caplog.text


def test_images_of_two_splits_at_once_are_told(
    composed: Compose, vit: BaseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos(tmp_path / "photos/train", 6)
    photos(tmp_path / "photos/val", 2, start=4)
    photos(tmp_path / "photos/test", 2, start=9)
    save(tmp_path / "photos/test/red/other.png").write_bytes(
        (tmp_path / "photos/train/red/00.png").read_bytes()
    )
    with caplog.at_level(logging.WARNING, "pipeline"):
        made_data(composed, vit, tmp_path / "photos", tmp_path / "data")
    assert "6 of 6 images of data.validation are in data.train as well" in caplog.text
    assert "1 of 7 images of data.test are in data.train as well" in caplog.text


@pytest.mark.parametrize("option", ["parquet", "hub"])
def test_a_column_of_images_is_read_as_it_was_saved(
    option: str, composed: Compose, vit: BaseModel, tmp_path: Path
) -> None:
    files = sorted(photos(tmp_path / "photos", 10).rglob("*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    labels = [file.parent.name for file in files]
    table = Dataset.from_dict({"image": images, "label": labels}).cast_column(
        "image", datasets.Image()
    )
    (tmp_path / "set").mkdir()
    table.to_parquet(file := tmp_path / "set" / "train.parquet")
    where = {
        "parquet": [f"data.train='{file}'"],
        "hub": [f"data.repo_id='{file.parent}'", "data.config_name=null", "data.train=train",
                "data.validation=null", "data.test=null"],
    }  # fmt: skip
    names = ["data.text_column=image", "data.label_column=label"]
    config = composed(f"data={option}", *where[option], *names)["data"]
    (folder := tmp_path / "data").mkdir()
    made = build_stage("data", config).run(vit, folder)  # type: ignore[attr-defined]
    found = {row["image"] for split in ("train", "validation", "test") for row in made.load(split)}
    assert found == {file.read_bytes() for file in files}


# Models and their image processors


def test_a_grey_model_reads_grey_images(composed: Compose, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    base = made_model(composed, tmp_path / "model", "model.config.num_channels=1")
    from pipeline.tasks.image_classification import TASK

    assert TASK.example(base)["pixel_values"].shape == (2, 1, 32, 32)
    row = {"image": encoded(Image.new("RGB", (4, 4), (255, 0, 0))), "labels": 0, "length": 1}
    batch = TASK.collate(base)([row])
    luminance = round(255 * 299 / 1000)  # ITU-R 601-2, as Pillow's documentation of `convert` says
    assert batch["pixel_values"].flatten().tolist() == pytest.approx(
        [luminance / 127.5 - 1] * 32 * 32
    )
    assert base.load(("a", "b"))(**TASK.example(base)).logits.shape == (2, 2)


def remove(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def cut_off(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{")


def edit(**fields: Any) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    return damage


SQUARE = {"height": 64, "width": 64}
PROCESSORS: list[tuple[str, Damage]] = [
    ("no image processor in .*: preprocessor_config.json is not there", remove),
    ("preprocessor_config.json line 1: not valid JSON", cut_off),
    ("no image processor in .*", edit(image_processor_type="MineImageProcessor")),
    ("makes images of 3 x 64 x 64, which the model does not take", edit(size=SQUARE)),
    ("makes nothing of an image of 3 channels", edit(image_mean=[0.5], image_std=[0.5])),
]  # fmt: skip


@pytest.mark.parametrize(("said", "damage"), PROCESSORS, ids=range(len(PROCESSORS)))
def test_an_image_processor_that_does_not_fit_is_refused(
    said: str, damage: Damage, composed: Compose, vit: BaseModel, tmp_path: Path
) -> None:
    folder = tmp_path / "local"
    shutil.copytree(vit.folder, folder)
    damage(folder)
    config = composed("model=local", f"model.path='{folder}'", "model.task=image_classification")[
        "model"
    ]
    (tmp_path / "model").mkdir()
    with pytest.raises(StageError, match=f"^model: .*{said}"):
        build_stage("model", config).look(None, tmp_path / "model")  # type: ignore[attr-defined]


def test_texts_are_no_images(composed: Compose, vit: BaseModel, tmp_path: Path) -> None:
    config = composed("data=support")["data"]
    with pytest.raises(StageError, match="holds text, not images; use data=image_folder"):
        build_stage("data", config).look(vit, tmp_path)  # type: ignore[attr-defined]


def test_a_language_model_does_not_classify_images(composed: Compose, tmp_path: Path) -> None:
    config = composed("model=random_bert", "model.task=image_classification")["model"]
    with pytest.raises(StageError, match="model.task: bert cannot do image_classification"):
        build_stage("model", config).look(None, tmp_path)  # type: ignore[attr-defined]


def test_a_timm_model_is_made_or_says_what_is_missing(composed: Compose, tmp_path: Path) -> None:
    stage: Any = build_stage("model", composed("model=random_timm")["model"])
    try:
        import_module("timm")
    except (ImportError, RuntimeError):  # not there, or its torchvision is of another torch
        with pytest.raises(MachineError, match="timm"):
            stage.run(None, tmp_path)
        return
    from pipeline.fit import outside_body

    base = stage.run(None, tmp_path)
    model = base.load(("a", "b", "c"))
    assert outside_body(model, dict(model.named_parameters())) == {
        "timm_model.head.weight", "timm_model.head.bias",
    }  # fmt: skip


# Whole runs

RUNS = {
    "vit": ["model=random_vit"],
}
HALF = ["data=digits", "data.validation_size=0.1", "data.test_size=0.5"]
BRIEF = ["finetune.num_train_epochs=2", "finetune.learning_rate=1e-2", "finetune.device=cpu"]
SILENT = ["visualize.pictures=never", "visualize.open=never"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_digits_are_learned_exported_and_drawn(name: str, tmp_path: Path) -> None:
    preload()
    command = ["+recipe=lora_bert", f"name={name}", *RUNS[name], *HALF, *BRIEF, *SILENT]
    ended = fork(command_line(*command), cwd=tmp_path)
    assert ended.code == 0, ended.stderr
    assert "token" not in ended.stderr
    run = tmp_path / "outputs" / name / "latest"

    labels = np.bincount(load_from_disk(str(run / "2_data/test"))["labels"])
    rows, most = int(labels.sum()), labels.max() / labels.sum()
    # The accuracy that always saying the same digit has, and three times how far luck goes.
    bar = most + 3 * math.sqrt(most * (1 - most) / rows)
    parity = json.loads((run / "5_export/parity.json").read_text())
    assert parity["formats"]["torch with adapter"]["accuracy"] > bar
    assert parity["within_tolerance"]
    assert {"merged/", "adapter/", "adapted.onnx", "merged.onnx"} < set(parity["formats"])
    assert all(probe["tokens"] is None for probe in parity["probes"])

    placement = Placement.read(run / "6_visualize/placement.json")
    assert placement.flops_per == "example"
    view = onnx.load(run / "5_export/onnx/adapted.view.onnx", load_external_data=False)
    assert set(drawn_adapters(view)) == {module.name for module in placement.adapted}
    (pixels,) = view.graph.input
    assert [each.dim_param or each.dim_value for each in pixels.type.tensor_type.shape.dim] == [
        "batch", 3, 32, 32,
    ]  # fmt: skip
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(run / "5_export/merged")
    image = Image.new("L", (8, 8), 128).convert("RGB")
    assert processor(image, return_tensors="np")["pixel_values"].shape == (1, 3, 32, 32)
