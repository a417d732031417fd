"""All hooks of genart. A plugin implements those it needs, with the arguments it needs.

Stages need no hook: every object in a plugin module that `@genart.stage` made is found by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from .formats import PictureFormat
    from .stages import Stage

hookspec = pluggy.HookspecMarker("genart")
hookimpl = pluggy.HookimplMarker("genart")

#: Version of this page. A hook gains arguments without a new version; it never loses one within a version.
PLUGIN_API = 1
#: Oldest version that still works. A plugin says in `GENART_API` which it was written for; without it, it takes what there is.
OLDEST_API = 1
#: What will stop working, by the version from which on there is a better way; who was written for an older one is told.
DEPRECATED: dict[int, str] = {}


@hookspec
def genart_stages() -> list[Stage]:
    """Return stages that are made at run time rather than by the decorator."""
    raise AssertionError("specification only")


@hookspec
def genart_generators() -> dict[str, str]:
    """Return how to rebuild trained generators: family -> "package.module:Class".

    The class is called with the model's `parameters`; it is a torch module with `z_dim` and `resolution` that maps
    z (N, z_dim) to pictures (N, 3, H, W) in [-1, 1].
    """
    raise AssertionError("specification only")


@hookspec
def genart_backbones() -> dict[str, str]:
    """Return networks whose features stages compare pictures by: name -> "package.module:function".

    The function is called with a device and returns a frozen torch module with `layers`, the names that can be asked for, `stride(layer)`,
    `receptive_field(layer)`, and `module(images, layers)` that maps (N, 3, H, W) in [0, 1] to features (N, C, h, w) by layer, as
    genart.nn.vgg.VGG does.
    """
    raise AssertionError("specification only")


@hookspec
def genart_statistics() -> dict[str, str]:
    """Return statistics of features that `style.transfer` can match: name -> "package.module:STATISTIC".

    A statistic says what it needs of the features, and how what was measured of a picture is compared with what was measured of the
    style; see genart_style.statistics.Statistic, which need not be used: any object with `needs`, `loss` and `prepare` will do.
    """
    raise AssertionError("specification only")


@hookspec
def genart_losses() -> dict[str, str]:
    """Return losses between a generator and a discriminator: name -> "package.module:LOSS".

    Each is a `genart.nn.losses.Loss`: D's side (real_logits, gen_logits) and G's side (gen_logits, real_logits), both to a scalar. Every
    family that trains against a discriminator takes it by its name in `loss`.
    """
    raise AssertionError("specification only")


@hookspec
def genart_readers() -> dict[str, PictureFormat]:
    """Return formats of pictures that Pillow does not read here: name -> `genart.PictureFormat`.

    It says by which first bytes a file is known and what reads it, a `genart.PictureReader`, which is imported when such a picture is read.
    Every stage and command that reads pictures then reads these too. Limits on size, and how bad files are skipped and named, are genart's;
    code and version of the plugin enter the key of whatever read such a picture.
    """
    raise AssertionError("specification only")


@hookspec
def genart_writers() -> dict[str, str]:
    """Return formats of films that `video.assemble` writes beside its own: suffix without its dot -> "package.module:WRITER".

    The object is a `genart.FilmWriter`, imported when such a film is written. It gets the frames one after another.
    """
    raise AssertionError("specification only")


@hookspec
def genart_event(record: dict[str, Any]) -> None:
    """Observe every event of a run (see genart.events for the table). An exception here is reported once and ignored.

    A plugin that is there to observe names its module in the entry-point group `genart.observers`, and every run loads it; other
    plugins are told of the runs that use them.
    """
