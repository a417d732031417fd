"""Kornia's augmentations of single pictures and their parameters, as a table, so that a recipe is checked without Kornia.

Left out are what a recipe cannot mean: operations that mix several pictures, `Normalize` and `Denormalize` (they leave the range of
pictures), `RandomDissolving` (it downloads a network), and the parameters `same_on_batch`, `p_batch` and `keepdim` (each picture
here is drawn alone). Values are checked by Kornia itself, before the first picture.
"""

from __future__ import annotations

from typing import Any

from genart import did_you_mean

#: Kornia's class -> its parameters
OPS: dict[str, tuple[str, ...]] = {
    "CenterCrop": ("size", "align_corners", "resample", "p", "cropping_mode"),
    "ColorJiggle": ("brightness", "contrast", "saturation", "hue", "p", "order"),
    "ColorJitter": ("brightness", "contrast", "saturation", "hue", "p", "order"),
    "LongestMaxSize": ("max_size", "resample", "align_corners", "p"),
    "PadTo": ("size", "pad_mode", "pad_value", "crop_if_exceeds"),
    "RandomAffine": ("degrees", "translate", "scale", "shear", "resample", "align_corners", "padding_mode", "fill_value", "p"),
    "RandomAutoContrast": ("clip_output", "p"),
    "RandomBoxBlur": ("kernel_size", "border_type", "normalized", "p"),
    "RandomBrightness": ("brightness", "clip_output", "p"),
    "RandomChannelDropout": ("num_drop_channels", "fill_value", "p"),
    "RandomChannelShuffle": ("p",),
    "RandomClahe": ("clip_limit", "grid_size", "slow_and_differentiable", "p"),
    "RandomContrast": ("contrast", "clip_output", "p"),
    "RandomCrop": ("size", "padding", "pad_if_needed", "fill", "padding_mode", "resample", "align_corners", "p", "cropping_mode"),
    "RandomElasticTransform": ("kernel_size", "sigma", "alpha", "align_corners", "resample", "padding_mode", "p"),
    "RandomEqualize": ("p",),
    "RandomErasing": ("scale", "ratio", "value", "p"),
    "RandomFisheye": ("center_x", "center_y", "gamma", "p"),
    "RandomGamma": ("gamma", "gain", "p"),
    "RandomGaussianBlur": ("kernel_size", "sigma", "border_type", "separable", "p"),
    "RandomGaussianIllumination": ("gain", "center", "sigma", "sign", "p"),
    "RandomGaussianNoise": ("mean", "std", "p"),
    "RandomGrayscale": ("rgb_weights", "p"),
    "RandomHorizontalFlip": ("p",),
    "RandomHue": ("hue", "p"),
    "RandomInvert": ("max_val", "p"),
    "RandomJPEG": ("jpeg_quality", "p"),
    "RandomLinearCornerIllumination": ("gain", "sign", "p"),
    "RandomLinearIllumination": ("gain", "sign", "p"),
    "RandomMedianBlur": ("kernel_size", "p"),
    "RandomMotionBlur": ("kernel_size", "angle", "direction", "border_type", "resample", "p"),
    "RandomPerspective": ("distortion_scale", "resample", "align_corners", "p", "sampling_method"),
    "RandomPlanckianJitter": ("mode", "select_from", "p"),
    "RandomPlasmaBrightness": ("roughness", "intensity", "p"),
    "RandomPlasmaContrast": ("roughness", "p"),
    "RandomPlasmaShadow": ("roughness", "shade_intensity", "shade_quantity", "p"),
    "RandomPosterize": ("bits", "p"),
    "RandomRGBShift": ("r_shift_limit", "g_shift_limit", "b_shift_limit", "p"),
    "RandomRain": ("number_of_drops", "drop_height", "drop_width", "p"),
    "RandomResizedCrop": ("size", "scale", "ratio", "resample", "align_corners", "p", "cropping_mode"),
    "RandomRotation": ("degrees", "resample", "align_corners", "p"),
    "RandomRotation90": ("times", "resample", "align_corners", "p"),
    "RandomSaltAndPepperNoise": ("amount", "salt_vs_pepper", "p"),
    "RandomSaturation": ("saturation", "p"),
    "RandomSharpness": ("sharpness", "p"),
    "RandomShear": ("shear", "resample", "align_corners", "padding_mode", "p"),
    "RandomSnow": ("snow_coefficient", "brightness", "p"),
    "RandomSolarize": ("thresholds", "additions", "p"),
    "RandomThinPlateSpline": ("scale", "align_corners", "padding_mode", "p"),
    "RandomTranslate": ("translate_x", "translate_y", "resample", "align_corners", "padding_mode", "p"),
    "RandomVerticalFlip": ("p",),
    "Resize": ("size", "side", "resample", "align_corners", "antialias", "p"),
    "SmallestMaxSize": ("max_size", "resample", "align_corners", "p"),
}


def read_op(value: Any) -> Any:
    """Read one operation, a name or a table `{op = name, parameter = value, ...}`, as a table.

    Raises:
        ValueError: for a name or parameter that is not in the table above, with the nearest one.
    """
    op = {"op": value} if isinstance(value, str) else value
    if not isinstance(op, dict) or not isinstance(op.get("op"), str):
        raise ValueError('expected a name such as "RandomAffine", or a table such as {op = "RandomAffine", degrees = 10}')
    name = op["op"]
    if name not in OPS:
        raise ValueError(f"there is no augmentation '{name}' in Kornia's list{did_you_mean(name, OPS)}")
    for parameter in op.keys() - {"op"}:
        if parameter not in OPS[name]:
            raise ValueError(f"no parameter '{parameter}' in {name}{did_you_mean(parameter, OPS[name])} (it takes {', '.join(OPS[name])})")
    return op
