"""Every output explains itself: what made it travels inside the file, without paths, user names or secrets.

How each kind of file carries it is in `genart.tags`. It names, for the stage that made the file and all before it, the resolved
parameters, seeds, versions, choices and content hashes: enough to make the file again (`genart.remake`).

Two hashes guard it. `content` is that of the picture, film or weights it was written for, so that it cannot be moved to another file
unnoticed; `seal` is that of the provenance itself. They tell accidents and edits, not forgers who compute them anew: what a file
says is proved by making it again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from . import tags
from .artifacts import Batch, Images, Model, Video
from .errors import DataError, UsageError
from .events import utf8
from .folders import Folder
from .store import is_alive

if TYPE_CHECKING:
    from .plugins import Plugins

KEYWORD = tags.KEYWORD.decode()
#: Version of what is written into files.
FORMAT = 1


def as_text(provenance: dict[str, Any]) -> str:
    """Provenance as the one line of ASCII JSON that goes into files."""
    text = json.dumps(provenance, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    # only a text with signs beyond the first 65536, or a name that is not UTF-8, has such an escape: every picture need not pay for it
    return as_text(told) if "\\ud" in text and (told := utf8(provenance)) != provenance else text


def name_of(path: Path) -> str:
    """How provenance names a file or folder: by its last name alone, and not even that if it is the user's."""
    return "folder" if path.name in ("", os.path.basename(os.path.expanduser("~"))) else path.name


def sealed(provenance: dict[str, Any], content: str) -> dict[str, Any]:
    """The provenance of a file that holds this content; see `genart.tags`."""
    told = {**provenance, "content": content}
    return {**told, "seal": _seal_of(told)}


def _seal_of(provenance: dict[str, Any]) -> str:
    told = {name: value for name, value in provenance.items() if name != "seal"}
    return hashlib.sha256(as_text(told).encode()).hexdigest()


def write_into(source: BinaryIO, out: BinaryIO, provenance: dict[str, Any], name: str, kind: tags.Format | None = None) -> None:
    """Copy a finished file with the provenance in it; what it holds stays as it is.

    Args:
        source: the file, open at its beginning, of a kind that genart saves.
        out: where the copy goes: an empty file, open for writing and reading.
        provenance: what made it, without `content` and `seal`.
        name: of the copy, in messages.
        kind: of the file, where a plugin brings it; by default its first bytes tell.

    Raises:
        DataError: if the file is broken, or too small a kind for so long a provenance.
    """
    try:
        found = tags.scan(source) if kind is None else kind.scan(source)
        source.seek(0)
        put = tags.put if kind is None else kind.put
        put(source, out, as_text(sealed(provenance, found.content if found else "")))
    except tags.Damaged as error:
        raise DataError(f"{name}: {error}") from None


def with_provenance(png: BinaryIO, provenance: dict[str, Any]) -> bytes:
    """A PNG in memory with its provenance, as it goes into a pipe."""
    png.seek(0)
    found = tags.scan(png)
    assert found is not None
    png.seek(0)
    return png.read(tags.PNG_HEAD) + tags.png_chunk(as_text(sealed(provenance, found.content))) + png.read()


# pictures


def _png(array: Any, file: BinaryIO) -> None:
    _image(array).save(file, "PNG")


def _jpeg(array: Any, file: BinaryIO) -> None:
    if array.shape[2] == 4:
        raise DataError("a JPEG cannot hold transparency", "save it as PNG or WebP")
    _image(array).save(file, "JPEG", quality=95, subsampling=0)


def _webp(array: Any, file: BinaryIO) -> None:
    # a stand-in for the metadata makes it an extended file, which may carry some
    _image(array).save(file, "WEBP", lossless=True, exact=True, xmp=b"-")


def _image(array: Any) -> Any:
    from PIL import Image

    return Image.fromarray(array)


#: Writers of one picture, (H, W, 3 or 4) uint8, by suffix. JPEG at a quality at which no eye sees a difference; the others lose nothing.
PICTURES: dict[str, Callable[[Any, BinaryIO], None]] = {".png": _png, ".jpg": _jpeg, ".jpeg": _jpeg, ".webp": _webp}


def _write_picture(images: Images, folder: Folder, temporary: str, name: str, provenance: dict[str, Any]) -> None:
    """Write the one picture of `images` as the suffix of `name` says: PNG, JPEG or WebP.

    Raises:
        DataError: if there is not exactly one, or this kind of file cannot hold it.
    """
    if len(images) != 1:
        raise DataError(
            f"{name}: {len(images)} pictures cannot be one {PurePath(name).suffix.lstrip('.').upper()}",
            "save them into a folder (a name without suffix), or make a contact sheet with images.grid",
        )
    _write_one(images[0], folder, temporary, provenance)


def _write_folder(images: Images, folder: Folder, provenance: dict[str, Any]) -> None:
    """Write numbered PNGs into an empty folder; each carries its own metadata."""
    digits = max(5, len(str(len(images))))
    for batch in images:
        for i in range(len(batch)):
            _write_indexed(batch.part(i, i + 1), folder, f"{batch.index[i]:0{digits}d}.png", provenance)


def _write_indexed(picture: Batch, folder: Folder, name: str, provenance: dict[str, Any]) -> None:
    """Write one picture of a sequence, as it stands in a saved folder: it says which of them it is."""
    _write_one(picture, folder, name, {**provenance, "index": picture.start})


def _write_one(picture: Batch, folder: Folder, name: str, provenance: dict[str, Any]) -> None:
    file = io.BytesIO()
    PICTURES[PurePath(name).suffix.lower()](picture.array[0], file)
    file.seek(0)
    with folder.create(name) as out:
        write_into(file, out, {**provenance, "picture": picture.meta[0]}, name)


# putting things in place


def save(
    artifact: Images | Model | Video,
    target: Path,
    provenance: dict[str, Any],
    *,
    index: int | None = None,
    kind: tags.Format | None = None,
) -> None:
    """Write an artifact where the user says; see `save_in`."""
    with Folder.open(target.parent, make=True) as folder:
        save_in(folder, target.name, artifact, provenance, index=index, kind=kind)


def save_in(
    folder: Folder,
    name: str,
    artifact: Images | Model | Video,
    provenance: dict[str, Any],
    *,
    index: int | None = None,
    kind: tags.Format | None = None,
) -> None:
    """Write an artifact under its output name.

    Nothing half-written is ever visible there, and an old one stays until the new one is whole.

    Args:
        folder: in which it is put together and stands in the end.
        name: the output name; pictures go into a folder if it has no suffix.
        artifact: what to write.
        provenance: what made it.
        index: write this picture of a sequence alone, as it would stand in the folder.
        kind: of the file, where a plugin brings it.

    Raises:
        ResourceError: if another program changes the folder meanwhile.
    """
    temporary = f".{name}.{os.getpid()}.tmp{PurePath(name).suffix}"
    folder.remove(temporary)
    sweep(folder, name)
    try:
        if isinstance(artifact, Model | Video):
            with open(artifact.path, "rb") as file, folder.create(temporary) as out:
                write_into(file, out, provenance, name, kind)
        elif index is not None:
            _write_indexed(artifact[index], folder, temporary, provenance)
        elif PurePath(name).suffix:
            _write_picture(artifact, folder, temporary, name, provenance)
        else:
            with folder.make(temporary) as pictures:
                _write_folder(artifact, pictures, provenance)
        _put(folder, temporary, name)
    except BaseException:
        folder.remove(temporary)
        raise


def _put(folder: Folder, temporary: str, name: str) -> None:
    if folder.kind(temporary) == "folder":
        with folder.below([temporary]) as pictures:
            for picture in pictures.names():
                pictures.sync_file(picture)
            pictures.sync()
    else:
        folder.sync_file(temporary)
    if "folder" in (folder.kind(temporary), folder.kind(name)):
        old = f".{name}.{os.getpid()}.old"
        replaced = folder.kind(name) is not None
        if replaced:
            folder.rename(name, old)  # a folder cannot be replaced in one step; the old one is whole under its other name
        try:
            folder.rename(temporary, name)
        except OSError:
            if replaced:
                folder.rename(old, name)
            raise
        try:
            folder.sync()
        finally:
            folder.remove(old)
    else:
        folder.rename(temporary, name)
        folder.sync()


def sweep(folder: Folder, name: str) -> None:
    """Remove what saves under this name left half-done, or could not remove, when they were killed or failed.

    An old output whose place was not taken yet gets its name back.
    """
    form = re.compile(rf"\.{re.escape(name)}\.(\d+)\.(?:tmp{re.escape(PurePath(name).suffix)}|(old)|[0-9a-f]{{8}}\.tmp)")
    for found in folder.names():
        match = form.fullmatch(found)
        # in a container, a killed process may have had the id of this one
        if match and (int(match[1]) == os.getpid() or not is_alive(int(match[1]))):
            if match[2] and folder.kind(name) is None:
                folder.rename(found, name)
            else:
                folder.remove(found)


# reading it back


def _one_part(name: str) -> str:
    if name in (".", "..") or os.sep in name:
        raise ValueError("not a name")
    return name


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]
#: Up to 255 bytes, each of which may take the six letters of \\udce9.
_FileName = Annotated[str, Field(pattern=r"^[^/\x00-\x1f\x7f]{1,1530}$"), AfterValidator(_one_part)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Id = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
_Text = Annotated[str, Field(max_length=300)]


class _Told(BaseModel):
    """Nothing is converted; what a later version adds is passed over."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, defer_build=True)


class FileTold(_Told):
    """A file or folder that a parameter read: its name, and the hash of its content."""

    name: _FileName
    content: _Hash


class SideTold(_Told):
    """Another stage that a parameter named."""

    stage: _Id


class CodeTold(_Told):
    """A plugin's version, and the beginning of the hash of its sources."""

    version: _Text
    source: _Text


class StageTold(_Told):
    """One stage of the chain that made a file.

    Attributes:
        sources: where its input came from: ids, or `id.output`.
        files: what its parameters read, by parameter.
        outputs: content hash of each result.
        weights: hash of tensors and header of each result that is a model, whatever provenance the model's file carries.
        choices: what was measured or decided while it ran.
        registered: code of what its parameters name in the tables of plugins.
        made_with: versions and kind of machine.
    """

    id: _Id
    uses: _Text
    sources: tuple[_Text, ...] = Field(alias="from")
    params: dict[str, Any]
    plugin: CodeTold
    outputs: dict[str, _Hash]
    seed: int | None = None
    files: dict[str, FileTold | SideTold | tuple[FileTold | SideTold, ...]] = {}
    weights: dict[str, _Hash] = {}
    versions: dict[str, _Text] = {}
    registered: dict[str, _Text] = {}
    choices: dict[str, Any] = {}
    made_with: dict[str, str | int] = {}


class Provenance(_Told):
    """What a file says of itself.

    Attributes:
        stage: id of the stage whose result it is, the last of `stages`.
        picture: metadata of the picture, for a picture.
        index: which of the stage's pictures it is, for one out of a folder.
        content: hash of what the file holds; see `genart.tags`.
        seal: hash of all the rest.
    """

    format: Literal[1]
    genart: _Text
    recipe: _Name
    seed: int
    stage: _Id
    device: Literal["cpu", "cuda", "mps"]
    torch: _Text
    stages: tuple[StageTold, ...] = Field(min_length=1, max_length=10_000)
    picture: dict[str, Any] | None = None
    index: int | None = Field(None, ge=0)
    content: _Hash
    seal: _Hash


def read(path: Path, plugins: Plugins | None = None) -> tuple[Provenance, dict[str, Any]]:
    """Return what a file says of itself, checked, and the same as plain JSON.

    Args:
        path: the file.
        plugins: may have made it, if it is a film of a kind that genart does not know.

    Raises:
        UsageError: if there is no such file.
        DataError: if it says nothing, is damaged, or was changed since it was saved; the message says which.
    """
    told, plain, content = _read(path, plugins)
    if told.content != content:
        raise DataError(
            f"{path}: it is not what its provenance was written for",
            "it was edited or compressed again since, or the provenance was taken from another file",
        )
    return told, plain


def picture_meta(path: Path) -> dict[str, Any]:
    """Return the metadata of the one picture in a file that genart saved: its seed, its cells and so on.

    The picture may have been edited or compressed again since, as long as what it says of itself was not.

    Raises:
        UsageError: if there is no such file.
        DataError: if it says nothing, or is damaged.
    """
    return _read(path)[0].picture or {}


def _read(path: Path, plugins: Plugins | None = None) -> tuple[Provenance, dict[str, Any], str]:
    """What a file says of itself, the same as JSON, and the hash of what is in it."""
    if not path.is_file():
        what = "is a folder; name a file in it" if path.is_dir() else "no such file"
        raise UsageError(f"{path}: {what}", "genart show FILE")
    found = _scanned(path, plugins)
    if found.text is None:
        raise DataError(
            f"{path}: nothing in it says how it was made",
            "genart did not save it, or its metadata was stripped since, as messengers and picture editors do",
        )
    try:
        plain = json.loads(found.text, parse_constant=_no_number)
        told = Provenance.model_validate_json(found.text)
    except ValidationError as error:
        _damaged(path, _first_problem(error))
    except (ValueError, RecursionError):
        _damaged(path, "it is not the JSON that genart writes")
    if told.seal != _seal_of(plain):
        raise DataError(f"{path}: its provenance was changed after it was written", "what it says of the file cannot be believed")
    return told, plain, found.content


def kind_of(path: Path, plugins: Plugins | None) -> tags.Format | None:
    """The kind of a file: by its first bytes, or of a plugin's film by the end of its name; None for one without provenance."""
    with open(path, "rb") as file:
        kind = tags.format_of(file)
    name = path.suffix.lower().removeprefix(".")
    if kind is None and plugins is not None and name in plugins.writers():
        writer = plugins.film_writer(name)
        kind = tags.of_writer(name, writer) if writer.scan is not None else None
    return kind


def _scanned(path: Path, plugins: Plugins | None) -> tags.Scan:
    try:
        kind = kind_of(path, plugins)
        with open(path, "rb") as file:
            found = None if kind is None else kind.scan(file)
    except tags.Damaged as error:
        raise DataError(f"{path}: a damaged file: {error}", "get a whole copy of it") from None
    if found is None:
        raise DataError(
            f"{path}: a file of this kind carries no provenance",
            "genart saves PNG, JPEG, WebP, GIF, MP4, WebM and safetensors files; of other films run.json beside them tells",
        )
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["loc"] == ("format",) and first["type"] != "missing":
        return "a newer genart wrote it"
    place = ".".join(str(part) for part in first["loc"]) or "it"
    return f"{place}: {first['msg'].lower()}"


def _damaged(path: Path, why: str) -> NoReturn:
    raise DataError(f"{path}: its provenance is damaged: {why}", "it was cut or written by something else than genart")
