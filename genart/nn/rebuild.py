"""A model file becomes a generator again."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file

from genart.artifacts import Model
from genart.errors import DataError

#: Begins the names of tensors that only training needs: those of the network that learned beside G.
BESIDE = "beside/"


def rebuild(cls: type[torch.nn.Module], model: Model, device: str) -> torch.nn.Module:
    """Construct a generator from a model's parameters and load its weights.

    Args:
        cls: the family's generator class.
        model: the model file.
        device: where it is to run.

    Returns:
        The generator in evaluation mode, its parameters frozen.

    Raises:
        DataError: if the weights do not fit the class.
    """
    parameters: dict[str, Any] = model.header["parameters"]
    try:
        module = cls(**parameters)
        weights = {name: value for name, value in load_file(model.path).items() if not name.startswith(BESIDE)}
        module.load_state_dict(weights, strict=True)
    except (TypeError, RuntimeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{model.path.name}: its weights do not fit the family '{model.family}' ({reason})", "was it made by another version?"
        ) from error
    return module.eval().requires_grad_(False).to(device)
