"""Modules, optimisers and random generators as flat tensors and JSON, for `run.checkpoints`: exact, and never pickle.

`written` and `read` are the format of safetensors without its library's copies: a style transfer of a large picture remembers a
gigabyte, which must not be in memory three times while it is saved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

#: Types that a checkpoint can hold, by safetensors' names.
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip

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


def written(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[bytes | memoryview]:
    """Tensors and JSON as the consecutive parts of a safetensors file; those on the CPU are shown, not copied.

    Args:
        tensors: anything by flat name, of a type in `DTYPES`.
        state: JSON-serialisable; becomes the entry `state` of the file's metadata.
    """
    header: dict[str, Any] = {"__metadata__": {"state": json.dumps(state, allow_nan=False)}}
    names = {dtype: name for name, dtype in DTYPES.items()}
    parts: list[bytes | memoryview] = []
    end = 0
    for name, value in sorted(tensors.items(), key=lambda item: -item[1].element_size()):  # so that each is aligned
        value = value.detach().cpu().contiguous()
        begin, end = end, end + value.numel() * value.element_size()
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": [begin, end]}
        if value.numel():
            parts.append(memoryview(value.reshape(-1).view(torch.uint8).numpy().data))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *parts]


def read(data: bytearray, offset: int = 0) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read back what `written` gave.

    Each tensor has memory of its own, aligned as torch aligns it: sums over memory that begins elsewhere may differ in the last bit.

    Args:
        data: holds the file.
        offset: where in `data` the file begins, a multiple of 8.
    """
    size = int.from_bytes(data[offset : offset + 8], "little")
    header = json.loads(data[offset + 8 : offset + 8 + size])
    state = json.loads(header.pop("__metadata__")["state"])
    tensors = {}
    for name, entry in header.items():
        dtype, (begin, end) = DTYPES[entry["dtype"]], entry["data_offsets"]
        if begin == end:
            tensors[name] = torch.empty(entry["shape"], dtype=dtype)
        else:
            count = (end - begin) // dtype.itemsize
            shown = torch.frombuffer(data, dtype=dtype, count=count, offset=offset + 8 + size + begin)
            tensors[name] = shown.view(entry["shape"]).clone()
    return tensors, state


def _tensors(part: nn.Module | torch.Generator | Tensor) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return dict(part.state_dict())
    return {"state": part.get_state()} if isinstance(part, torch.Generator) else {"value": part}


def _unpack_optimizer(name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
    for group, saved in zip(optimizer.param_groups, groups, strict=True):
        group.update({key: _tuples(value) for key, value in saved.items() if key != "params"})
    parameters = [(parameter, group) for group in optimizer.param_groups for parameter in group["params"]]
    optimizer.state.clear()
    for flat, value in tensors.items():
        owner, _, rest = flat.partition("/")
        if owner == name:
            index, _, key = rest.partition("/")
            parameter, group = parameters[int(index)]
            counted_there = bool(group.get("fused") or group.get("capturable"))
            optimizer.state[parameter][key] = _like(value, parameter, parameter.device if counted_there else "cpu")


def _like(value: Tensor, parameter: Tensor, counters: torch.device | str) -> Tensor:
    if value.shape != parameter.shape:  # a step counter: on the CPU, as a rule, or each step would wait for the device to read it
        return value.to(counters).clone()
    return torch.empty_like(parameter).copy_(value)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
