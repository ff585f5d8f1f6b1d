"""Section C, second half: adapters that touch nothing, or not what was meant."""

from __future__ import annotations

from catalogue.case import Case, Proved

__all__ = ["CASES", "PROVED"]

_RUN = ("+recipe=lora_bert", "model=random_bert", "data=none", "finetune=none",
        "visualize.pictures=never", "visualize.open=never")  # fmt: skip
_TESTS = "tests/test_adapter.py::test_"


def _case(number: int, setting: str, says: str, *more: str, early: bool = False) -> Case:
    """Return the case of one setting, which the message begins with."""
    return Case(
        number=number,
        given=" ".join((setting, *more)),
        arguments=(*_RUN, setting, *more),
        says=rf"^error: {says}",
        early=early,
    )


def _early(number: int, setting: str, says: str, *more: str) -> Case:
    return _case(number, setting, says, *more, early=True)


_TARGETS = (
    _case(
        91,
        "adapter.target_modules=[q_proj,v_proj]",
        r"adapter\.target_modules: 'q_proj' matches no module; 'v_proj' matches no module.* Modules"
        " end in: classifier, dense, key",
    ),
    _case(
        91,
        "adapter.target_modules=[quary]",
        r"adapter\.target_modules: 'quary' matches no module; did you mean 'query'\?",
    ),
    _case(
        91,
        "adapter.target_modules=query",
        r"adapter\.target_modules: no module's whole name matches 'query'",
    ),
    _case(
        91,
        "adapter.target_modules='.*q_proj'",
        r"adapter\.target_modules: no module's whole name matches '\.\*q_proj'",
    ),
    _case(
        91,
        "adapter.target_modules=['.*query']",
        r"adapter\.target_modules: '\.\*query' matches no module; did you mean 'query'\?",
    ),
    _case(
        91,
        "adapter.exclude_modules=[query,value]",
        r"adapter: nothing is left to adapt: ",
    ),
    _case(
        91,
        "adapter.exclude_modules=[vaule]",
        r"adapter\.exclude_modules: 'vaule' matches no module; did you mean 'value'\?",
    ),
    _case(
        91,
        "adapter.exclude_modules=[value]",
        r"adapter\.target_modules: 'value' touches none of the 2 adapted modules: bert\.encoder",
    ),
    _case(
        91,
        "adapter.target_modules=[classifier]",
        r"adapter: nothing is left to adapt: ",
    ),
    _case(
        91,
        "adapter.layers_to_transform=[0,99]",
        r"adapter\.layers_to_transform: block 99 touches none of the 2 adapted modules",
    ),
    _case(
        91,
        "adapter.layers_to_transform=[7]",
        r"adapter: nothing is left to adapt: ",
    ),
    _early(
        91,
        "adapter.layers_to_transform=[-1]",
        r"adapter\.layers_to_transform counts the blocks from 0, got -1$",
    ),
    _early(
        91,
        "adapter.layers_to_transform=[]",
        r"adapter\.layers_to_transform is empty; name blocks, or null for all$",
    ),
    _case(
        91,
        "adapter.target_modules='.*query'",
        r"adapter: .*layers_to_transform",
        "adapter.layers_to_transform=[0]",
    ),
    _case(
        91,
        "+adapter.rank_pattern={vaule:4}",
        r"adapter\.rank_pattern: 'vaule' touches none of the 4 adapted modules",
    ),
    _case(
        91,
        "+adapter.alpha_pattern={key:4}",
        r"adapter\.alpha_pattern: 'key' touches none of the 4 adapted modules",
    ),
    _case(
        92,
        "adapter.target_modules=[query,v_proj]",
        r"adapter\.target_modules: 'v_proj' matches no module.* \(query would match\)",
    ),
    _case(
        92,
        "adapter.target_modules=[query,vaule]",
        r"adapter\.target_modules: 'vaule' matches no module; did you mean 'value'\?",
    ),
    _early(93, "adapter.target_modules=[]", r"adapter\.target_modules is empty; name the modules"),
    _early(93, "adapter.target_modules=''", r"adapter\.target_modules"),
    _early(93, "adapter.target_modules=null", r"adapter\.target_modules: .*got None$"),
    _early(
        94,
        "adapter.target_modules='(*'",
        r"adapter\.target_modules: '\(\*' is not a regular expression: nothing to repeat",
    ),
    _early(
        94,
        "adapter.exclude_modules='*query'",
        r"adapter\.exclude_modules: '\*query' is not a regular expression: nothing to repeat",
    ),
    _case(
        95,
        "adapter.target_modules=[LayerNorm]",
        r"adapter\.target_modules: 'LayerNorm' matches bert\.embeddings\.LayerNorm, a LayerNorm, wh"
        "ich cannot carry LoRA. Those that can end in: classifier, dense",
    ),
    _case(
        95,
        "adapter.target_modules=[output]",
        r"adapter\.target_modules: 'output' matches .*, a BertSelfOutput, which cannot carry LoRA",
    ),
    _case(
        95,
        "adapter.target_modules='.*attention.*'",
        r"adapter\.target_modules: '\.\*attention\.\*' matches .*, a BertAttention, which cannot",
    ),
)

_NUMBERS = (
    _early(96, "adapter.r=0", r"adapter\.r must be a whole number of at least 1, got 0$"),
    _early(96, "adapter.r=-8", r"adapter\.r must be a whole number of at least 1, got -8$"),
    _early(96, "adapter.r=null", r"adapter\.r: .*got None$"),
    _early(
        96, "+adapter.rank_pattern={query:0}", r"adapter\.rank_pattern\.query must be a whole n"
    ),
    _early(98, "adapter.r=4.5", r"adapter\.r: should be a valid integer, .*got 4\.5$"),
    _early(98, "adapter.r=big", r"adapter\.r: should be a valid integer, .*got 'big'$"),
    _early(98, "adapter.r=true", r"adapter\.r: should be a number, got True$"),
    *(
        _case(
            99, f"adapter.r={r}", rf"adapter\.r: {r} is more than any layer of this model is wide"
        )
        for r in (33, 10_000, 10**12)
    ),
    _case(
        99,
        "adapter.target_modules=[token_type_embeddings]",
        r"adapter\.r: 8 is more than bert\.embeddings\.token_type_embeddings is wide \(2 to 32\)",
    ),
    _case(
        99,
        "+adapter.rank_pattern={query:1000000}",
        r"adapter\.rank_pattern\.query: 1000000 is more than any layer of this model is wide",
    ),
    *(
        _early(
            101, f"adapter.lora_dropout={value}", r"adapter\.lora_dropout must be in \[0, 1\), g"
        )
        for value in ("-1", "1", "nan")
    ),
    _early(
        102, "adapter.lora_alpha=0", r"adapter\.lora_alpha must be a finite number above 0, got"
    ),
    _early(102, "adapter.lora_alpha=-16", r"adapter\.lora_alpha must be a finite number above 0"),
    _early(
        102, "+adapter.alpha_pattern={query:0}", r"adapter\.alpha_pattern\.query must be a fini"
    ),
    *(
        _early(
            103, f"adapter.lora_alpha={value}", r"adapter\.lora_alpha must be a finite number ab"
        )
        for value in ("inf", "-inf", "nan", "1e999")
    ),
    _early(96, "adapter.seed=-1", r"adapter\.seed must be a whole number from 0 to 4294967295"),
)

_KEYS = (
    _early(104, "adapter.task_type=SEQCLS", r"adapter\.task_type: unknown key"),
    _early(106, "adapter.rank=8", r"adapter\.rank: unknown key.*Known keys: .*r"),
    _early(
        106, "adapter.lora_alhpa=8", r"adapter\.lora_alhpa: unknown key; did you mean 'lora_alp"
    ),
    _early(106, "adapter.target_module=[query]", r"adapter\.target_module: unknown key; did you"),
    _early(106, "adapter=lora_x", r"adapter: no adapter 'lora_x'"),
    _early(107, "adapter.bias=some", r"adapter\.bias: should be 'none', 'all' or 'lora_only', got"),
    _early(107, "adapter.init_lora_weights=gaussia", r"adapter\.init_lora_weights: .*'gaussian'"),
    _case(
        107,
        "adapter.init_lora_weights=orthogonal",
        r"adapter: .*Orthogonal initialization requires the LoRA rank to be even, got 3",
        "adapter.r=3",
    ),
    _case(
        108,
        "adapter.modules_to_save=[clasifier]",
        r"adapter\.modules_to_save: 'clasifier' matches no module; did you mean 'classifier'\?",
    ),
    _case(
        108,
        "adapter.modules_to_save=[query]",
        r"adapter\.target_modules: 'query' touches none of the 2 adapted modules",
    ),
    _case(108, "adapter.modules_to_save=[encoder]", r"adapter: nothing is left to adapt: "),
    _early(110, "adapter.path=/x", r"adapter\.path: unknown key"),
)

CASES: tuple[Case, ...] = (*_TARGETS, *_NUMBERS, *_KEYS)

PROVED: tuple[Proved, ...] = (
    Proved(number=110, by=f"{_TESTS}folder_that_is_no_adapter_is_refused"),
    Proved(number=111, by=f"{_TESTS}adapter_of_another_architecture_is_refused"),
    Proved(number=112, by=f"{_TESTS}damaged_adapter_is_refused"),
    Proved(number=113, by=f"{_TESTS}adapter_whose_config_and_weights_differ_is_refused"),
    Proved(number=114, by=f"{_TESTS}adapter_of_other_names_is_refused"),
)
