"""Any even box: reflect the images to the size a network needs, and crop its output back."""

from torch import nn
from torch.nn import functional


class Padded(nn.Module):
    """A network that takes boxes it was not made for.

    network: has ``multiple`` and optionally ``smallest``: it takes sides that are multiples of the one
    and not below the other. crop: the output is an image of the input's size (generator), not scores
    (discriminator). The padding is half on each side, so the image's origin at N//2 stays the origin.
    """

    def __init__(self, network, crop):
        super().__init__()
        self.network, self.crop = network, crop

    def forward(self, images):
        box = images.shape[-1]
        margin = (self.size(box) - box) // 2
        if margin:
            images = functional.pad(images, (margin,) * 4, mode='reflect')
        output = self.network(images)
        return output[..., margin : margin + box, margin : margin + box] if self.crop else output

    def size(self, box):
        """Side of the images the network really sees, for an even box."""
        multiple = self.network.multiple
        return max(-(-box // multiple) * multiple, getattr(self.network, 'smallest', 0))
