"""Any even box: reflect the images to the size a network needs, and crop its output back."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional

from ..shapes import Tensor


class Padded(nn.Module):
    """A network that takes boxes it was not made for.

    network: has ``multiple`` and optionally ``smallest``: it takes sides that are multiples of the one
    and not below the other. crop: the output is an image of the input's size (generator), not scores
    (discriminator). The padding is half on each side, so the image's origin at N//2 stays the origin.
    """

    network: Any

    def __init__(self, network: nn.Module, crop: bool) -> None:
        super().__init__()
        self.network, self.crop = network, crop

    def forward(self, images: Tensor) -> Tensor:
        box = images.shape[-1]
        margin = (self.size(box) - box) // 2
        if margin:
            images = functional.pad(images, (margin,) * 4, mode='reflect')
        output: Tensor = self.network(images)
        return output[..., margin : margin + box, margin : margin + box] if self.crop else output

    def size(self, box: int) -> int:
        """Side of the images the network really sees, for an even box."""
        multiple = self.network.multiple
        size: int = max(-(-box // multiple) * multiple, getattr(self.network, 'smallest', 0))
        return size
