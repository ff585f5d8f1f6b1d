"""The plain convolutional network: what many people write first, here as an example."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["Block", "Cnn"]


class Block(nn.Module):
    """A 3x3 convolution, batch norm, ReLU; and pooling, which halves height and width."""

    def __init__(self, before: int, width: int) -> None:
        """Take the number of channels before, and after."""
        super().__init__()
        self.conv = nn.Conv2d(before, width, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(2)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (rows, width, height / 2, width / 2) of (rows, before, height, width)."""
        halved: Tensor = self.pool(self.norm(self.conv(maps)).relu())
        return halved


class Cnn(nn.Module):
    """Blocks of convolutions, a linear layer, and a linear head."""

    def __init__(
        self,
        num_labels: int = 10,
        num_channels: int = 1,
        image_size: int = 28,
        widths: tuple[int, ...] = (16, 32),
        hidden: int = 64,
    ) -> None:
        """Build it.

        Args:
            num_labels: Outputs of the head.
            num_channels: Of the images: 1 is grey.
            image_size: Their height and width, pixels.
            widths: Channels of each block; each halves height and width.
            hidden: Width of the layer before the head.
        """
        super().__init__()
        ends = (num_channels, *widths)
        self.blocks = nn.Sequential(*(Block(*pair) for pair in pairwise(ends)))
        side = image_size // 2 ** len(widths)
        self.hidden = nn.Linear(ends[-1] * side * side, hidden)
        self.classifier = nn.Linear(hidden, num_labels)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return logits (rows, labels) of images (rows, channels, height, width)."""
        maps = self.blocks(pixel_values)
        logits: Tensor = self.classifier(self.hidden(maps.flatten(1)).relu())
        return logits
