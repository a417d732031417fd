"""A model file becomes a generator again."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file

from genart.artifacts import Model
from genart.errors import DataError

from .checkpoint import all_finite

#: Begins the names of tensors that only training needs: those of the network that learned beside G.
BESIDE = "beside/"


def _check_size(cls: type[torch.nn.Module], parameters: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Make the network without memory first: parameters may ask for more than there is, while the weights are few.

    Raises:
        ValueError: if it has other weights.
    """
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in cls(**parameters).state_dict().items()}
    for name in {*wanted, *weights}:
        if name not in wanted or name not in weights or wanted[name] != weights[name].shape:
            raise ValueError(f"{name} is missing, too many or of another shape")


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
        weights = {name: value for name, value in load_file(model.path).items() if not name.startswith(BESIDE)}
        _check_size(cls, parameters, weights)
        module = cls(**parameters)
        module.load_state_dict(weights, strict=True)
        if not all_finite(weights):
            raise ValueError("NaN or infinity")
    except Exception as error:  # parameters from a stranger's file, to which a class may say anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{model.path.name}: its weights do not fit the family '{model.family}' ({reason})", "was it made by another version?"
        ) from error
    return module.train(False).requires_grad_(False).to(device)
