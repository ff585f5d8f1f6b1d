"""Language models and sequence-to-sequence: what is learned, of which token, and how well."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from pipeline.artifacts import AdaptedModel, BaseModel, Examples, TrainedModel
from pipeline.build import build_stage
from pipeline.errors import StageError
from pipeline.rows import Raw, Rows
from pipeline.shipped import shipped_folder
from pipeline.tasks import Task, task_named
from pipeline.tasks.chat import conversation
from pipeline.tasks.tokens import IGNORED
from pipeline.tasks.wanted import Wanted

PAD, UNKNOWN, BEGIN, END = range(4)  # of the tokenizer that reads bytes
WORDS = 260
TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "  Hé!  "},
    {"role": "user", "content": "Again."},
    {"role": "assistant", "content": "No\n\nmore."},
]
Made = Callable[..., BaseModel]


@pytest.fixture(scope="module")
def made(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function that builds a model of an option of the group `model`."""

    def make(option: str, *overrides: str) -> BaseModel:
        settings = composed(f"model={option}", *(f"model.{each}" for each in overrides))["model"]
        stage: Any = build_stage("model", settings)
        found: BaseModel = stage.run(None, tmp_path_factory.mktemp("model"))
        return found

    return make


@pytest.fixture(scope="module")
def gpt2(made: Made) -> BaseModel:
    return made("random_gpt2", "config.n_layer=1")


@pytest.fixture(scope="module")
def t5(made: Made) -> BaseModel:
    return made("random_t5", "config.num_layers=1")


def raw(**columns: list[Any]) -> Raw:
    places = range(1, len(next(iter(columns.values()))) + 1)
    rows = Rows(names=tuple(columns), columns=columns, places=places, unit="line")
    return Raw(rows=rows, key="data.train", origin="x.jsonl")


def encoded(
    base: BaseModel, rows: Raw, label: str | None, most: int | None = None
) -> dict[str, Any]:
    """What the data stage makes of the rows; their text is in the first column."""
    wanted = Wanted(inputs={"text_column": rows.rows.names[0]}, label=label, max_length=most)
    task = task_named(base.task)
    task.check_settings(wanted, base)
    task.check(rows, wanted)
    targets = task.targets(rows, wanted, task.names(rows, wanted))
    return task.encode(rows, range(len(rows)), targets, wanted, base)


def bytes_of(base: BaseModel, text: str) -> list[int]:
    """The number of each byte, by the tokenizer's own dictionary of single letters."""
    tokenizer = base.load_tokenizer()
    letters = [tokenizer.decode([number]) for number in range(4, WORDS)]
    found = [4 + letters.index(letter) if letter.isascii() else None for letter in text]
    assert None not in found, "only ASCII has a letter a byte"
    return found  # type: ignore[return-value]


def learned(base: BaseModel, ids: Sequence[int], labels: Sequence[int]) -> str:
    """The text of the learned tokens; each label is the token at its own place."""
    assert len(ids) == len(labels)
    kept = [number for number, label in zip(ids, labels, strict=True) if label != IGNORED]
    assert kept == [label for label in labels if label != IGNORED]
    return str(base.load_tokenizer().decode(kept))


# -- what is learned ---------------------------------------------------------------------------


def test_of_a_text_every_token_but_the_first_is_learned_and_its_end(gpt2: BaseModel) -> None:
    table = encoded(gpt2, raw(text=["abc", "d"]), None)
    a, b, c, d = bytes_of(gpt2, "abcd")
    assert table["input_ids"] == [[a, b, c, END], [d, END]]
    assert table["labels"] == [[IGNORED, b, c, END], [IGNORED, END]]
    assert table["items"] == [3, 1]
    assert table["length"] == [4, 2]


def test_of_a_prompt_nothing_is_learned_and_of_its_completion_all(gpt2: BaseModel) -> None:
    table = encoded(gpt2, raw(prompt=["ab\n", "c"], answer=["de", 7]), "answer")
    a, b, line, c, d, e, seven = bytes_of(gpt2, "ab\ncde7")
    assert table["input_ids"] == [[a, b, line, d, e, END], [c, seven, END]]
    assert table["labels"] == [[IGNORED] * 3 + [d, e, END], [IGNORED, seven, END]]
    assert table["items"] == [3, 2]


def test_a_start_that_the_tokenizer_puts_is_read_and_not_learned(gpt2: BaseModel) -> None:
    from pipeline.model.bytes_tokenizer import bytes_tokenizer
    from pipeline.tasks.completions import start_of

    assert start_of(gpt2.load_tokenizer()) == []
    assert start_of(bytes_tokenizer("both")) == [BEGIN]


def test_of_a_conversation_the_turns_of_the_assistant_are_learned_and_their_ends(
    gpt2: BaseModel,
) -> None:
    table = encoded(gpt2, raw(messages=[TALK]), None)
    (ids,), (labels,) = table["input_ids"], table["labels"]
    mark, end = "[CLS]", "[SEP]"
    assert gpt2.load_tokenizer().decode(ids) == (
        f"{mark}system\nBe short.{end}\n{mark}user\nHello?{end}\n{mark}assistant\n  Hé!  {end}\n"
        f"{mark}user\nAgain.{end}\n{mark}assistant\nNo\n\nmore.{end}\n"
    )
    assert learned(gpt2, ids, labels) == f"  Hé!  {end}No\n\nmore.{end}"
    assert table["items"] == [len("  Hé!  ".encode()) + 1 + len("No\n\nmore.") + 1]


TEMPLATES = {
    # The end is the tokenizer's, and there is no mark that asks for an answer.
    "[INST]": (
        (
            "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
            "{% elif m.role == 'assistant' %} {{ m.content | trim }}{{ eos_token }}{% endif %}"
            "{% endfor %}"
        ),
        " Hé![SEP] No\n\nmore.[SEP]",
    ),
    # Empty thoughts stand before the last answer alone.
    "thoughts": (
        (
            "{% for m in messages %}<{{ m.role }}>{% if loop.last and m.role == 'assistant' %}(hm)"
            "{% endif %}{{ m.content }}|\n{% endfor %}{% if add_generation_prompt %}<assistant>"
            "{% endif %}"
        ),
        "  Hé!  |(hm)No\n\nmore.|",
    ),
    # Nothing ends an answer: the end of the text does.
    "bare": (
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}"
        ),
        "  Hé!  No\n\nmore.[SEP]",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_other_templates_are_followed(name: str, gpt2: BaseModel) -> None:
    tokenizer = gpt2.load_tokenizer()
    tokenizer.chat_template, expected = TEMPLATES[name]
    assert learned(gpt2, *conversation(TALK, tokenizer)) == expected


def test_a_template_that_rewrites_an_answer_is_refused(gpt2: BaseModel) -> None:
    tokenizer = gpt2.load_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<{{ m.content | upper }}>{% endfor %}"
    with pytest.raises(ValueError, match="turn 3 is not written as it stands"):
        conversation(TALK, tokenizer)


def test_what_a_template_says_against_a_conversation_is_told(gpt2: BaseModel) -> None:
    tokenizer = gpt2.load_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must take turns') }}"
    with pytest.raises(ValueError, match="roles must take turns"):
        conversation(TALK, tokenizer)


def test_a_text_that_is_cut_has_no_end(gpt2: BaseModel, caplog: pytest.LogCaptureFixture) -> None:
    table = encoded(gpt2, raw(text=["abc", "abcdef"]), None, most=4)
    a, b, c, d = bytes_of(gpt2, "abcd")
    assert table["input_ids"] == [[a, b, c, END], [a, b, c, d]]
    assert table["labels"][1] == [IGNORED, b, c, d]
    assert "data.train: 1 of 2 rows are longer than data.max_length=4 tokens" in caplog.text


def test_a_row_whose_completion_is_cut_away_is_refused(gpt2: BaseModel) -> None:
    rows = raw(prompt=["ab", "abcdef"], answer=["cd", "gh"])
    with pytest.raises(StageError) as caught:
        encoded(gpt2, rows, "answer", most=6)
    assert str(caught.value) == (
        "data.train: x.jsonl line 2: of its 9 tokens the first 6 have nothing that is to be "
        "learned; set data.max_length above 6, or leave out such rows"
    )
    assert encoded(gpt2, rows, "answer", most=7)["items"] == [3, 1]


REFUSED: tuple[tuple[dict[str, list[Any]], str | None, str], ...] = (
    ({"m": [TALK], "l": ["x"]}, "l", "data.label_column: the conversations of 'm' hold their"),
    ({"m": [TALK, "x"]}, None, "data.train: x.jsonl line 2: 'm' holds str, earlier rows hold"),
    ({"m": [TALK[:2]]}, None, "line 1: 'm' has no turn of the role 'assistant' with any content"),
    ({"m": [[{"role": "user"}]]}, None, "line 1: 'm': turn 1 has None as its content; expected"),
    ({"m": [["x"]]}, None, "line 1: 'm': turn 1 is no object with role and content"),
    ({"t": ["x"], "l": [["y"]]}, "l", "line 1: 'l' holds list, not text; set data.label_column"),
    ({"t": ["x"], "l": [None]}, "l", "line 1: 'l' is empty"),
    ({"t": ["x", TALK]}, None, "line 2: 't' holds lists, not text"),
)


@pytest.mark.parametrize(("columns", "label", "says"), REFUSED)
def test_rows_that_say_nothing_clear_are_refused(
    columns: dict[str, list[Any]], label: str | None, says: str, gpt2: BaseModel
) -> None:
    with pytest.raises(StageError) as caught:
        encoded(gpt2, raw(**columns), label)
    assert says in str(caught.value)


def test_conversations_need_a_template(gpt2: BaseModel, tmp_path: Path) -> None:
    from dataclasses import replace
    from shutil import copytree

    folder = copytree(gpt2.folder, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(
        StageError, match="data.text_column: 'm' holds conversations, and the token"
    ):
        encoded(replace(gpt2, folder=folder), raw(m=[TALK]), None)


def test_a_second_text_is_refused(gpt2: BaseModel, t5: BaseModel) -> None:
    wanted = Wanted(
        inputs={"text_column": "a", "text_pair_column": "b"}, label="c", max_length=None
    )
    for base in (gpt2, t5):
        with pytest.raises(StageError, match="data.text_pair_column: .* reads one text, got .*'b'"):
            task_named(base.task).check_settings(wanted, base)


def test_a_target_is_learned_and_read_one_token_late(t5: BaseModel) -> None:
    table = encoded(t5, raw(text=["abc", "d"], out=["e", "fg"]), "out")
    a, b, c, d, e, f, g = bytes_of(t5, "abcdefg")
    assert table["input_ids"] == [[a, b, c, END], [d, END]]
    assert table["labels"] == [[e, END], [f, g, END]]
    assert table["items"] == [2, 3]
    batch = task_named("seq2seq").collate(t5)(rows_of(table))
    assert batch["input_ids"].tolist() == [[a, b, c, END], [d, END, PAD, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[e, END, IGNORED], [f, g, END]]
    # What stands in the place of padding is read by no token that is learned.
    assert batch["decoder_input_ids"].tolist() == [[PAD, e, END], [PAD, f, g]]


def test_a_target_that_is_cut_has_no_end_and_a_source_has_one(t5: BaseModel) -> None:
    table = encoded(t5, raw(text=["abcd"], out=["efgh"]), "out", most=3)
    assert table["input_ids"] == [[*bytes_of(t5, "ab"), END]]
    assert table["labels"] == [bytes_of(t5, "efg")]


def test_the_decoder_is_given_inputs_and_an_axis_of_its_own(t5: BaseModel) -> None:
    task = task_named("seq2seq")
    example = task.example(t5)
    assert set(example) == {"input_ids", "attention_mask", "decoder_input_ids"}
    rows, tokens = example["decoder_input_ids"].shape
    assert rows == 2
    assert tokens != example["input_ids"].shape[1]
    axes = task.dynamic_axes(tuple(example))
    assert axes["decoder_input_ids"] == {0: "batch", 1: "written"}
    assert axes["input_ids"] == axes["attention_mask"] == {0: "batch", 1: "tokens"}
    other = task.resized(example)
    assert {name: value.shape[1] - example[name].shape[1] for name, value in other.items()} == {
        "input_ids": -1, "attention_mask": -1, "decoder_input_ids": -1,
    }  # fmt: skip
    assert t5.load(()).eval()(**other).logits.shape == (2, tokens - 1, WORDS)


def rows_of(table: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


# -- loss and metrics --------------------------------------------------------------------------


def by_hand(logits: Tensor, labels: Tensor, *, late: int) -> list[tuple[float, int, int]]:
    """Of each row: the sum of -ln p(token), hits and tokens; `late` places after its logits."""
    found = []
    for of_row, wanted in zip(logits.double(), labels, strict=True):
        loss, hits, count = 0.0, 0, 0
        for place, label in enumerate(wanted.tolist()):
            if label == IGNORED:
                continue
            scores = of_row[place - late].tolist()
            loss += math.log(math.fsum(math.exp(score) for score in scores)) - scores[label]
            hits += max(range(len(scores)), key=scores.__getitem__) == label
            count += 1
        found.append((loss, hits, count))
    return found


@pytest.mark.parametrize(("name", "late"), [("causal_lm", 1), ("seq2seq", 0)])
@pytest.mark.parametrize("virtual", [0, 2])
def test_loss_and_metrics_are_those_of_the_learned_tokens(
    name: str, late: int, virtual: int
) -> None:
    task = task_named(name)
    random = torch.Generator().manual_seed(0)
    text = torch.randn(2, 5, 7, generator=random)
    labels = torch.tensor([[IGNORED, 3, 4, 1, IGNORED], [IGNORED, IGNORED, 6, 2, 5]])
    labels[0, 3] = int(text[0, 3 - late].argmax())  # one that is hit
    rows = by_hand(text, labels, late=late)
    # Virtual tokens of a prompt stand before those of the text.
    logits = torch.cat([torch.randn(2, virtual, 7, generator=random), text], dim=1)
    judged = task.judged(logits, labels)
    for found, expected in zip(judged, rows, strict=True):
        assert found[0] == pytest.approx(expected[0], rel=1e-5)
        assert found[1:] == expected[1:]
    tokens, loss = sum(row[2] for row in rows), math.fsum(row[0] for row in rows)
    assert tokens == 6
    assert task.loss(logits, labels, tokens).item() == pytest.approx(loss / tokens, rel=1e-5)
    metrics = task.metrics(judged)
    assert metrics["perplexity"] == pytest.approx(math.exp(loss / tokens), rel=1e-5)
    assert metrics["token_accuracy"] == sum(row[1] for row in rows) / tokens
    assert metrics["token_accuracy"] > 0


def test_perplexity_of_a_hopeless_model_is_a_number() -> None:
    metrics = task_named("causal_lm").metrics([(1e6, 0, 2)])
    assert 1e300 < metrics["perplexity"] < math.inf


@pytest.mark.parametrize("option", ["random_gpt2", "random_llama", "random_t5"])
def test_padding_changes_nothing(option: str, made: Made) -> None:
    base = made(option)
    task = task_named(base.task)
    rows = rows_of(encoded(base, raw(text=["ab", "a long one"], out=["cd", "e"]), "out"))
    model, collate = base.load(()), task.collate(base)
    together = judged_by(task, model, collate(rows))
    apart = [judged_by(task, model, collate([row]))[0] for row in rows]
    for one, other in zip(together, apart, strict=True):
        assert one[0] == pytest.approx(other[0], rel=1e-5)
        assert one[1:] == other[1:]


def judged_by(task: Task, model: torch.nn.Module, batch: dict[str, Tensor]) -> list[Any]:
    labels = batch.pop("labels")
    with torch.no_grad():
        return task.judged(model(**batch).logits, labels)


# -- models from a config ----------------------------------------------------------------------

FAMILIES = {
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2},
    "llama": {}, "qwen3": {"head_dim": 16}, "mistral": {}, "gemma": {"head_dim": 16},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
}  # fmt: skip
SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 64, "max_position_embeddings": 128,
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_language_models_agree_with_their_tokenizer(
    family: str, composed: Compose, tmp_path: Path
) -> None:
    settings = composed("model=random_gpt2")["model"] | {"model_type": family}
    settings["config"] = FAMILIES[family] | ({} if family == "gpt2" else SHAPE)
    stage: Any = build_stage("model", settings)
    base = stage.run(None, tmp_path)
    config, tokenizer = base.load_config(), base.load_tokenizer()
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (PAD, BEGIN, END)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (PAD, END)
    assert tokenizer("a")["input_ids"] == bytes_of(base, "a")
    table = encoded(base, raw(messages=[TALK]), None)
    task = task_named("causal_lm")
    batch = task.collate(base)(rows_of(table))
    labels = batch.pop("labels")
    with torch.no_grad():
        loss = task.loss(base.load(())(**batch).logits, labels, table["items"][0])
    assert loss.isfinite()


def test_a_sequence_to_sequence_model_agrees_with_its_tokenizer(t5: BaseModel) -> None:
    config = t5.load_config()
    assert (config.pad_token_id, config.eos_token_id) == (PAD, END)
    assert config.decoder_start_token_id == PAD
    assert t5.load_tokenizer()("a")["input_ids"] == [*bytes_of(t5, "a"), END]


# -- the shipped instructions ------------------------------------------------------------------


def test_the_shipped_instructions_are_as_their_script_writes_them() -> None:
    import runpy

    root = shipped_folder("configs").parent
    script = runpy.run_path(str(root / "scripts/instructions"))
    folder, seen = root / "pipeline/data/instructions", Counter[str]()
    for split, lines in script["rows"]().items():
        text = (folder / f"{split}.jsonl").read_text(encoding="utf-8")
        assert text.splitlines() == lines
        for row in map(json.loads, lines):
            seen[row["prompt"]] += 1
            user, assistant = row["messages"]
            assert (user["content"] + "\n", assistant["content"]) == (
                row["prompt"], row["completion"],
            )  # fmt: skip
    assert len(seen) == 300, "no sentence is in two splits, or twice in one"


# -- training ----------------------------------------------------------------------------------

QUICK = (
    "finetune.num_train_epochs=4", "finetune.train_batch_size=8", "finetune.learning_rate=1e-2",
    "finetune.mixed_precision=no",
)  # fmt: skip


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words, and the same words in capitals: as text, as prompts, and as conversations."""
    words = ["cat", "dog", "sun", "map", "tea", "red", "owl", "ink"]
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for row in range(64):
            said = " ".join(words[(row * step) % 8] for step in range(1, 2 + row % 3))
            turns = [
                {"role": "user", "content": said},
                {"role": "assistant", "content": said.upper()},
            ]
            columns = {"text": f"{said} {said}", "prompt": f"{said}\n", "answer": said.upper()}
            stream.write(json.dumps({**columns, "messages": turns}) + "\n")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("column", ["text", "messages"])
def test_training_on_texts_and_conversations_beats_the_start(
    column: str, gpt2: BaseModel, rows_file: Path, composed: Compose, tmp_path: Path
) -> None:
    config = composed(
        "+recipe=lora_bert", "data=jsonl", f"data.train={rows_file}", f"data.text_column={column}",
        "data.label_column=null", "adapter.target_modules=all-linear", *QUICK,
    )  # fmt: skip

    def stage(name: str, given: object) -> Any:
        (tmp_path / name).mkdir()
        return build_stage(name, config[name]).run(given, tmp_path / name)  # type: ignore[attr-defined]

    examples: Examples = stage("data", gpt2)
    adapted: AdaptedModel = stage("adapter", (gpt2, examples))
    trained: TrainedModel = stage("finetune", (adapted, examples))
    task = task_named("causal_lm")
    table = examples.load("validation")
    batch = task.collate(gpt2)([table[row] for row in range(len(table))])
    start = task.metrics(judged_by(task, adapted.load(), dict(batch)))
    end = task.metrics(judged_by(task, trained.load(), dict(batch)))
    assert trained.metric == "perplexity"
    assert trained.best_metric == pytest.approx(end["perplexity"], rel=1e-4)
    # Whoever knows nothing finds one byte as likely as any other.
    assert end["perplexity"] < WORDS / 2
    assert end["perplexity"] < start["perplexity"] / 2
    assert end["token_accuracy"] > start["token_accuracy"]


def test_a_tokenizer_without_padding_pads_with_the_end_which_is_still_learned(
    gpt2: BaseModel, tmp_path: Path
) -> None:
    """As of GPT-2 and Llama on the hub."""
    from dataclasses import replace

    tokenizer = gpt2.load_tokenizer()
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    tokenizer.pad_token = tokenizer.eos_token
    gpt2.load_config().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    base = replace(gpt2, folder=tmp_path)
    table = encoded(base, raw(text=["abc", "d"]), None)
    batch = task_named("causal_lm").collate(base)(rows_of(table))
    (d,) = bytes_of(base, "d")
    assert batch["input_ids"][1].tolist() == [d, END, END, END]
    assert batch["attention_mask"][1].tolist() == [1, 1, 0, 0]
    assert batch["labels"][1].tolist() == [IGNORED, END, IGNORED, IGNORED]
