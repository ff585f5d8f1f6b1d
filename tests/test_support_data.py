"""The shipped messages are many, balanced, distinct, and hard for a bag of words."""

import json
import re
from collections import Counter
from itertools import chain

import pytest

from pipeline.shipped import shipped_folder

FOLDER = shipped_folder("configs").parent / "pipeline" / "data" / "support"
SPLITS = ("train", "validation", "test")

Row = dict[str, str]
Grams = frozenset[tuple[str, ...]]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    return {
        split: [json.loads(line) for line in (FOLDER / f"{split}.jsonl").open(encoding="utf-8")]
        for split in SPLITS
    }


def grams(text: str, size: int) -> Grams:
    """The runs of `size` words of a text, without case and punctuation."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    return frozenset(tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1)))


def similarity(a: Grams, b: Grams) -> float:
    """Jaccard index: shared runs among all runs of both."""
    return len(a & b) / len(a | b)


def test_there_are_at_least_1200_messages_with_8_to_12_intents(rows: dict[str, list[Row]]) -> None:
    assert sum(map(len, rows.values())) >= 1200
    assert 8 <= len({row["intent"] for row in chain(*rows.values())}) <= 12


def test_every_intent_is_as_frequent_as_the_others_in_every_split(
    rows: dict[str, list[Row]],
) -> None:
    for split in SPLITS:
        assert len(set(Counter(row["intent"] for row in rows[split]).values())) == 1


def test_no_message_stands_twice(rows: dict[str, list[Row]]) -> None:
    texts = [
        " ".join(sorted(grams(row["text"], 1))[0]) + row["text"] for row in chain(*rows.values())
    ]
    assert len(texts) == len(set(texts))


def test_no_message_of_test_or_validation_is_nearly_one_of_train(
    rows: dict[str, list[Row]],
) -> None:
    known = [(row["text"], grams(row["text"], 2)) for row in rows["train"]]
    for row in chain(rows["validation"], rows["test"]):
        ours = grams(row["text"], 2)
        nearest = max(known, key=lambda other: similarity(ours, other[1]))
        assert similarity(ours, nearest[1]) < 0.3, (row["text"], nearest[0])


def test_the_test_of_near_duplicates_finds_one() -> None:
    one = "My parcel should have come on Tuesday and the tracking has not moved since."
    two = "My parcel should have come on Monday and the tracking has not moved since."
    assert similarity(grams(one, 2), grams(two, 2)) > 0.3


def test_messages_follow_no_template(rows: dict[str, list[Row]]) -> None:
    """No run of six words is shared by more than three messages, and beginnings differ."""
    texts = [row["text"] for row in chain(*rows.values())]
    runs = Counter(chain.from_iterable(grams(text, 6) for text in texts))
    assert max(runs.values()) <= 3, runs.most_common(3)
    beginnings = Counter(tuple(text.lower().split()[:3]) for text in texts)
    assert beginnings.most_common(1)[0][1] <= 0.01 * len(texts)


def test_nothing_in_the_messages_leads_to_a_person(rows: dict[str, list[Row]]) -> None:
    for row in chain(*rows.values()):
        assert not re.search(r"\S+@\S+\.\S+|https?://|\+?\d[\d ]{9,}", row["text"]), row["text"]


def test_the_card_names_every_intent(rows: dict[str, list[Row]]) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for intent in {row["intent"] for row in chain(*rows.values())}:
        assert f"`{intent}`" in card


@pytest.mark.slow
def test_a_bag_of_words_is_far_from_solving_it(rows: dict[str, list[Row]]) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    baseline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=2000),
    )
    train, test = rows["train"], rows["test"]
    baseline.fit([row["text"] for row in train], [row["intent"] for row in train])
    accuracy = baseline.score([row["text"] for row in test], [row["intent"] for row in test])
    chance = 1 / len({row["intent"] for row in train})
    assert 3 * chance < accuracy < 0.6
