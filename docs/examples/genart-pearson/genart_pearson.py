"""Pearson's divergence as a loss: f-GAN (Nowozin et al. 2016, table 2 and 6): `loss = "pearson"` in every family with a discriminator."""

from __future__ import annotations

import genart


@genart.hookimpl
def genart_losses() -> dict[str, str]:
    """Name the loss; its code is imported when a training asks for it."""
    return {"pearson": "genart_pearson_loss:PEARSON"}
