"""Modules, optimisers and random generators as flat tensors and JSON, for `run.checkpoints`: exact, and never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Part = nn.Module | torch.optim.Optimizer | torch.Generator | Tensor


def pack(parts: Mapping[str, Part]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Flatten parts into tensors and JSON.

    Args:
        parts: modules, optimisers, generators or tensors by name, such as `{"G": G, "opt_G": opt_G}`.

    Returns:
        Tensors by flat name ("G/dense.weight", "opt_G/3/exp_avg"), not copied, and a JSON-serialisable dict.
    """
    tensors: dict[str, Tensor] = {}
    state: dict[str, Any] = {}
    for name, part in parts.items():
        if isinstance(part, torch.optim.Optimizer):
            packed = part.state_dict()
            state[name] = packed["param_groups"]
            for index, values in packed["state"].items():
                tensors |= {f"{name}/{index}/{key}": torch.as_tensor(value) for key, value in values.items()}
        else:
            tensors |= {f"{name}/{key}": value for key, value in _tensors(part).items()}
    return tensors, state


@torch.no_grad()
def unpack(parts: Mapping[str, Part], tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Put what `pack` gave back into parts of the same shapes, in place.

    Values are copied into tensors laid out as the live ones are: fused optimisers walk through memory, so a momentum
    in another memory format than its parameter would silently meet the wrong weights.

    Raises:
        KeyError: if a tensor is missing.
    """
    for name, part in parts.items():
        if isinstance(part, torch.optim.Optimizer):
            _unpack_optimizer(name, part, tensors, state[name])
        elif isinstance(part, torch.Generator):
            part.set_state(tensors[f"{name}/state"])
        else:
            for key, value in _tensors(part).items():
                value.copy_(tensors[f"{name}/{key}"])


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """True if no tensor holds a NaN or an infinity."""
    return all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point())


def _tensors(part: nn.Module | torch.Generator | Tensor) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return dict(part.state_dict())
    return {"state": part.get_state()} if isinstance(part, torch.Generator) else {"value": part}


def _unpack_optimizer(name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.state.clear()
    for flat, value in tensors.items():
        owner, _, rest = flat.partition("/")
        if owner == name:
            index, _, key = rest.partition("/")
            parameter = parameters[int(index)]
            optimizer.state[parameter][key] = _like(value, parameter)
    for group, saved in zip(optimizer.param_groups, groups, strict=True):
        group.update({key: _tuples(value) for key, value in saved.items() if key != "params"})


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    if value.shape != parameter.shape:  # a step counter
        return value.to(parameter.device).clone()
    return torch.empty_like(parameter).copy_(value)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
