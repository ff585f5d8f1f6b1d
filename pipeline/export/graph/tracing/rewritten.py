"""What some kinds of adapters compute, written so that it can be exported and is exact there.

Each function stands in for one of PEFT 0.21, in eval mode, and gives the same values.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from peft.tuners.poly.router import EPS
from torch import Tensor
from torch.nn import functional

__all__ = [
    "BlockCircularConvolution",
    "cpt_prompt",
    "fourierft_delta",
    "frod_product",
    "frod_tensors",
    "poly_weights",
    "shira_delta",
    "solve",
]


def solve(matrix: Tensor, right: Tensor, *, left: bool = True) -> Tensor:
    """Solve AX = B, or XA = B unless `left`, by Gauss-Jordan elimination without pivoting.

    The exporter has no operator for `torch.linalg.solve`. A is identity plus a skew matrix here:
    its symmetric part is the identity, and so no pivot is below 1.

    Source: Golub and Van Loan, Unsymmetric positive definite linear systems, Linear Algebra and
    its Applications 28 (1979), for elimination of such matrices without pivoting.
    """
    if not left:
        turned: Tensor = solve(matrix.mT, right.mT).mT
        return turned
    size = matrix.shape[-1]
    both = torch.cat([matrix, right], dim=-1)
    units = torch.eye(size, dtype=both.dtype, device=both.device)
    for step in range(size):
        row = both[..., step : step + 1, :] / both[..., step : step + 1, step : step + 1]
        both = both - (both[..., step : step + 1] - units[:, step : step + 1]) * row
    return both[..., size:]


def shira_delta(layer: Any, adapter: str) -> Tensor:
    """Return SHiRA's sparse update as a dense matrix: the exporter has no sparse tensors."""
    rows, columns = layer.shira_indices[adapter].long()
    values: Tensor = layer.shira_weight[adapter] * layer.scaling[adapter]
    empty = values.new_zeros(layer.out_features, layer.in_features)
    return empty.index_put((rows, columns), values, accumulate=True)


def frod_tensors(
    layer: Any, adapter: str, *, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return FRoD's U, V, S and Lambda with S dense, and of a size that is not read from a tensor.

    Source: `FrodLayer._get_frod_tensors` of PEFT 0.21; S is square, as wide as Lambda is long.
    """
    left, right, values, diagonal = (
        held[adapter].to(device=device, dtype=dtype)
        for held in (layer.frod_U, layer.frod_V, layer.frod_lambda_s_values, layer.frod_lambda_l)
    )
    rows, columns = layer.frod_s_indices[adapter].to(device=device, dtype=torch.long)
    empty = values.new_zeros(len(diagonal), len(diagonal))
    return left, right, empty.index_put((rows, columns), values, accumulate=True), diagonal


def frod_product(layer: object, flat: Tensor, sparse: Tensor) -> Tensor:
    """Multiply each row of `flat` by S, which `frod_tensors` made dense."""
    return flat @ sparse.mT


def fourierft_delta(layer: Any, adapter: str) -> Tensor:
    """Return FourierFT's update as a sum over its few frequencies, without a transform.

    The transform of ONNX Runtime is off by 2e-4 at lengths such as 768, which are no power of two.

    Source: Gao et al. 2024, Parameter-Efficient Fine-Tuning with Discrete Fourier Transform,
    https://arxiv.org/abs/2405.03003; the real part of the inverse transform of a spectrum with the
    values c_k at (r_k, s_k) is sum_k c_k cos(2 pi (i r_k / m + j s_k / n)) / (m n).
    """
    spectrum = layer.fourierft_spectrum[adapter]
    rows, columns = layer.indices[adapter].to(spectrum.device)
    height, width = layer.out_features, layer.in_features
    values = spectrum.float() * (layer.fourierft_scaling[adapter] / (height * width))
    down, across = _angles(height, rows), _angles(width, columns)
    even = (down.cos() * values) @ across.cos().mT
    odd = (down.sin() * values) @ across.sin().mT
    delta: Tensor = (even - odd).to(spectrum.dtype)
    return delta


def _angles(length: int, frequencies: Tensor) -> Tensor:
    """Return 2 pi i k / length for each place i and frequency k, less whole turns."""
    places = torch.arange(length, device=frequencies.device)
    return (places[:, None] * frequencies % length).float() * (2 * math.pi / length)


class BlockCircularConvolution:
    """C3A's convolution as a product with a matrix: the exporter has no complex numbers.

    Source: Chen et al. 2024, Parameter-Efficient Fine-Tuning via Circular Convolution,
    https://arxiv.org/abs/2407.19342. fft(ifft(x) fft(w)) is y_i = sum_j w[(j - i) mod b] x_j.
    """

    @staticmethod
    def apply(inputs: Tensor, kernel: Tensor) -> Tensor:
        """Map (..., in) to (..., out) with a kernel of shape (out / block, in / block, block)."""
        outer, inner, block = kernel.shape
        place = torch.arange(block, device=kernel.device)
        shift = (place[None, :] - place[:, None]) % block
        blocks = kernel[:, :, shift.flatten()].reshape(outer, inner, block, block)
        weight = blocks.permute(0, 2, 1, 3).reshape(outer * block, inner * block)
        return functional.linear(inputs, weight)


def poly_weights(router: Any, task_ids: Tensor, input_ids: Tensor) -> Tensor:
    """Return Poly's weights of the skills, without the check that every task exists.

    A graph cannot raise; ONNX Runtime refuses an index that is out of range. Source:
    `PolyRouter.forward` of PEFT 0.21 in eval mode.
    """
    logits = router.module_logits[task_ids].view(-1, router.n_splits, router.n_skills)
    weights = torch.sigmoid(logits)
    shares: Tensor = weights / (weights.sum(dim=-1, keepdim=True) + EPS)
    return shares


def cpt_prompt(encoder: Any, indices: Tensor) -> Tensor:
    """Return CPT's prompt with every change shortened to its epsilon, and write to no parameter.

    PEFT chooses the rows that are too long by a condition on their values, which the exporter
    cannot follow. Source: `CPTEmbedding.get_projection` of PEFT 0.21.
    """
    change = encoder.delta_embedding.weight
    longest = torch.tensor(_epsilons(encoder.config), dtype=change.dtype, device=change.device)
    factor = longest / change.norm(dim=1).clamp(min=longest)
    prompt: Tensor = encoder.embedding(indices)
    return prompt + functional.embedding(indices, change * factor[:, None])


def _epsilons(config: Any) -> list[float]:
    """Return how long the change of each token of the prompt may be, by the type of the token.

    Source: `CPTEmbedding.get_epsilon` of PEFT 0.21.
    """
    width = (config.token_dim / 2048) ** 0.5
    of_type = {
        1: config.opt_projection_format_epsilon * width,
        2: config.opt_projection_epsilon * width,
        3: config.opt_projection_format_epsilon * width,
    }
    return [
        of_type.get(type_ % 4, 1e-10) if type_ > 0 else 1e-10
        for type_ in config.cpt_tokens_type_mask
    ]
