"""A model's latent space: where latents lie, what classes they have, and the pictures of them, for every family alike.

All that is asked of a generator is `G(z)`, or `G(z, labels)` where it knows classes. One with a space of styles has beside that
`mapping`, `truncate`, `synthesis`, `w_dim`, `layers` and `mean_w`, as the Generator of stylegan has; one that tells in what directions its
pictures change has `first_layer`, and one that takes pictures apart has `encode`, as that of vae has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genart.artifacts import Model
from genart.errors import DataError, did_you_mean

from . import latent


class Space:
    """The latent space z of a model, or its space of styles w.

    Args:
        model: the model, for its header.
        G: its generator, in evaluation mode on `device`.
        device: "cpu", "cuda" or "mps".
        name: "z" or "w".
        truncation_psi: scale of latents from N(0, 1); in w, and for a G that has w, how far from the mean style.

    Attributes:
        dim: numbers in a latent of the space.
        classes: names of the classes that the model knows.
        layers: styles that a picture takes; 0 for a family without w.
        size: pictures that are computed at a time.

    Raises:
        DataError: if the family has no w and it is asked for.
    """

    def __init__(self, model: Model, G: Any, device: str = "cpu", name: str = "z", truncation_psi: float = 1.0) -> None:
        self.family, self.G, self.device, self.name, self.truncation_psi = model.family, G, device, name, truncation_psi
        self.styled = all(hasattr(G, part) for part in ("mapping", "truncate", "synthesis", "w_dim", "layers"))
        if name == "w":
            self.need_styles("space = 'w'")
        self.z_dim = int(model.header["z_dim"])
        self.dim = int(G.w_dim) if name == "w" else self.z_dim
        self.layers = int(G.layers) if self.styled else 0
        self.classes: list[str] = list(model.header.get("classes", ()))
        self.size = latent.batch_size_for(int(model.header["resolution"]))

    def need_styles(self, wanted: str) -> None:
        """Refuse what only a space of styles can do.

        Raises:
            DataError: if the family has none.
        """
        if not self.styled:
            raise DataError(
                f"{wanted} needs a family with a space of styles, and the model is of the family '{self.family}', which has only z",
                "leave it out, or give a model of stylegan.train",
            )

    # latents

    def drawn(self, seed: int) -> Tensor:
        """Latent in z of a seed, (z_dim,); scaled by `truncation_psi` where z is what is drawn from, as latent.sample draws it."""
        return latent.latent(self.z_dim, seed, self.truncation_psi)

    @torch.no_grad()
    def point(self, z: Tensor, kind: Tensor | None = None) -> Tensor:
        """Where a latent in z lies in this space: (z_dim,), and its class (classes,) or None, to (dim,) on the CPU.

        It is computed by itself, so that it is the same whatever other latents there are.
        """
        if self.name == "z":
            return z
        w = self.G.mapping(z[None].to(self.device), *(() if kind is None else (kind[None].to(self.device),)))
        return self.G.truncate(w, self.truncation_psi)[0].float().cpu()  # type: ignore[no-any-return]

    # classes

    def kind(self, name: str | None) -> Tensor | None:
        """Shares of a class, (classes,): 1 for the one of that name; None for None.

        Raises:
            DataError: if the model does not know it.
        """
        if name is None:
            return None
        if name not in self.classes:
            knows = f"it knows {', '.join(self.classes)}" if self.classes else "it was trained without class folders, and knows no classes"
            raise DataError(f"the model has no class '{name}'{did_you_mean(name, self.classes)}", knows)
        return torch.eye(len(self.classes))[self.classes.index(name)]

    def class_of(self, seed: int) -> str | None:
        """The class of a latent that names none: each is as frequent."""
        return self.classes[seed % len(self.classes)] if self.classes else None

    # pictures

    def pictures(self, points: Sequence[Tensor], kinds: Sequence[Tensor | None]) -> Tensor:
        """Pictures of at most `size` latents of this space, with their classes: (N, 3, H, W) float32 in [0, 1] on the device."""
        labels = None if kinds[0] is None else torch.stack([kind for kind in kinds if kind is not None])
        psi = self.truncation_psi
        return latent.pictures(self.G, torch.stack(list(points)), self.size, self.device, labels, psi, space=self.name)
