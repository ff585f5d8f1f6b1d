"""What some adapters ask of the optimizer beyond a gradient: LoRA+ and AdaLoRA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers
from peft.optimizers import create_loraplus_optimizer
from peft.tuners.adalora import AdaLoraModel

from pipeline.errors import StageError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Allocator", "Optimizing", "orthogonality"]


class Optimizing(transformers.Trainer):  # type: ignore[misc]  # transformers has no types
    """AdamW, with the learning rate of the matrices B a multiple of that of A if asked for.

    Source: Hayou et al. 2024, "LoRA+", https://arxiv.org/abs/2402.12354.
    """

    optimizer: torch.optim.Optimizer | None
    loraplus_lr_ratio: float | None = None
    """None is 1, and no question of whether there is any B."""

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer, made once.

        Raises:
            StageError: A ratio is asked for and no LoRA trains.
        """
        if self.optimizer is not None or self.loraplus_lr_ratio is None:
            made: torch.optim.Optimizer = super().create_optimizer(model)
            return made
        model = self.model if model is None else model
        if not any("lora_B" in name for name, value in model.named_parameters()
                   if value.requires_grad):  # fmt: skip
            raise StageError(
                "finetune.loraplus_lr_ratio: the adapter has no matrices B; use null, or an "
                "adapter of LoRA's kind"
            )
        optimizer_cls, settings = self.get_optimizer_cls_and_kwargs(self.args, model)
        own: torch.optim.Optimizer = create_loraplus_optimizer(
            model=model,
            optimizer_cls=optimizer_cls,
            loraplus_lr_ratio=self.loraplus_lr_ratio,
            loraplus_weight_decay=self.args.weight_decay,
            **settings,
        )
        self.optimizer = own
        return own


class Allocator(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Lets AdaLoRA share its ranks out anew after each step, while the gradients are there.

    Source: Zhang et al. 2023, "AdaLoRA", section 3.2, https://arxiv.org/abs/2303.10512.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = getattr(model, "base_model", None)

    @property
    def allocates(self) -> bool:
        """Whether the model has AdaLoRA in it."""
        return isinstance(self._model, AdaLoraModel)

    def on_train_begin(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **_: Any,
    ) -> None:
        """Tell AdaLoRA how many steps there are.

        Raises:
            StageError: Fewer than it takes to warm up and to settle.
        """
        if not isinstance(self._model, AdaLoraModel):
            return
        settings = self._model.peft_config["default"]
        if settings.tinit + settings.tfinal >= state.max_steps:
            raise StageError(
                f"adapter: tinit {settings.tinit} and tfinal {settings.tfinal} leave none of the "
                f"{state.max_steps} steps of finetune to share out ranks in; lower them, or train "
                "longer"
            )
        settings.total_step = state.max_steps
        self._model.rankallocator.set_total_step(state.max_steps)

    def on_optimizer_step(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **_: Any,
    ) -> None:
        if isinstance(self._model, AdaLoraModel):
            self._model.update_and_allocate(state.global_step)


def orthogonality(model: nn.Module) -> Tensor | None:
    """Return what AdaLoRA adds to the loss so that its matrices stay orthogonal; None without it.

    `orth_reg_weight` times the mean over all matrices P (rows orthogonal) and Q (columns
    orthogonal) of the Frobenius norm of `P P^T - I`, as PEFT's own forward pass has it, which adds
    it only to a loss that the model computes.

    Source: Zhang et al. 2023, equation (4), without the square, https://arxiv.org/abs/2303.10512.
    """
    base = getattr(model, "base_model", None)
    if not isinstance(base, AdaLoraModel):
        return None
    terms = []
    for name, value in model.named_parameters():
        if value.requires_grad and ("lora_A" in name or "lora_B" in name):
            product = value @ value.T if "lora_A" in name else value.T @ value
            identity = torch.eye(len(product), device=product.device, dtype=product.dtype)
            terms.append(torch.linalg.matrix_norm(product - identity))
    weight: float = base.peft_config["default"].orth_reg_weight
    return weight * torch.stack(terms).mean()
