"""Inception v3 as a backbone (Szegedy et al. 2016), with weights that are on the disk already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import Inception3, Inception_V3_Weights

from genart import DataError
from genart.nn.converted import published_weights
from genart.nn.images import to_signed

LAYER = "pool3"
#: Pixels along a side of the smallest picture that the last pooling sees something of.
SMALLEST = 75


class Inception(nn.Module):
    """Gives what the last pooling of torchvision's Inception v3 gives.

    Args:
        network: torchvision's, without auxiliary logits, its last layer replaced by the identity.
    """

    layers = (LAYER,)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Return the features of pictures.

        Args:
            images: (N, 3, H, W) RGB in [0, 1], H and W at least 75, trained at 299.
            layers: "pool3" or nothing.

        Returns:
            (N, 2048, 1, 1) by layer, not negative.
        """
        # the weights were trained by their first owners on pictures in [-1, 1]
        return {layer: self.network(to_signed(images))[:, :, None, None] for layer in layers}

    def stride(self, layer: str) -> int:
        """Pixels of the picture per position of a layer, along a side: one position sees it all."""
        return SMALLEST

    def receptive_field(self, layer: str) -> int:
        """Pixels along a side that one position of a layer looks at, in a picture of the size that it was trained on."""
        return 299


def inception(device: str = "cpu") -> Inception:
    """Inception v3 with torchvision's ImageNet weights, read from torch's cache as safetensors and never fetched.

    Raises:
        DataError: if the file is missing, damaged, or not what it should be.
    """
    published: Any = Inception_V3_Weights.IMAGENET1K_V1
    state, file = published_weights(published.url, "Inception v3", 'use features = "vgg19", which is installed')
    return Inception(_network(state, file)).requires_grad_(False).train(False).to(device)


def _network(state: Mapping[str, Tensor], file: str) -> nn.Module:
    """Put a state into torchvision's network, without what follows the last pooling."""
    with torch.device("meta"):  # nothing is drawn for weights that are replaced
        network: nn.Module = Inception3(aux_logits=False, init_weights=False)
    network.fc = nn.Identity()
    used = {name: value for name, value in state.items() if not name.startswith(("AuxLogits.", "fc."))}
    try:
        network.load_state_dict(used, assign=True)
    except RuntimeError as error:
        raise DataError(f"{file}: not the weights of torchvision's Inception v3", "delete it, or use another file") from error
    return network.float()
