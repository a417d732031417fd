"""Style transfer: pictures painted in the manner of others, by optimisation, at once, or by a network that learnt one manner."""

from __future__ import annotations

import genart

from ._compare import style_compare
from ._instant import style_instant
from ._learn import style_apply, style_learn
from ._transfer import TransferParams, style_transfer

__all__ = [
    "TransferParams",
    "genart_backbones",
    "genart_statistics",
    "style_apply",
    "style_compare",
    "style_instant",
    "style_learn",
    "style_transfer",
]


@genart.hookimpl
def genart_backbones() -> dict[str, str]:
    """Register the networks that come with genart or torchvision."""
    return {
        "vgg19": "genart_style.backbones:vgg19",
        "vgg19-torchvision": "genart_style.backbones:vgg19_torchvision",
        "vgg16-torchvision": "genart_style.backbones:vgg16_torchvision",
    }


@genart.hookimpl
def genart_statistics() -> dict[str, str]:
    """Register the statistics that come with genart."""
    return {
        "gram": "genart_style.statistics:GRAM",
        "mean_covariance": "genart_style.statistics:MEAN_COVARIANCE",
        "w2": "genart_style.statistics:W2",
        "sliced": "genart_style.statistics:SLICED",
        "nearest": "genart_style.statistics:NEAREST",
    }
