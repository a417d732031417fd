"""Drawing with a trained generator of any family: samples, walks, directions, and the way back from pictures to latents."""

from __future__ import annotations

from ._audio import latent_audio
from ._directions import latent_directions
from ._model import latent_model
from ._project import latent_project
from ._sample import latent_grid, latent_sample
from ._walk import latent_walk

__all__ = ["latent_audio", "latent_directions", "latent_grid", "latent_model", "latent_project", "latent_sample", "latent_walk"]
