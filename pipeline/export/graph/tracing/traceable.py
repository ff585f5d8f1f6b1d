"""Make those kinds of adapters traceable whose code the exporter cannot follow.

What PEFT computes stays what it was; how it is written changes, while a model is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.boft.layer import BOFTLayer
from peft.tuners.c3a import layer as c3a
from peft.tuners.cpt.model import CPTEmbedding
from peft.tuners.fourierft.layer import FourierFTLayer
from peft.tuners.frod.layer import Linear as FrodLinear
from peft.tuners.oft.layer import OFTRotationModule
from peft.tuners.poly.router import PolyRouter
from peft.tuners.psoft.layer import OrthLayer
from peft.tuners.shira.layer import Linear as ShiraLinear
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipeline.export.graph.tracing import rewritten

__all__ = ["traceable"]


@contextmanager
def traceable() -> Iterator[None]:
    """Let every kind of adapter be traced, in eval mode, inside of this context.

    The replacements hold for the whole process: train nothing meanwhile.
    """
    with ExitStack() as undo:
        for owner, name, replacement in (
            (OFTRotationModule, "_cayley_batch", _solving(OFTRotationModule._cayley_batch)),
            (BOFTLayer, "cayley_batch", _solving(BOFTLayer.cayley_batch)),
            (OrthLayer, "get_matrix", _solving(OrthLayer.get_matrix)),
            (ShiraLinear, "get_delta_weight", rewritten.shira_delta),
            (FourierFTLayer, "get_delta_weight", rewritten.fourierft_delta),
            (FrodLinear, "_get_frod_tensors", rewritten.frod_tensors),
            (FrodLinear, "_sparse_activation_mm", rewritten.frod_product),
            (c3a, "BlockCircularConvolution", rewritten.BlockCircularConvolution),
            (PolyRouter, "forward", rewritten.poly_weights),
            (CPTEmbedding, "forward", rewritten.cpt_prompt),
        ):
            undo.enter_context(_replaced(owner, name, replacement))
        undo.enter_context(_DataIsDetached())
        yield


@contextmanager
def _replaced(owner: Any, name: str, replacement: object) -> Iterator[None]:
    own = vars(owner).get(name)  # None where it is inherited
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


class _DataIsDetached(TorchFunctionMode):
    """Read `parameter.data` as `parameter.detach()`: the same values in the same memory.

    The exporter takes the former for a new constant without values. HRA, SHiRA, BOFT, MiSS and
    trainable tokens read weights so.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func == torch.Tensor.data.__get__:  # type: ignore[attr-defined]  # a C slot, not in stubs
            return args[0].detach()
        return func(*args, **(kwargs or {}))


def _solving(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a Cayley transform of PEFT that solves its equations in operators that ONNX has."""

    def transform(*args: Any, **kwargs: Any) -> Tensor:
        with _replaced(torch.linalg, "solve", rewritten.solve):
            return method(*args, **kwargs)

    return transform
