"""Section B: files of rows that cannot be learned from, or that look as if they could not."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from catalogue.case import Case, Proved

__all__ = ["CASES", "PROVED"]

Prepare = Callable[[Path], None]

_RUN = ("+recipe=lora_bert", "model=random_bert", "finetune=none", "visualize.pictures=never",
        "visualize.open=never")  # fmt: skip


def _csv(*more: str) -> tuple[str, ...]:
    return (*_RUN, "data=csv", "data.train={here}/a.csv", *more)


def _jsonl(*more: str) -> tuple[str, ...]:
    return (*_RUN, "data=jsonl", "data.train={here}/a.jsonl", *more)


def _parquet(*more: str) -> tuple[str, ...]:
    return (*_RUN, "data=parquet", "data.train={here}/a.parquet", *more)


def _file(content: str | bytes, name: str = "a.csv") -> Prepare:
    def prepare(here: Path) -> None:
        (here / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def _all(*steps: Prepare) -> Prepare:
    def prepare(here: Path) -> None:
        for step in steps:
            step(here)

    return prepare


def _rows(count: int, labels: str = "ab", start: int = 0) -> str:
    """Return good lines of CSV, without the header."""
    return "".join(f"text {n},{labels[n % len(labels)]}\n" for n in range(start, start + count))


_GOOD = f"text,label\n{_rows(40)}"


def _objects(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _labelled(*labels: object) -> list[dict[str, object]]:
    return [{"text": f"text {n}", "label": labels[n % len(labels)]} for n in range(40)]


def _lines(rows: list[dict[str, object]]) -> Prepare:
    return _file(_objects(rows), "a.jsonl")


def _table(**columns: list[object]) -> Prepare:
    def prepare(here: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), here / "a.parquet")

    return prepare


def _noise(size: int, of: int = 0) -> bytes:
    parts = (hashlib.sha256(f"{of} {n}".encode()).digest() for n in range(size // 32 + 1))
    return b"".join(parts)[:size]


def _truncated(here: Path) -> None:
    _table(text=[f"text {n}" for n in range(40)], label=list("ab" * 20))(here)
    file = here / "a.parquet"
    file.write_bytes(file.read_bytes()[:-30])


def _bit_flips(here: Path) -> None:
    texts: list[object] = [_noise(20, of=n).hex() for n in range(500)]
    _table(text=texts, label=list("ab" * 250))(here)
    file = here / "a.parquet"
    content = bytearray(file.read_bytes())
    content[20:400] = b"\xff" * 380
    file.write_bytes(content)


def _sparse(here: Path) -> None:
    with (here / "a.csv").open("wb") as stream:
        stream.write(b"text,label\nend")
        stream.truncate(2**36)  # 64 GB of NUL characters, none of them on the disk


def _huge_line(here: Path) -> None:
    (here / "a.csv").write_text("text,label\ntext 1,a\n" + "x" * 10_000_100 + ",b\n")


_MISSING = (
    Case(
        number=31,
        given="data file missing",
        arguments=_csv(),
        says=r"^error: data\.train: no such file: .*/a\.csv$",
    ),
    Case(
        number=31,
        given="typing mistake in the name of a file",
        arguments=_csv(),
        says=r"^error: data\.train: no such file: .*/a\.csv; did you mean 'aa\.csv'\?$",
        prepare=_file(_GOOD, "aa.csv"),
    ),
    Case(
        number=31,
        given="test file missing, train file good",
        arguments=_csv("data.test={here}/b.csv"),
        says=r"^error: data\.test: no such file: .*/b\.csv",
        prepare=_file(_GOOD),
    ),
    Case(
        number=31,
        given="folder of the file missing",
        arguments=(*_RUN, "data=csv", "data.train={here}/no/a.csv"),
        says=r"^error: data\.train: no such file: .*; nor is there a folder .*/no$",
    ),
    Case(
        number=31,
        given="link to nothing",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv is a link to nothing: gone\.csv$",
        prepare=lambda here: (here / "a.csv").symlink_to("gone.csv"),
    ),
    Case(
        number=31,
        given="link to itself",
        arguments=_csv(),
        says=r"^error: data\.train: cannot read '.*/a\.csv': .*links",
        prepare=lambda here: (here / "a.csv").symlink_to("a.csv"),
    ),
    Case(
        number=31,
        given="name longer than a file system allows",
        arguments=(*_RUN, "data=csv", f"data.train={{here}}/{'a' * 300}.csv"),
        says=r"^error: data\.train: cannot read .*: File name too long$",
    ),
    Case(
        number=31,
        given="home of nobody",
        arguments=(*_RUN, "data=csv", 'data.train="~no_such_user/a.csv"'),
        says=r"^error: data\.train: no such file: .*~no_such_user/a\.csv",
    ),
    Case(
        number=31,
        given="a file in place of a folder",
        arguments=(*_RUN, "data=csv", "data.train={here}/a.csv/b.csv"),
        says=r"^error: data\.train: cannot read .*: Not a directory$",
        prepare=_file(_GOOD),
    ),
    Case(
        number=31,
        given="no file given",
        arguments=(*_RUN, "data=csv"),
        says=r"^error: data\.train: .*data\.train=",
        early=True,
    ),
    Case(
        number=32,
        given="data path is a directory",
        arguments=(*_RUN, "data=csv", "data.train={here}"),
        says=r"^error: data\.train: .* is a folder; expected a CSV file$",
    ),
    Case(
        number=32,
        given="a pipe that nobody writes to",
        arguments=_csv(),
        says=r"^error: data\.train: .* is a pipe or a device; expected a CSV file$",
        prepare=lambda here: os.mkfifo(here / "a.csv"),
    ),
    Case(
        number=32,
        given="a device without an end",
        arguments=(*_RUN, "data=jsonl", "data.train=/dev/zero"),
        says=r"^error: data\.train: /dev/zero is a pipe or a device; expected a JSON Lines file$",
    ),
    Case(
        number=32,
        given="a link to a device without an end",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv is a pipe or a device",
        prepare=lambda here: (here / "a.csv").symlink_to("/dev/urandom"),
    ),
)

_EMPTY = (
    *(
        Case(
            number=33,
            given=f"zero-byte file read as {kind}",
            arguments=(*_RUN, f"data={kind}", "data.train={here}/a.csv"),
            says=r"^error: data\.train: .*/a\.csv is empty \(0 bytes\)$",
            prepare=_file(""),
        )
        for kind in ("csv", "jsonl", "parquet")
    ),
    Case(
        number=34,
        given="header only",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv has no rows but the names of its columns$",
        prepare=_file("text,label\n"),
    ),
    Case(
        number=34,
        given="header only, in the test file",
        arguments=_csv("data.test={here}/b.csv"),
        says=r"^error: data\.test: .*/b\.csv has no rows but the names of its columns$",
        prepare=_all(_file(_GOOD), _file("text,label\n", "b.csv")),
    ),
    Case(
        number=34,
        given="Parquet without rows",
        arguments=_parquet(),
        says=r"^error: data\.train: .*/a\.parquet has no rows but the names of its columns$",
        prepare=_table(text=[], label=[]),
    ),
    Case(
        number=34,
        given="CSV of empty lines",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv has no line with the names of the columns$",
        prepare=_file("\n\n\n"),
    ),
    Case(
        number=34,
        given="JSON Lines of empty lines",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl ",
        prepare=_file("\n \n\n", "a.jsonl"),
    ),
)

_COLUMNS = (
    Case(
        number=35,
        given="missing text column",
        arguments=_csv("data.text_column=sentence"),
        says=r"^error: data\.text_column: no column 'sentence' in .*/a\.csv\. Columns: text, label",
        prepare=_file(_GOOD),
    ),
    Case(
        number=35,
        given="capital in the name of the text column",
        arguments=_csv(),
        says=r"^error: data\.text_column: no column 'text' in .*; did you mean 'Text'\? Columns: T",
        prepare=_file(_GOOD.replace("text,label", "Text,Label")),
    ),
    Case(
        number=35,
        given="space before the name of a column",
        arguments=_csv(),
        says=r"^error: data\.label_column: no column 'label' .*Columns: text, ' label'$",
        prepare=_file(_GOOD.replace("text,label", "text, label")),
    ),
    Case(
        number=35,
        given="file without a line of names",
        arguments=_csv(),
        says=r"^error: data\.text_column: no column 'text' in .* Columns: text 0, a$",
        prepare=_file(_rows(40)),
    ),
    Case(
        number=35,
        given="no column for pairs of texts",
        arguments=_csv("data.text_pair_column=other"),
        says=r"^error: data\.text_pair_column: no column 'other' in .* Columns: text, label$",
        prepare=_file(_GOOD),
    ),
    Case(
        number=35,
        given="the text column for the labels as well",
        arguments=_csv("data.label_column=text"),
        says=r"^error: data\.label_column: .* must be different columns, got text, text$",
        prepare=_file(_GOOD),
    ),
    Case(
        number=35,
        given="JSON objects with other keys",
        arguments=_jsonl(),
        says=r"^error: data\.text_column: no column 'text' in .* Columns: words, class$",
        prepare=_file(_objects([{"words": "a", "class": "b"}] * 9), "a.jsonl"),
    ),
    Case(
        number=35,
        given="Parquet with other columns",
        arguments=_parquet(),
        says=r"^error: data\.text_column: no column 'text' in .*; did you mean 'texts'\?",
        prepare=_table(texts=["a", "b"], label=["x", "y"]),
    ),
    Case(
        number=36,
        given="missing label column",
        arguments=_csv("data.label_column=target"),
        says=r"^error: data\.label_column: no column 'target' in .*/a\.csv; did .* Columns: t",
        prepare=_file(_GOOD),
    ),
    Case(
        number=36,
        given="missing label column in the validation file alone",
        arguments=_csv("data.validation={here}/b.csv"),
        says=r"^error: data\.label_column: no column 'label' in .*/b\.csv\. Columns: text$",
        prepare=_all(_file(_GOOD), _file("text\nx\n", "b.csv")),
    ),
    *(
        Case(
            number=37,
            given=f"delimiter {told}",
            arguments=_csv(),
            says=rf"^error: data\.train: .*/a\.csv has one column .*set .data\.delimiter='{shown}'",
            prepare=_file(_GOOD.replace(",", between)),
        )
        for told, between, shown in (
            ("semicolon", ";", ";"),
            ("bar", "|", r"\|"),
            ("tab", "\t", r"\\t"),
        )
    ),
    Case(
        number=38,
        given="duplicate column names",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 1: the column 'text' is there twice$",
        prepare=_file("text,text,label\na,b,c\n"),
    ),
    Case(
        number=38,
        given="a key twice in a JSON object",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 2: the key 'text' is there twice$",
        prepare=_file('{"text": "a", "label": 1}\n{"text": "a", "text": "b"}\n', "a.jsonl"),
    ),
)

_DAMAGED = (
    Case(
        number=39,
        given="ragged rows: more fields",
        arguments=_csv(),
        says=r"^error: data\.train: .* line 3: 4 fields, expected 2; a text with ',' in it must be",
        prepare=_file("text,label\na,b\na,b,c,d\n"),
    ),
    Case(
        number=39,
        given="ragged rows: fewer fields",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 43: 1 field, expected 2$",
        prepare=_file(f"{_GOOD}\nlonely\n"),
    ),
    Case(
        number=39,
        given="ragged row after a text of three lines",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 5: 3 fields, expected 2",
        prepare=_file('text,label\n"a\nb\nc",x\na,b,c\n'),
    ),
    Case(
        number=40,
        given="quote never closed",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 3: a quote is opened and never closed$",
        prepare=_file(f'text,label\na,b\n"c,d\n{_rows(9)}'),
    ),
    Case(
        number=40,
        given="quote closed by the next quoted text",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv lines 3 to 4: text follows a closing quote",
        prepare=_file('text,label\na,b\n"c,d\n"e",f\n'),
    ),
    Case(
        number=40,
        given="quotes escaped with a backslash",
        arguments=_csv(),
        says=r'^error: data\.train: .* line 2: text follows a closing quote; .*write "" for',
        prepare=_file('text,label\n"say \\"hi\\" to him",b\n'),
    ),
    *(
        Case(
            number=42,
            given=f"{encoding} read as {kind}",
            arguments=(*_RUN, f"data={kind}", "data.train={here}/a.csv"),
            says=rf"^error: data\.train: .* looks like UTF-16; convert it to UTF-8{advice}$",
            prepare=_file(_GOOD.encode(encoding)),
        )
        for encoding, kind, advice in (
            ("utf-16", "csv", r", or set data\.encoding=utf-16"),
            ("utf-16-le", "csv", r", or set data\.encoding=utf-16"),
            ("utf-16-be", "jsonl", ""),
        )
    ),
    Case(
        number=42,
        given="Latin letters of Windows",
        arguments=_csv(),
        says=r"^error: .*/a\.csv line 42: the byte 0xfc is not utf-8; convert .*data\.encoding=",
        prepare=_file(f"{_GOOD}fünf,b\n".encode("cp1252")),
    ),
    Case(
        number=42,
        given="half a character at the end of JSON Lines",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 1: the byte 0xe2 is not utf-8; convert",
        prepare=_file(b'{"text": "\xe2\x82"}\n', "a.jsonl"),
    ),
    Case(
        number=42,
        given="no such encoding",
        arguments=_csv("data.encoding=utf9"),
        says=r"^error: data\.encoding: 'utf9' is no encoding of text; did you mean 'utf",
        early=True,
    ),
    Case(
        number=42,
        given="an encoding that is none of text",
        arguments=_csv("data.encoding=zip"),
        says=r"^error: data\.encoding: 'zip' is no encoding of text",
        early=True,
    ),
    Case(
        number=42,
        given="UTF-16 that ends in the middle of a character",
        arguments=_csv("data.encoding=utf-16"),
        says=r"^error: data\.train: .*/a\.csv line \d+ or one of the next: not utf-16: ",
        prepare=_file(_GOOD.encode("utf-16")[:-1]),
    ),
    Case(
        number=43,
        given="noise named .csv",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv (is not a text file|line 1: the byte)",
        prepare=_file(_noise(5000)),
    ),
    *(
        Case(
            number=43,
            given=f"{told} named .csv",
            arguments=_csv(),
            says=rf"^error: data\.train: .*/a\.csv {says}",
            prepare=_file(content),
        )
        for told, content, says in (
            ("sheet of Excel", b"PK\x03\x04" + bytes(99), "is a zip file or a sheet of Excel"),
            (
                "old sheet of Excel",
                b"\xd0\xcf\x11\xe0" + bytes(99),
                "is a sheet of Excel, not text",
            ),
            ("compressed file", gzip.compress(b"text,label"), r"is compressed \(gzip\); run `gunz"),
            ("PDF", b"%PDF-1.7\n%\xe2\xe3", "is a PDF, not text; save it as CSV"),
            ("web page", b"<!DOCTYPE html><html>", "is a web page or XML; download"),
            (
                "git-lfs pointer",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                "is a git-lfs pointer; run `git lfs pull`",
            ),
        )
    ),
    Case(
        number=43,
        given="64 GB of nothing",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv is not a text file",
        prepare=_sparse,
    ),
    Case(
        number=44,
        given="NUL characters in CSV",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 42: a NUL character; is this text\?$",
        prepare=_file(f"{_GOOD}a\0b,a\n"),
    ),
    Case(
        number=44,
        given="NUL character written in JSON",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 2: 'text' has '\\x00', which is no character$",
        prepare=_lines([{"text": "a", "label": "x"}, {"text": "b\0", "label": "y"}]),
    ),
    Case(
        number=44,
        given="half a surrogate pair written in JSON",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 2: 'text' has '\\ud83d', which is no charact",
        prepare=_lines([{"text": "a", "label": "x"}, {"text": "b\ud83d", "label": "y"}]),
    ),
    Case(
        number=44,
        given="a line without an end",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 3: longer than 10,000,000 characters",
        prepare=_huge_line,
    ),
    Case(
        number=43,
        given="Parquet cut off",
        arguments=_parquet(),
        says=r"^error: data\.train: .*/a\.parquet is damaged: ",
        prepare=_truncated,
    ),
    Case(
        number=43,
        given="Parquet overwritten in the middle",
        arguments=_parquet(),
        says=r"^error: data\.train: .*/a\.parquet is damaged: ",
        prepare=_bit_flips,
    ),
)

_FORMATS = (
    Case(
        number=46,
        given="labels of several kinds",
        arguments=_jsonl(),
        says=r"line 2: the label 'x' is text, those of earlier rows are whole numbers; write",
        prepare=_lines(_labelled(1, "x")),
    ),
    Case(
        number=46,
        given="labels true and 1",
        arguments=_jsonl(),
        says=r"line 2: the label 1 is whole numbers, those of earlier rows are true or false",
        prepare=_lines(_labelled(True, 1)),
    ),
    Case(
        number=46,
        given="labels 1 and 1.0",
        arguments=_jsonl(),
        says=r"line 2: the label 1\.0 is decimals, those of earlier rows are whole numbers",
        prepare=_lines(_labelled(1, 1.0)),
    ),
    Case(
        number=46,
        given="lists of labels",
        arguments=_jsonl(),
        says=r"line 1: the label 'label' is a list, not a word or a number",
        prepare=_lines(_labelled(["a"], ["b", "c"])),
    ),
    Case(
        number=46,
        given="objects as labels",
        arguments=_jsonl(),
        says=r"line 1: the label 'label' is a dict, not a word or a number$",
        prepare=_lines(_labelled({"a": 1}, {"b": 2})),
    ),
    Case(
        number=47,
        given="CSV read as JSON",
        arguments=(*_RUN, "data=jsonl", "data.train={here}/a.csv"),
        says=r"^error: data\.train: .* is not JSON Lines, it looks like CSV; use data=csv$",
        prepare=_file(_GOOD),
    ),
    Case(
        number=47,
        given="JSON read as CSV",
        arguments=(*_RUN, "data=csv", "data.train={here}/a.jsonl"),
        says=r"^error: data\.train: .* is not CSV, it looks like JSON Lines; use data=jsonl$",
        prepare=_lines(_labelled("a", "b")),
    ),
    Case(
        number=47,
        given="Parquet read as CSV",
        arguments=(*_RUN, "data=csv", "data.train={here}/a.parquet"),
        says=r"^error: data\.train: .* is not CSV, it looks like Parquet; use data=parquet$",
        prepare=_table(text=["a"], label=["b"]),
    ),
    Case(
        number=47,
        given="CSV read as Parquet",
        arguments=(*_RUN, "data=parquet", "data.train={here}/a.csv"),
        says=r"^error: data\.train: .* is not Parquet, it looks like CSV; use data=csv$",
        prepare=_file(_GOOD),
    ),
    Case(
        number=47,
        given="one JSON array",
        arguments=_jsonl(),
        says=r"^error: data\.train: .* is one JSON array; write one object a line, without the br",
        prepare=_file(json.dumps(_labelled("a", "b"), indent=1), "a.jsonl"),
    ),
    Case(
        number=47,
        given="JSON objects over several lines",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 1: not a JSON object on one line: ",
        prepare=_file(json.dumps({"text": "a", "label": "b"}, indent=1), "a.jsonl"),
    ),
    Case(
        number=47,
        given="two JSON objects on a line",
        arguments=_jsonl(),
        says=r"^error: .*/a\.jsonl line 1: not a JSON object on one line: Extra data at char",
        prepare=_file('{"a": 1}{"a": 2}\n', "a.jsonl"),
    ),
    Case(
        number=47,
        given="a list among JSON objects",
        arguments=_jsonl(),
        says=r"^error: .*/a\.jsonl line 2: \[1, 2\] is not a JSON object such as \{\.\.\.\}$",
        prepare=_file('{"text": "a", "label": "b"}\n[1, 2]\n', "a.jsonl"),
    ),
    Case(
        number=47,
        given="JSON with a comma too many, on line 7",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 7: not a JSON object on one line: ",
        prepare=_file(_objects(_labelled("a", "b")[:6]) + '{"text": "a",}\n', "a.jsonl"),
    ),
    Case(
        number=47,
        given="JSON nested a hundred thousand deep",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 1: maximum recursion depth exceeded",
        prepare=_file('{"text": ' + "[" * 100_000 + "\n", "a.jsonl"),
    ),
    Case(
        number=47,
        given="a number of five thousand digits",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 1: Exceeds the limit",
        prepare=_file('{"text": "a", "label": ' + "9" * 5000 + "}\n", "a.jsonl"),
    ),
    Case(
        number=47,
        given="NaN in JSON",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 1: NaN is not JSON$",
        prepare=_file('{"text": "a", "label": NaN}\n', "a.jsonl"),
    ),
    Case(
        number=49,
        given="unknown format",
        arguments=(*_RUN, "data=xlsx"),
        says=r"^error: data: no data 'xlsx'.*csv.*jsonl.*parquet",
        early=True,
    ),
    Case(
        number=49,
        given="a key for the format, which is a group here",
        arguments=_csv("data.format=xlsx"),
        says=r"^error: data\.format: unknown key",
        early=True,
    ),
)

_NOTHING: list[dict[str, object]] = [{"text": None, "label": "a"}] * 2

_TEXTS = (
    Case(
        number=50,
        given="null text in JSON",
        arguments=_jsonl(),
        says=r"^error: .*/a\.jsonl line 3: 'text' is empty \(and 1 more\); fix it, or .*drop_em",
        prepare=_lines([*_labelled("a", "b")[:2], *_NOTHING]),
    ),
    Case(
        number=50,
        given="a JSON object that lacks the text",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 4: 'text' is empty; fix it, or leave out",
        prepare=_file(_objects(_labelled("a", "b")[:2]) + '\n{"label": "a"}\n', "a.jsonl"),
    ),
    Case(
        number=50,
        given="empty text in CSV, after a text of two lines and an empty line",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 5: 'text' is empty; fix it",
        prepare=_file('text,label\n"a\nb",x\n\n,y\n'),
    ),
    Case(
        number=50,
        given="a text of spaces",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 2: 'text' is empty; fix it",
        prepare=_file("text,label\n   ,y\nb,x\n"),
    ),
    Case(
        number=50,
        given="null text in Parquet",
        arguments=_parquet(),
        says=r"^error: data\.train: .*/a\.parquet row 2: 'text' is empty; fix it",
        prepare=_table(text=["a", None, "c"], label=["x", "y", "x"]),
    ),
    Case(
        number=50,
        given="every row empty, with drop_empty",
        arguments=_csv("data.drop_empty=true"),
        says=r"^error: data\.train: .*: every row is empty; data\.drop_empty leaves none$",
        prepare=_file("text,label\n,y\nb,\n"),
    ),
    *(
        Case(
            number=52,
            given=f"{told} for texts",
            arguments=_jsonl(),
            says=rf"line 1: 'text' holds {held}, not text \({shown}.*\); set data\.text_column$",
            prepare=_lines([{"text": text, "label": "ab"[n % 2]} for n in range(9)]),
        )
        for told, text, held, shown in (
            ("numbers", 5, "numbers", "5"),
            ("numbers as text", "5.5", "numbers", "'5.5'"),
            ("lists", ["a", "b"], "lists", r"\['a'"),
            ("objects", {"en": "a"}, "objects", r"\{'en'"),
            ("truth", True, "true and false", "True"),
        )
    ),
    Case(
        number=52,
        given="numbers in a CSV column",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 2: 'text' holds numbers, not text \('1'\)",
        prepare=_file("text,label\n1,b\n2,c\n"),
    ),
    Case(
        number=52,
        given="bytes in a Parquet column",
        arguments=_parquet(),
        says=r"^error: data\.train: .*/a\.parquet row 1: 'text' holds bytes, not text",
        prepare=_table(text=[b"a", b"b"], label=["x", "y"]),
    ),
)

_LABELS = (
    Case(
        number=55,
        given="every label -100",
        arguments=_csv(),
        says=r"^error: .* line 2: the label -100 stands for 'no label', .*\(every label is\)",
        prepare=_file("text,label\n" + "text,-100\n" * 9),
    ),
    Case(
        number=55,
        given="one label -100",
        arguments=_jsonl(),
        says=r"^error: .* line 3: the label -100 stands for 'no label', .*; leave out such rows$",
        prepare=_lines(_labelled(0, 1, -100)),
    ),
    Case(
        number=57,
        given="labels that are words",
        arguments=_csv(),
        says=r"2 labels; 32 rows to train",
        prepare=_file(_GOOD),
        code=0,
        lines=0,
    ),
    Case(
        number=58,
        given="decimals as labels",
        arguments=_csv(),
        says=r"^error: .*/a\.csv line 3: the label 0\.37 is a decimal; data\.label_col",
        prepare=_file("text,label\na,1\nb,0.37\nc,2\n"),
    ),
    Case(
        number=58,
        given="decimals as labels in Parquet",
        arguments=_parquet(),
        says=r"^error: .*/a\.parquet row 1: the label 0\.5 is a decimal; data\.label_",
        prepare=_table(text=["a", "b"], label=[0.5, 1.0]),
    ),
    Case(
        number=59,
        given="missing label",
        arguments=_csv(),
        says=r"^error: data\.train: .*/a\.csv line 42: 'label' is empty; fix it, or leave out",
        prepare=_file(f"{_GOOD}text,\n"),
    ),
    Case(
        number=59,
        given="null label in JSON",
        arguments=_jsonl(),
        says=r"^error: data\.train: .*/a\.jsonl line 2: 'label' is empty \(and 19 more\)",
        prepare=_lines(_labelled("a", None)),
    ),
    Case(
        number=60,
        given="single class",
        arguments=_csv(),
        says=r"^error: data\.label_column: needs at least two different labels, found 1: 'a'",
        prepare=_file(f"text,label\n{_rows(40, labels='a')}"),
    ),
    Case(
        number=60,
        given="two classes of which one has a single row",
        arguments=_csv(),
        says=r"^error: data\.test: cannot set aside 10% of 41 rows .* 2 labels, of which 'z' "
        r"\(.*/a\.csv line 42\) has 1 of them; give more rows",
        prepare=_file(f"text,label\n{_rows(40, labels='a')}last,z\n"),
    ),
    Case(
        number=60,
        given="a row",
        arguments=_csv(),
        says=r"^error: data\.label_column: needs at least two different labels, found 1",
        prepare=_file("text,label\na,b\n"),
    ),
    Case(
        number=63,
        given="max_length above the model's limit",
        arguments=_csv("data.max_length=513"),
        says=r"^error: data\.max_length: 513 is above the model's limit of 512 tokens$",
        prepare=_file(_GOOD),
    ),
    Case(
        number=63,
        given="max_length 1",
        arguments=_csv("data.max_length=1"),
        says=r"^error: data\.max_length must be at least 2, got 1$",
        early=True,
    ),
    Case(
        number=65,
        given="a label that only the validation file has",
        arguments=_csv("data.validation={here}/b.csv"),
        says=r"^error: data\.validation: .*/b\.csv line 3: label 'c' is not among the 2 labels of",
        prepare=_all(_file(_GOOD), _file("text,label\nx,a\ny,c\n", "b.csv")),
    ),
    Case(
        number=65,
        given="a label that the test file writes otherwise",
        arguments=_csv("data.test={here}/b.csv"),
        says=r"^error: data\.test: .*/b\.csv line 2: label 'angyr' .*; did you mean 'angry'\?$",
        prepare=_all(_file(_GOOD.replace(",a", ",angry")), _file("text,label\nx,angyr\n", "b.csv")),
    ),
    Case(
        number=66,
        given="train and test are the same file",
        arguments=_csv("data.test={here}/a.csv"),
        says=r"^error: data\.test: .*/a\.csv is the same file as data\.train, byte for byte",
        prepare=_file(_GOOD),
    ),
    Case(
        number=66,
        given="validation is a copy of train",
        arguments=_csv("data.validation={here}/b.csv"),
        says=r"^error: data\.validation: .*/b\.csv is the same file as data\.train, byte for byte",
        prepare=_all(_file(_GOOD), _file(_GOOD, "b.csv")),
    ),
)

_ACCEPTED = ()

_DRAWING = tuple(
    Case(
        number=60,
        given=f"{key} {value}",
        arguments=_csv(f"data.{key}={value}"),
        says=rf"^error: data\.{key}.*{says}",
        early=True,
    )
    for key, value, says in (
        ("test_size", "0", "must be between 0 and 1, got 0"),
        ("validation_size", "1.5", "must be between 0 and 1, got 1.5"),
        ("test_size", "nan", "must be between 0 and 1, got nan"),
        ("seed", "-1", "must be a whole number from 0 to 4294967295, got -1"),
        ("delimiter", "'||'", "must be one ASCII character"),
    )
)

CASES: tuple[Case, ...] = (
    *_MISSING,
    *_EMPTY,
    *_COLUMNS,
    *_DAMAGED,
    *_FORMATS,
    *_TEXTS,
    *_LABELS,
    *_DRAWING,
)

_TESTS = "tests/test_data.py::test_"
PROVED: tuple[Proved, ...] = (
    *(Proved(number=n, by=f"{_TESTS}labels_are_names_of_any_kind") for n in (53, 54, 56, 57)),
    Proved(number=50, by=f"{_TESTS}empty_rows_are_left_out_when_asked"),
    Proved(number=62, by=f"{_TESTS}texts_are_cut_at_max_length"),
    Proved(number=64, by=f"{_TESTS}texts_of_unknown_tokens_are_refused_with_their_share"),
    Proved(number=66, by=f"{_TESTS}texts_that_two_splits_share_are_counted"),
)
