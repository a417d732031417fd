"""Test files of others, had from the package index that pip is set to, and never kept: `python -m tests.corpus.borrowed FOLDER`.

| from the sources of | |
|---|---|
| pillow | its own test pictures, crashes and bombs among them |
| pypng | PngSuite |
| tomlkit | toml-test |
"""

from __future__ import annotations

import ast
import hashlib
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from genart.formats import OTHER_SUFFIXES, SUFFIXES

from .case import Case

#: Packages, their versions, and the SHA-256 of their sources.
SOURCES = {
    ("pillow", "13.0.0"): "cdcd1ba258178f7356d74170c9a81ba4eab6a5d55748bc402a5a2a6fe6be3510",
    ("pypng", "0.20220715.0"): "739c433ba96f078315de54c0db975aee537cbc3e1d0ae4ed9aab0ca1e427e2c1",
    ("tomlkit", "0.15.2"): "83e32755ba1d20d9340bd069ee97e9f6232ba2346b63ffcba425de01f7e327a6",
}


def fetch(name: str, version: str, digest: str, folder: Path) -> Path:
    """Get the sources of a package; pip's own command would build them too.

    Raises:
        ValueError: if they are not the ones that were looked at.
    """
    from pip._internal.commands import create_command

    command = create_command("download")
    options, _ = command.parse_args(["--no-binary", ":all:", name])
    with command.main_context():
        session = command.get_default_session(options)  # type: ignore[attr-defined]
        finder = command._build_package_finder(options, session)  # type: ignore[attr-defined]
        link = next(found.link for found in finder.find_all_candidates(name) if not found.link.is_wheel and str(found.version) == version)
        answer = session.get(link.url_without_fragment)
        answer.raise_for_status()
    if hashlib.sha256(answer.content).hexdigest() != digest:
        raise ValueError(f"{link.filename} has changed")
    path = folder / f"{name}.tar.gz"
    path.write_bytes(answer.content)
    return path


def cases(folder: Path) -> Iterator[Case]:
    """What the fetched sources hold."""
    for path in sorted(folder.glob("*.tar.gz")):
        yield from {"pillow": _pillow, "pypng": _pngsuite, "tomlkit": _toml_test}[path.name.partition(".")[0]](path)


def _files(path: Path, part: str) -> Iterator[tuple[str, bytes]]:
    """Name below a folder of the archive, and content, of each file."""
    with tarfile.open(path) as archive:
        for member in archive:
            _, found, name = member.name.partition(part)
            file = archive.extractfile(member) if found else None
            if file is not None:
                yield name, file.read()


def _pillow(path: Path) -> Iterator[Case]:
    for number, (name, content) in enumerate(_files(path, "/Tests/images/")):
        suffix = Path(name).suffix
        known = suffix.lower() in SUFFIXES | OTHER_SUFFIXES
        yield Case("Pillow's pictures", name, f"{number:04d}{suffix}", "either" if known else "any", content)


def _pngsuite(path: Path) -> Iterator[Case]:
    (text,) = (content for name, content in _files(path, "/code/") if name == "pngsuite.py")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                assert isinstance(key, ast.Constant)
                assert isinstance(value, ast.Call)
                content = bytes.fromhex(ast.literal_eval(value.args[0]).decode())
                yield Case("PngSuite", key.value, f"{key.value}.png", "either" if key.value.startswith("x") else "ok", content)


def _toml_test(path: Path) -> Iterator[Case]:
    for number, (name, content) in enumerate(_files(path, "/toml-test/tests/")):
        if name.endswith(".toml"):  # TOML or not, it is no recipe
            yield Case("toml-test", name, f"{number:04d}.toml", "usage", content, "check")


if __name__ == "__main__":
    for (package, release), digest in SOURCES.items():
        fetch(package, release, digest, Path(sys.argv[1]))
