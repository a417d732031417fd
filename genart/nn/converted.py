"""Weights that others publish as pickles, once `genart convert` has brought them in; nothing is fetched, and no pickle is opened."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genart.errors import DataError


def published_weights(url: str, what: str, instead: str) -> tuple[dict[str, Tensor], str]:
    """Tensors of a published file, from the safetensors that stand in torch's cache under its name.

    Args:
        url: where the file is published; its name ends in `-` and the first digits of its SHA-256, as torch's do.
        what: what the weights are of, for the message.
        instead: what can be done without them, for the message.

    Returns:
        Tensors by name, and the name of the file that they come from.

    Raises:
        DataError: if it is missing, damaged, or was converted from another file.
    """
    file = url.rpartition("/")[2]
    pickle = Path(torch.hub.get_dir(), "checkpoints", file)
    path = pickle.with_suffix(".safetensors")
    again = f"genart convert {pickle} -o {path}"
    if not path.is_file():
        first = "" if pickle.is_file() else f"get {url}, put it into {pickle.parent}, and "
        raise DataError(f"the weights of {what} are not on this computer, and are not fetched unasked", f"{first}{again}; or {instead}")
    try:
        with safe_open(path, framework="pt") as stored:
            sha256 = str(json.loads((stored.metadata() or {})["state"])["sha256"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path.name}: the weights of {what} are damaged ({type(error).__name__})", f"make them again: {again}; or {instead}"
        ) from error
    if not sha256.startswith(file.rpartition("-")[2].partition(".")[0]):
        raise DataError(f"{path.name}: not the weights of {what}, but converted from another file", f"{again}; or {instead}")
    return tensors, path.name
