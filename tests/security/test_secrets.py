"""Nothing that is the user's own gets into what genart writes, and nothing that genart does opens a connection."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import TOYS
from tests.faults.forge import Forge

from .conftest import recipe

#: What must be in nothing: of the environment, the user, the home, the computer, and the folder of the recipe.
VARIABLE, USER, HOST, HOME, FOLDER = "var-9b1e77aa", "usr-9b1e77aa", "hst-9b1e77aa", "hom-9b1e77aa", "fld-9b1e77aa"
SECRETS = (VARIABLE, USER, HOST, HOME, FOLDER)
#: In the child: the computer and the user are called so.
NAMED = f"""
import getpass, os, platform, socket
socket.gethostname = socket.getfqdn = platform.node = lambda *_: {HOST!r}
getpass.getuser = lambda: {USER!r}
os.uname = lambda uname=os.uname: type(uname())((uname().sysname, {HOST!r}, *tuple(uname())[2:]))
"""
STAGES = """
[[stage]]
uses = "images.folder"
path = "in"
save = "pictures"

[[stage]]
uses = "images.folder"
id = "home"
path = "~/in"
resolution = 8
save = "at-home"

[[stage]]
uses = "toy.train"
id = "train"
steps = 2
save = "model.safetensors"

[[stage]]
uses = "video.assemble"
from = "train.progress"
save = "film.mp4"

[[stage]]
uses = "latent.model"
id = "again"
path = "../{folder}/in/m.safetensors"

[[stage]]
uses = "toy.draw"
count = 1
save = "one.png"
"""


@pytest.fixture
def owned(forge: Forge, tmp_path: Path) -> Callable[..., str]:
    """Run a command of that user in that folder: owned(*words, codes=(0,)) -> all that it told."""
    home, folder = tmp_path / HOME, tmp_path / FOLDER
    for place in (home / "in", folder / "in"):
        place.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8), (number, 9, 9)).save(place / f"{number}.png")

    def run(*words: object, codes: tuple[int, ...] = (0,), **environment: str) -> str:
        variables = {"HOME": str(home), "USER": USER, "LOGNAME": USER, "HOSTNAME": HOST, "API_TOKEN": VARIABLE, "COLUMNS": "200"}
        done = forge.run(folder, *words, plant=NAMED, **variables, **environment)
        assert done.code in codes, (words, done.out + done.err)
        return done.out + done.err

    run.folder = folder  # type: ignore[attr-defined]
    return run


def leaks(folder: Path) -> list[str]:
    """Secrets in names and contents of all that is below a folder, as they are and as JSON, base64 or UTF-16 would hold them."""
    found = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in SECRETS:
            if secret in str(path.relative_to(folder)) or any(secret.encode(code) in content for code in ("ascii", "utf-16-le")):
                found.append(f"{secret} in {path.relative_to(folder)}")
    return found


def test_nothing_of_the_users_is_written_or_told(owned: Callable) -> None:
    """Pictures, a model, films, run.json, a page, TensorBoard's files, the store's manifests, a schema, and every command's words."""
    folder = owned.folder
    recipe(folder, '[[stage]]\nuses = "toy.noise"\n[[stage]]\nuses = "toy.train"\nsteps = 1\nsave = "m.safetensors"\n')
    owned("run", "r.toml", "-p", TOYS, "--out", "first")
    (folder / "first" / "m.safetensors").rename(folder / "in" / "m.safetensors")
    stages = STAGES.replace("{folder}", FOLDER)
    recipe(folder, stages)
    words = ("run", "r.toml", "-p", TOYS, "--device", "cpu", "--out", "out")
    told = [owned(*words, "--json", "--tensorboard", "board"), owned(*words), owned(*words, "--force")]
    told += [owned("plan", "r.toml", "-p", TOYS, "--why"), owned("plan", "r.toml", "-p", TOYS, "--json"), owned("report", "out")]
    told += [
        owned("show", f"out/{name}", "-p", TOYS, *more)
        for name in ("one.png", "film.mp4", "model.safetensors")
        for more in ((), ("--json",))
    ]
    told += [owned("remake", "out/film.mp4", "-p", TOYS, "-o", "again.mp4", codes=(0, 3, 9)), owned("schema", "-o", "schema.json")]
    told += [owned("apply", "toy.invert", "-i", "in/0.png", "-o", "inverted.png", "-p", TOYS), owned("cache", "verify"), owned("stages")]
    (folder / "r.toml").unlink()
    assert {path.suffix for path in (folder / "out").rglob("*")} >= {".png", ".mp4", ".safetensors", ".json", ".html"}
    assert list((folder / "board").rglob("*tfevents*"))
    assert leaks(folder) == []
    for text in told:
        assert not [secret for secret in SECRETS if secret in text], text


def test_a_leak_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(json.dumps({"host": HOST}))
    (tmp_path / f"events.{USER}").write_bytes(b"")
    assert sorted(leaks(tmp_path)) == [f"{HOST} in a", f"{USER} in events.{USER}"]


# connections


class Honeypot:
    """A port that nobody has any reason to connect to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.setblocking(False)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def visits(self) -> int:
        """Connections since the last time."""
        count = 0
        try:
            while True:
                self.listener.accept()[0].close()
                count += 1
        except BlockingIOError:
            return count

    @property
    def variables(self) -> dict[str, str]:
        """The environment of who is to go by way of it for everything."""
        names = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")
        return dict.fromkeys((*names, *map(str.upper, names)), f"http://{self.address}")


@pytest.fixture
def honeypot() -> Iterator[Honeypot]:
    """A honeypot."""
    found = Honeypot()
    yield found
    found.listener.close()


NOISE = '[[stage]]\nuses = "toy.noise"\ncount = 12\nsize = 80\n'
#: Commands, and recipes' stages, of all kinds: also such as want weights that are published on the network.
COMMANDS: dict[str, tuple[tuple[object, ...], str]] = {
    "help": (("--help",), ""),
    "stages": (("stages",), ""),
    "plugins": (("plugins",), ""),
    "schema": (("schema",), ""),
    "cache": (("cache", "info"), ""),
    "check": (("check", "r.toml", "-p", TOYS), '[[stage]]\nuses = "toy.noise"\n'),
    "a film": (
        ("run", "r.toml", "-p", TOYS),
        NOISE + '[[stage]]\nuses = "video.assemble"\nsave = "a.mp4"\n',
    ),
    "samples": (("run", "r.toml"), '[[stage]]\nuses = "images.samples"\ncrop = 8\ncount = 2\nsave = "a"\n'),
    "an address as a path": (("run", "r.toml"), '[[stage]]\nuses = "images.folder"\npath = "http://{address}/x.png"\n'),
    "an address as a film": (("run", "r.toml"), '[[stage]]\nuses = "images.video"\npath = "http://{address}/x.mp4"\n'),
    "an address given to apply": (("apply", "images.video", "--path", "http://{address}/x.mp4", "-o", "a"), ""),
    "a playlist as a film": (("apply", "images.video", "--path", "list.mp4", "-o", "a"), ""),
    "a list of films as a film": (("apply", "images.video", "--path", "concat.mp4", "-o", "a"), ""),
    "a drawing that links": (("apply", "images.folder", "--path", "drawing.png", "-o", "a"), ""),
    "published weights of vgg19": (
        ("run", "r.toml", "-p", TOYS),
        NOISE + '[[stage]]\nuses = "style.transfer"\nstyle_photos = ["hubble"]\nbackbone = "vgg19-torchvision"\n',
    ),
    "published weights of inception": (
        ("run", "r.toml", "-p", TOYS),
        NOISE + '[[stage]]\nuses = "metrics.quality"\nreal = "toy.noise"\nfeatures = "inception"\n',
    ),
    "a pickle that connects": (("convert", "evil.pth", "-o", "a.safetensors"), ""),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_no_command_connects(forge: Forge, honeypot: Honeypot, tmp_path: Path, what: str) -> None:
    words, stages = COMMANDS[what]
    inside = tmp_path / "inside"
    inside.mkdir()
    address = honeypot.address
    recipe(inside, stages.replace("{address}", address))
    (inside / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://{address}/x.ts\n#EXT-X-ENDLIST\n")
    (inside / "concat.mp4").write_text(f"ffconcat version 1.0\nfile http://{address}/x.ts\n")
    (inside / "drawing.png").write_text(f'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://{address}/x.png"/></svg>')
    (inside / "evil.pth").write_bytes(b"\x80\x02csocket\ncreate_connection\n(X\x09\x00\x00\x00127.0.0.1K\x09\x86tR.")
    home = {"HOME": str(tmp_path), "TORCH_HOME": str(tmp_path / "torch")}
    done = forge.run(inside, *(str(word).replace("{address}", address) for word in words), **honeypot.variables, **home)
    assert done.code in (0, 2, 3, 7), done
    assert not what.startswith("published") or "not fetched unasked" in done.err, done.err
    assert honeypot.visits() == 0


def test_a_connection_would_be_seen(forge: Forge, honeypot: Honeypot, tmp_path: Path) -> None:
    plant = "import urllib.request\ntry:\n    urllib.request.urlopen('http://example.invalid/x', timeout=5)\nexcept OSError:\n    pass\n"
    forge.run(tmp_path, "cache", "info", plant=plant, **honeypot.variables)
    assert honeypot.visits() == 1
