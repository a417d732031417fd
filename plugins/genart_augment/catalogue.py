"""What Kornia offers for single pictures, read off Kornia itself; genart's `nn/kornia_table.json` is made of it by docs/generate.py.

Left out are what a recipe cannot mean: operations that mix several pictures, that leave the range of pictures, or that download a
network; and the parameters `same_on_batch`, `p_batch` and `keepdim`, since each picture here is drawn alone.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

import kornia.augmentation
import kornia.augmentation.auto
from kornia.augmentation import AugmentationBase2D
from torch import Tensor

from .operations import PICTURES, kornia_module

#: Why an augmentation of Kornia is not offered.
LEFT_OUT_AUGMENTATIONS = {
    "Normalize": "leaves the range of pictures",
    "Denormalize": "leaves the range of pictures",
    "RandomDissolving": "downloads a network",
}
#: Functions that turn a picture into a picture, by module of Kornia.
CATALOGUED = {
    "enhance": (
        "adjust_brightness adjust_brightness_accumulative adjust_contrast adjust_contrast_with_mean_subtraction adjust_gamma adjust_hue "
        "adjust_log adjust_saturation adjust_saturation_with_gray_subtraction adjust_sigmoid equalize equalize_clahe invert "
        "jpeg_codec_differentiable normalize_min_max posterize sharpness shift_rgb solarize threshold"
    ),
    "filters": (
        "bilateral_blur blur_pool2d box_blur canny edge_aware_blur_pool2d filter2d filter2d_separable gaussian_blur2d guided_blur in_range "
        "joint_bilateral_blur laplacian max_blur_pool2d median_blur motion_blur otsu_threshold sobel unsharp_mask"
    ),
    "morphology": "bottom_hat closing dilation erosion gradient opening top_hat",
    "color": (
        "apply_colormap rgb_to_bgr rgb_to_grayscale rgb_to_hls rgb_to_hsv rgb_to_lab rgb_to_linear_rgb rgb_to_luv rgb_to_xyz rgb_to_ycbcr "
        "rgb_to_yuv hls_to_rgb hsv_to_rgb lab_to_rgb linear_rgb_to_rgb luv_to_rgb xyz_to_rgb ycbcr_to_rgb yuv_to_rgb sepia"
    ),
    "geometry.transform": (
        "affine center_crop crop_by_indices hflip pyrdown pyrup rescale resize resize_to_be_divisible rot180 rotate scale shear translate "
        "vflip warp_affine warp_perspective"
    ),
}
#: Functions that are not offered, by the reason.
LEFT_OUT = {
    "no picture comes out as itself": "elastic_transform2d remap",
    "takes several pictures": "add_weighted reconstruction",
    "measures, and gives no picture": "histogram histogram2d image_histogram2d integral_image integral_tensor",
    "leaves the range of pictures": "denormalize normalize rgb255_to_normals rgb255_to_rgb rgb_to_rgb255 normals_to_rgb255",
    "is for volumes": (
        "affine3d center_crop3d convolve3d correlate3d crop_and_resize3d crop_by_boxes3d crop_by_transform_mat3d equalize3d filter3d "
        "get_affine_matrix3d get_gaussian_kernel3d get_motion_kernel3d get_perspective_transform3d get_shear_matrix3d "
        "get_spatial_gradient_kernel3d homography_warp3d motion_blur3d rotate3d spatial_gradient3d warp_affine3d warp_grid3d "
        "warp_perspective3d"
    ),
    "makes a kernel or a matrix": (
        "gaussian get_affine_matrix2d get_binary_kernel2d get_box_kernel1d get_box_kernel2d get_diff_kernel2d "
        "get_gaussian_discrete_kernel1d get_gaussian_erf_kernel1d get_gaussian_kernel1d get_gaussian_kernel2d "
        "get_hanning_kernel1d get_hanning_kernel2d "
        "get_laplacian_kernel1d get_laplacian_kernel2d get_motion_kernel2d get_perspective_transform get_projective_transform "
        "get_rotation_matrix2d get_shear_matrix2d get_sobel_kernel2d get_spatial_gradient_kernel2d get_tps_transform "
        "get_translation_matrix2d invert_affine_transform laplacian_1d projection_from_Rt warp_grid warp_points_tps"
    ),
    "gives several pictures, or planes of different sizes": (
        "build_laplacian_pyramid build_pyramid raw_to_rgb raw_to_rgb_2x2_downscaled rgb_to_raw rgb_to_yuv420 rgb_to_yuv422 "
        "spatial_gradient yuv420_to_rgb yuv422_to_rgb"
    ),
    "learns from a whole data set": "linear_transform zca_mean zca_whiten",
    "is between pictures of other channels": (
        "bgr_to_grayscale bgr_to_rgb bgr_to_rgba grayscale_to_rgb rgb_to_rgba rgb_to_y rgba_to_bgr rgba_to_rgb"
    ),
    "is part of another, which is offered": (
        "adjust_hue_raw adjust_saturation_raw convolve2d correlate2d crop_and_resize crop_by_boxes crop_by_transform_mat fft_conv "
        "homography_warp sepia_from_rgb warp_image_tps"
    ),
}
#: The reason for which functions of single pictures are left out; the others are no such functions, or can be had by another name.
MISSING, WITHIN = "no picture comes out as itself", "is part of another, which is offered"
CONTAINERS = ("ImageSequential", "PatchSequential")
POLICIES = ("AutoAugment", "RandAugment", "TrivialAugment")
#: Parameters that no recipe gives.
UNGIVEN = {
    "self",
    "args",
    "kwargs",
    "same_on_batch",
    "p_batch",
    "keepdim",
    "return_transform",
    "silence_instantiation_warning",
    "if_unsupported_ops",
    "disable_item_features",
    "disable_sequential_features",
    "transformation_matrix_mode",
    "random_apply_weights",
    "return_mask",
    "engine",
    "origin",
    "structuring_element",
    "quantization_table_y",
    "quantization_table_c",
}
#: Kornia's sentences speak of tensors, over several lines, with references.
WORDS = (
    (r"\s+", " "),
    (r" ?:cite:`\w+`", ""),
    (r"torch\.Tensor", "tensor"),
    (r" \(4D tensor\)", ""),
    (r"\b(?:an image(?:/video)?|a) tensor(?: image)?\b", "a picture"),
    (r"\b(?:image )?tensor(?: image)?(s?)\b", r"picture\1"),
    (r"\ba batch pictures\b", "a batch of pictures"),
    (r"\bpictures values\b", "pictures' values"),
)


def catalogue() -> dict[str, Any]:
    """Operations by name: kind ("random", "function" or "container"), Kornia's module, its sentence and its parameters."""
    found: dict[str, Any] = {}
    for name in augmentations():
        found[name] = _entry("random", "augmentation", getattr(kornia.augmentation, name))
    for name in POLICIES:
        found[name] = _entry("random", "augmentation.auto", getattr(kornia.augmentation.auto, name))
    for name in CONTAINERS:
        found[name] = _entry("container", "augmentation", getattr(kornia.augmentation, name))
    for module, names in CATALOGUED.items():
        for name in names.split():
            found[name] = _entry("function", module, getattr(kornia_module(module), name))
            found[name]["parameters"]["p"] = {"types": ["number"], "default": 1.0}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def coverage() -> dict[str, dict[str, list[str]]]:
    """Kornia's operations on single pictures by module: those `offered`, those `within` one that is offered, and those `missing`."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, about in catalogue().items():
        module = about["of"].removesuffix(".auto")
        found.setdefault(module, {"offered": [], "within": [], "missing": []})["offered"].append(name)
    found["augmentation"]["missing"] += LEFT_OUT_AUGMENTATIONS
    for reason, into in ((WITHIN, "within"), (MISSING, "missing")):
        for name in LEFT_OUT[reason].split():
            module = next(module for module in CATALOGUED if hasattr(kornia_module(module), name))
            found[module][into].append(name)
    return dict(sorted(found.items()))


def augmentations() -> list[str]:
    """Kornia's augmentations of single pictures that are offered."""
    return [name for name in all_augmentations() if name not in LEFT_OUT_AUGMENTATIONS]


def functions_of_kornia() -> list[str]:
    """Kornia's public functions in the modules that are about pictures."""
    modules = [kornia_module(module) for module in CATALOGUED]
    return [name for module in modules for name, _ in inspect.getmembers(module, inspect.isfunction) if not name.startswith("_")]


def all_augmentations() -> list[str]:
    """Kornia's augmentations of single pictures."""
    classes = inspect.getmembers(kornia.augmentation, inspect.isclass)
    return [
        name
        for name, kind in classes
        if issubclass(kind, AugmentationBase2D) and not inspect.isabstract(kind) and "Base" not in name and not name.endswith("V2")
    ]


def _entry(kind: str, module: str, made: Callable[..., Any]) -> dict[str, Any]:
    first = (inspect.getdoc(made) or "").strip().split("\n\n")[0]
    for pattern, words in WORDS:
        first = re.sub(pattern, words, first)
    parameters = {
        name: _parameter(parameter, hint)
        for name, parameter, hint in _parameters(made)
        if name not in UNGIVEN and name not in PICTURES and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    return {"kind": kind, "of": module, "summary": first, "parameters": parameters}


def _parameters(made: Callable[..., Any]) -> list[tuple[str, inspect.Parameter, Any]]:
    target = made.__init__ if inspect.isclass(made) else made  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(target)
    except (NameError, TypeError):
        hints = {}
    return [(name, parameter, hints.get(name, parameter.annotation)) for name, parameter in inspect.signature(target).parameters.items()]


def _parameter(parameter: inspect.Parameter, hint: Any) -> dict[str, Any]:
    choices = sorted(_choices(hint))
    found: dict[str, Any] = {"types": sorted(_types(hint)) or ["list", "number", "text", "true | false"]}
    if choices and found["types"] == ["text"]:
        found["choices"] = choices
    if parameter.default is not parameter.empty:
        found["default"] = _plain(parameter.default)
    return found


def _types(hint: Any) -> set[str]:
    """Kinds of values that a recipe may give for an annotation."""
    if get_origin(hint) in (Union, types.UnionType):
        return set().union(*(_types(part) for part in get_args(hint)))
    if hint is Tensor:
        return {"number", "list"}
    if hint in (int, float, bool, str):
        return {{int: "integer", float: "number", bool: "true | false", str: "text"}[hint]}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"text"}
    if get_origin(hint) in (tuple, list) or getattr(hint, "__origin__", None) in (tuple, list) or hint in (tuple, list):
        return {"list"}
    return {"list"} if "Sequence" in str(hint) else set()


def _choices(hint: Any) -> set[str]:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {item.name.lower() for item in hint}
    return set().union(*(_choices(part) for part in get_args(hint))) if get_args(hint) else set()


def _plain(value: Any) -> Any:
    """A default as JSON."""
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str | bool) or value is None else None
