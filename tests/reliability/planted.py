"""Secrets laid where a run could pick them up: environment, command line, YAML, data, errors."""

from __future__ import annotations

import json
from collections.abc import Sequence

from reliability.arena import Attack

__all__ = ["planted", "whole_run"]

# Put together here, so that no scanner takes this file for a leak.
HUB = "hf" + "_" + "QwErTyUiOpAsDfGhJkLzXcVbNm"
TOKENS = {
    "a hub token": HUB,
    "an API key": "sk" + "-" + "Ab12" * 10,
    "a project's API key": "sk" + "-proj-" + "Ab_12-" * 6,
    "a GitHub token": "gh" + "p_" + "a1B2" * 9,
    "a fine-grained GitHub token": "github" + "_pat_" + "11AB_" * 8,
    "an AWS key": "AK" + "IA" + "ABCD1234EFGH5678",
    "a Slack token": "xo" + "xb-123456789012-abcdefghij",
    "a web token": "ey" + "JhbGciOiJIUzI1NiJ9" + ".ey" + "JzdWIiOiIxMjM0In0" + ".c2lnbmF0dXJl",
    "a GitLab token": "gl" + "pat-" + "abcdEFGH1234_-xy",
}
PASSWORD = "correct horse battery staple"  # noqa: S105 - the one that is planted
KEY_BLOCK = "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEabcdefgh\n-----END RSA PRIVATE" + " KEY-----"
VALUE = "plain-words-nobody-would-suspect"
ENVIRONMENT = {"HF_TOKEN": HUB, "WANDB_API_KEY": VALUE, "DB_PASSWORD": PASSWORD}
REFUSED = "looks like a secret; put it into an environment variable such as HF_TOKEN"

STAGE = """
import logging, os, warnings
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True, slots=True)
class Mine:
    does: str

    def run(self, given, folder):
        secret = os.environ["WANDB_API_KEY"]
        logging.getLogger("pipeline.mine").info("with %s", secret)
        warnings.warn(secret)
        if self.does == "refuse":
            from pipeline.errors import StageError
            raise StageError(f"model: the hub says {secret}, no")
        try:
            raise KeyError(secret)
        except KeyError as error:
            logging.getLogger("pipeline.mine").exception("again: %s", secret)
            raise RuntimeError(f"a bug with {secret}") from error
"""


def planted() -> list[Attack]:
    """Return runs that end before a model is loaded, each with a secret in its way."""
    return [*_typed(), *_in_yaml(), *_in_data(), *_in_errors()]


def whole_run(arguments: Sequence[str]) -> Attack:
    """Return a run to the end, with tokens in the environment and in the rows.

    Args:
        arguments: Of a run on `rows.jsonl` that takes seconds.
    """
    labels = ("apple", "pear")
    rows = [
        {"text": f"{number} my token is {HUB} and {VALUE}", "label": labels[number % 2]}
        for number in range(40)
    ]
    return Attack(
        family="secrets", name="a whole run", arguments=tuple(arguments), code=0,
        files={"rows.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows)},
        environment=ENVIRONMENT, secrets=(HUB, VALUE, PASSWORD),
    )  # fmt: skip


def _typed() -> list[Attack]:
    by_kind = [(f"adapter.x={token}", token) for token in TOKENS.values()]
    others = [
        (f"name={HUB}", HUB), (f"+note={HUB}", HUB), (f"++model.path=/x/{HUB}/y", HUB),
        (f"{HUB}=1", HUB), (f"--config-name={HUB}", HUB), (HUB, HUB),
        (f"name={HUB}=1", HUB), (f"name='{HUB}", HUB), (f"hydra.run.dir=outputs/{HUB}", HUB),
        (f"adapter.target_modules=[query,{HUB}]", HUB), (f"adapter={{x:{HUB}}}", HUB),
        (f"adapter.x='{KEY_BLOCK}'", "MIIEabcdefgh"),
        ("data.train=https://me:swordfish@host/x.csv", "swordfish"),
        (f"adapter.x={VALUE}", VALUE), (f"adapter.x='{PASSWORD}'", PASSWORD),
        ("model.token=swordfish", "swordfish"), ("+hub_token=swordfish", "swordfish"),
        ("api_key=swordfish", "swordfish"), ("++model.password=swordfish", "swordfish"),
        ("+adapter.secret='swordfish", "swordfish"), ("allow_code=" + HUB, HUB),
    ]  # fmt: skip
    refused = [
        Attack(
            family="secrets", name=f"typed as {argument.partition('=')[0][:20]} ({number})",
            arguments=("+recipe=lora_bert", argument), environment=ENVIRONMENT,
            secrets=(secret,), says=REFUSED, code=2,
        )
        for number, (argument, secret) in enumerate([*by_kind, *others])
    ]  # fmt: skip
    resolved = ("adapter.x=${oc.env:HF_TOKEN}", "name=a${oc.env:WANDB_API_KEY}",
                "hydra.run.dir=outputs/${oc.env:HF_TOKEN}",
                "adapter.x=${oc.decode:${oc.env:HF_TOKEN}}",
                "adapter.r=${oc.env:HF_TOKEN}", "model=${oc.env:HF_TOKEN}")  # fmt: skip
    by_reference = [
        Attack(
            family="secrets", name=f"typed: {argument}", arguments=("+recipe=lora_bert", argument),
            environment=ENVIRONMENT, secrets=(HUB, VALUE), says="error: ", code=2,
        )
        for argument in resolved
    ]  # fmt: skip
    swept = Attack(
        family="secrets", name="swept", arguments=("-m", "+recipe=lora_bert", f"adapter.x=1,{HUB}"),
        secrets=(HUB,), says=REFUSED, code=2,
    )  # fmt: skip
    opened = [
        Attack(family="secrets", name=f"{command} a token", arguments=(command, *[HUB] * count),
               secrets=(HUB,), says="error: ", code=2)
        for command, count in (("open", 1), ("compare", 2), ("plan", 1), ("clean", 1))
    ]  # fmt: skip
    return [*refused, *by_reference, swept, *opened]


def _in_yaml() -> list[Attack]:
    texts = {
        "a value": f"adapter: {{x: {HUB}}}",
        "a list": f"adapter: {{target_modules: [a, {HUB}]}}",
        "a key": f"adapter: {{{HUB}: 1}}",
        "a name": f"name: {HUB}",
        "a reference": "adapter: {x: '${oc.env:HF_TOKEN}'}",
        "a part of a reference": "data: {train: '/x/${oc.env:WANDB_API_KEY}'}",
        "a password": "model: {password: swordfish}",
        "a mistake": f"adapter: [{HUB}",
        "a tag": f"adapter: !{HUB} x",
        "an unknown default": f"defaults: [override /model: {HUB}]",
        "a plain default": f"defaults: [{HUB}]",
        "a default with a path": f"defaults: [../{HUB}]",
        "a hydra key": f"hydra: {{{HUB}: 1}}",
    }
    return [
        Attack(
            family="secrets", name=f"in a recipe, as {name}",
            arguments=("--config-dir", "mine", "+recipe=evil"),
            files={"mine/recipe/evil.yaml": text if "name:" in text else f"name: x\n{text}\n"},
            environment=ENVIRONMENT, secrets=(HUB, VALUE, "swordfish"), says="error: ", code=2,
        )
        for name, text in texts.items()
    ]  # fmt: skip


def _in_data() -> list[Attack]:
    good = '{"text": "number one", "label": "a"}\n{"text": "number two", "label": "b"}\n'
    files = {
        "jsonl": good + f'{{"text": "{HUB}", "label"\n',
        "jsonl ": good + f'{{"text": "x", "label": ["{HUB}"]}}\n',
        "jsonl  ": good + f'{{"{HUB}": "x", "label": "a"}}\n',
        "jsonl   ": good + f'{{"text": "x", "label": "{HUB}"}}\n',
        "csv": f"text,label\none,a\ntwo,b\n{HUB},c,d\n",
        "csv ": f'text,label\none,a\n"{HUB},c\n',
        "csv  ": f"{HUB},label\none,a\n",
    }
    return [
        Attack(
            family="secrets", name=f"in data ({number})",
            arguments=(
                "+recipe=lora_bert", "model=random_bert", f"data={kind.strip()}",
                f"data.train=rows.{kind.strip()}", "visualize.open=never",
            ),
            files={f"rows.{kind.strip()}": text}, environment=ENVIRONMENT,
            secrets=(HUB,), says="error: ",
        )
        for number, (kind, text) in enumerate(files.items())
    ]  # fmt: skip


def _in_errors() -> list[Attack]:
    return [
        Attack(
            family="secrets", name=f"in the error of a stage that should {does}",
            arguments=(
                "--config-dir", "mine", "name=x", "model=mine", "allow_code=my_stages", *flags,
            ),
            files={"my_stages.py": STAGE,
                   "mine/model/mine.yaml": f"_target_: my_stages.Mine\ndoes: {does}\n"},
            environment=ENVIRONMENT, secrets=(VALUE,), says="***", code=code,
        )
        for does, code in (("refuse", 2), ("break", 1))
        for flags in ((), ("-m", "seed=1,2"))
    ]  # fmt: skip
