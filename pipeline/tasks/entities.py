"""Whole entities, as labels of words mark them: `B-LOC`, `I-LOC`, `O`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["are_chunks", "of_entities"]

_CHUNK = re.compile(r"O|[BI]|[BIELSU]-.+")
_AS_SEQEVAL = {"L": "E", "U": "S"}
"""Two letters of BILOU, as IOBES has them."""


def of_entities(judged: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Return precision, recall and F1 of entities, and the accuracy of words.

    An entity is right if its first word, its last and its kind are; one that begins with `I-` is
    an entity as well. Each entity counts the same (micro average).

    Source: the rules of the CoNLL-2000 shared task's `conlleval`, by seqeval.

    Args:
        judged: For each row the numbers of the chosen labels and of the right ones: (2, words).
        names: What they stand for.
    """
    from seqeval.metrics import accuracy_score
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    tags = np.array([_AS_SEQEVAL.get(name[0], name[0]) + name[1:] for name in names])
    chosen, labels = ([tags[row[which]].tolist() for row in judged] for which in (0, 1))
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, chosen, average="micro", zero_division=0
    )
    return {
        "accuracy": float(accuracy_score(labels, chosen)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }


def are_chunks(names: Sequence[str]) -> bool:
    """Whether labels say where something begins and goes on, as B, I and O do."""
    return all(_CHUNK.fullmatch(name) for name in names) and set(names) != {"O"}
