"""Keeping a picture's colours (Gatys et al. 2016, "Preserving Color in Neural Artistic Style Transfer")."""

from __future__ import annotations

import torch
from kornia.color import lab_to_rgb, rgb_to_lab, rgb_to_yuv, yuv_to_rgb
from skimage import exposure
from torch import Tensor


def luminance(images: Tensor) -> Tensor:
    """Grey pictures (N, 3, H, W) of the luminance of RGB ones."""
    return rgb_to_yuv(images)[:, :1].expand(-1, 3, -1, -1).contiguous()


def match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """Bring the mean and spread of a grey style to those of a grey content picture (the paper's eq. 10)."""
    scale = content.std(correction=0) / style.std(correction=0).clamp_min(1e-4)
    return ((style - style.mean()) * scale + content.mean()).clamp(0, 1)


def with_luminance(colours: Tensor, image: Tensor) -> Tensor:
    """Return pictures of `colours`' chroma and `image`'s luminance, both (N, 3, H, W) in [0, 1].

    Luminance is held where the colour exists, so that nothing is clipped and the chroma stays what it was.
    """
    yuv = rgb_to_yuv(colours)
    chroma = yuv_to_rgb(torch.cat([torch.zeros_like(yuv[:, :1]), yuv[:, 1:]], 1))  # luminance adds the same to all three
    least, most = -chroma.amin(1, keepdim=True), 1 - chroma.amax(1, keepdim=True)
    y = rgb_to_yuv(image)[:, :1]
    return (chroma + torch.minimum(torch.maximum(y, least), most)).clamp(0, 1)


def match_colours(style: Tensor, content: Tensor) -> Tensor:
    """Bring the mean and covariance of a style's colours to a content picture's, in CIE Lab.

    x' = A (x - mean_style) + mean_content with A = cov_content^1/2 cov_style^-1/2, which turns no hue further than it must (the paper's
    eq. 1 to 3 and 7).

    Args:
        style: (1, 3, H, W) in [0, 1].
        content: (1, 3, h, w) in [0, 1].

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    a, b = (rgb_to_lab(picture)[0].flatten(1).cpu().double() for picture in (style, content))  # not every device has float64
    mean_a, mean_b = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    transform = _power(torch.cov(b), 0.5) @ _power(torch.cov(a), -0.5)
    matched = (transform @ (a - mean_a) + mean_b).to(style).view_as(style)
    return lab_to_rgb(matched).clamp(0, 1)


def _power(covariance: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix; directions without any spread are given a little, lest they explode."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.clamp_min(1e-2) ** exponent) @ vectors.T


def match_histograms(style: Tensor, content: Tensor) -> Tensor:
    """Bring the histograms of a style's colours to a content picture's, channel by channel of CIE Lab.

    Args:
        style: (1, 3, H, W) in [0, 1].
        content: (1, 3, h, w) in [0, 1].

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    a, b = (rgb_to_lab(image)[0].cpu().numpy() for image in (style, content))
    matched = torch.from_numpy(exposure.match_histograms(a, b, channel_axis=0)).to(style)
    return lab_to_rgb(matched[None]).clamp(0, 1)


def kept_colours(image: Tensor, content: Tensor, preserve_color: str) -> Tensor:
    """Give a painting its content's colours: all but the lightness, or their mean and covariance."""
    if preserve_color == "luminance":
        return with_luminance(content, image)
    return match_colours(image, content) if preserve_color == "match" else image
