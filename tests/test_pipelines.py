"""Shell pipelines with the real programs: ffmpeg, ImageMagick, gifsicle, jq, find and xargs."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genart.events import Events
from genart.run import Run
from genart.streams import Bytes, read_pictures

from .conftest import TOYS, heeds_ctrl_c

TOY = f"-p {shlex.quote(str(TOYS))}"


def program(name: str, version: str) -> str | None:
    """The folder of a real program of this name, told by what it says of its version."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = shutil.which(name, path=folder)
        if path is None:
            continue
        option = "-version" if name in ("convert", "ffmpeg") else "--version"
        told = subprocess.run([path, option], capture_output=True, text=True, check=False)
        if version in told.stdout:
            return folder
    return None


PROGRAMS = {
    "ffmpeg": program("ffmpeg", "ffmpeg version"),
    "convert": program("convert", "Version: ImageMagick"),
    "gifsicle": program("gifsicle", "Gifsicle"),
    "jq": program("jq", "jq-"),
}


def needs(*names: str):
    missing = [name for name in names if PROGRAMS[name] is None]
    packages = {"convert": "imagemagick"}
    wanted = " ".join(packages.get(name, name) for name in missing)
    return pytest.mark.skipif(bool(missing), reason=f"not installed: apt-get install {wanted}")


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Run a line of bash, in which `genart` is this one; it fails if any part of a pipe does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "genart").write_text(f'#!/bin/sh\nexec {sys.executable} -W error -c "from genart.cli import main; main()" "$@"\n')
    (folder / "genart").chmod(0o755)
    for name, place in PROGRAMS.items():
        if place is not None:
            (folder / name).symlink_to(Path(place, name))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(line: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, timeout=170, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture
def model(tmp_path):
    """A DCGAN's generator with random weights: model.safetensors."""
    import torch

    from genart_dcgan.networks import Generator

    torch.manual_seed(0)
    parameters = {"resolution": 64, "width": 8, "z_dim": 8}
    run = Run(stage_id="train", seed=0, device="cpu", work=tmp_path / "model", events=Events())
    made = run.model(Generator(**parameters).state_dict(), family="dcgan", parameters=parameters, z_dim=8, resolution=64)
    return shutil.copy(made.path, "model.safetensors")


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def photo(path: str, red: int = 90) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))
    Image.fromarray(np.stack([np.full_like(ramp, red), ramp, ramp.T], 2)).save(path)
    return Path(path)


def probed(path: str, entries: str) -> list[str]:
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", f"stream={entries}", "-of", "csv=p=0", path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split(",")


@needs("ffmpeg")
def test_a_walk_is_painted_and_filmed(shell, model):
    photo("a.jpg")
    shell(
        "genart apply latent.walk -i model.safetensors --frames 48 -o -"
        " | genart apply style.transfer --style a.jpg --budget 5s"
        " | ffmpeg -v error -f image2pipe -i - walk.mp4"
    )
    assert probed("walk.mp4", "width,height,nb_read_frames") == ["64", "64", "48"]


@needs("convert")
def test_a_picture_of_imagemagick_is_augmented(shell):
    shell(
        """convert rose: png:- | genart apply augment --ops '[{op = "RandomHorizontalFlip", p = 1.0}]'"""
        " | tee mirrored.png | convert - out.jpg; convert rose: rose.png"
    )
    assert (pixels("mirrored.png") == pixels("rose.png")[:, ::-1]).all()
    assert np.abs(pixels("out.jpg") - pixels("mirrored.png")).mean() < 4


@needs("jq")
def test_jq_reads_what_a_run_saved(shell, recipe):
    recipe('[[stage]]\nuses = "toy.noise"\ncount = 1\nsave = "a.png"\n[[stage]]\nuses = "toy.invert"\nsave = "b.png"\n')
    line = f"""genart run r.toml {TOY} --json | jq -r 'select(.event=="saved").path'"""
    paths = shell(line).stdout.split()
    assert paths == ["out/toy/a.png", "out/toy/b.png"]
    assert all(Path(path).is_file() for path in paths)


def test_find_and_xargs_name_the_pictures(shell):
    for i in range(5):
        photo(f"in/a {i}/it's {i}.jpg", red=40 * i)
    shell("find in -name '*.jpg' -print0 | sort -z | xargs -0 genart apply images.folder --crop 16 -o all")
    assert [round(pixels(path)[..., 0].mean() / 40) for path in sorted(Path("all").iterdir())] == [0, 1, 2, 3, 4]
    # where xargs has to start the program several times, the pictures go on in one pipe
    shell(
        "find in -name '*.jpg' -print0 | sort -z | xargs -0 -n 3 genart apply images.folder --crop 16"
        " | genart apply images.grid --columns 5 --gap 0 -o sheet.png"
    )
    row = pixels("sheet.png")[8, 8::16, 0]
    assert [round(value / 40) for value in row] == [0, 1, 2, 3, 4]


@needs("ffmpeg")
def test_a_film_comes_from_ffmpeg_and_goes_back(shell):
    shell(
        "ffmpeg -v error -f lavfi -i testsrc=size=66x50:rate=10:duration=1 -pix_fmt yuv420p film.mp4"
        " && ffmpeg -v error -i film.mp4 -sws_flags bicubic+accurate_rnd+full_chroma_int+full_chroma_inp frame%02d.png"
        " && ffmpeg -v error -i film.mp4 -f yuv4mpegpipe - | genart apply images.resize --scale 1 -o frames"
        " && ffmpeg -v error -i film.mp4 -f yuv4mpegpipe - | genart apply toy.invert --y4m " + TOY + " | tee back.y4m"
        " | ffmpeg -v error -f yuv4mpegpipe -i - back.mp4"
    )
    assert len(list(Path("frames").iterdir())) == 10
    errors = [np.square(pixels(f"frames/{i:05d}.png") - pixels(f"frame{i + 1:02d}.png")).mean() for i in range(10)]
    assert max(errors) < 0.5, "these are ffmpeg's own colours, where it takes its time"
    assert probed("back.mp4", "width,height,r_frame_rate,nb_read_frames") == ["66", "50", "10/1", "10"]
    shell(
        "ffmpeg -v error -i back.y4m -frames:v 1 -f rawvideo -pix_fmt rgb24 back.rgb; genart apply toy.invert "
        + TOY
        + " < back.y4m > b.png"
    )
    first = np.fromfile("back.rgb", np.uint8).reshape(50, 66, 3).astype(int)
    assert np.square(255 - first - pixels("b.png")).mean() < 2, "ffmpeg takes the colours as they are meant"


@pytest.mark.parametrize("form", ["", "--y4m"])
def test_a_full_disk_at_the_end_of_a_pipe_is_told_as_the_streams(shell, form):
    done = shell(f"genart apply toy.noise --count 2 --size 8 -o - {form} {TOY} > /dev/full", code=5)
    assert "standard output: the disk is full" in done.stderr


@needs("gifsicle")
def test_a_film_goes_out_and_gifsicle_takes_it(shell):
    shell(
        f"genart apply toy.noise --count 3 --size 32 {TOY} | genart apply video.assemble --format gif --fps 10 | gifsicle -O3 > small.gif"
    )
    with Image.open("small.gif") as film:
        assert (film.n_frames, film.size) == (3, (32, 32))


def test_three_stages_in_a_pipe_say_all_that_made_a_picture(shell):
    shell(f"genart apply toy.noise --count 2 {TOY} | genart apply toy.invert {TOY} | genart apply toy.fade -o x {TOY}")
    with Image.open("x/00001.png") as picture:
        told = json.loads(picture.info["genart"])
    steps = [*told["picture"]["origin"], told]
    assert [step["stage"] for step in steps] == ["toy.noise", "toy.invert", "toy.fade"]
    assert isinstance(told["picture"]["seed"], int)
    assert str(Path.cwd().parent) not in json.dumps(told), "no paths"


# the ends of a pipe


def test_a_reader_that_goes_is_no_error(shell):
    for line in (f"genart apply toy.noise --count 400 --size 64 -q {TOY}", f"cat many.png | genart apply toy.invert -q {TOY}"):
        if "many" in line:
            shell(f"genart apply toy.noise --count 400 --size 64 {TOY} -o - > many.png")
        done = shell(f"{line} | head -c 1000 > /dev/null; echo ${{PIPESTATUS[*]}}")
        assert done.stdout.split()[-2:] == ["141", "0"]
        assert done.stderr == ""


def test_a_program_that_fails_is_not_taken_for_the_end(shell):
    """bash ignores all but the last; the film would be too short, and nobody would know."""
    shell(f"genart apply toy.noise --count 5 {TOY} -o - > whole.png")
    frame = len(Path("whole.png").read_bytes()) // 5
    done = shell(f"set +o pipefail; head -c {3 * frame} whole.png | genart apply video.assemble -o film.gif", code=3)
    assert "of standard input is cut off" in done.stderr or "ended after" in done.stderr
    assert not Path("film.gif").exists()
    done = shell(
        f"set +o pipefail; genart apply toy.noise --count 5 {TOY} | genart apply toy.crash --at 3 {TOY}"
        " | genart apply video.assemble -o film.gif",
        code=3,
    )
    assert "standard input ended after 3 of 5 pictures" in done.stderr
    assert not Path("film.gif").exists()


@pytest.fixture
def filter_process():
    """Start a stage between two pipes."""
    running = []

    def start(*words: object) -> subprocess.Popen[bytes]:
        code = "from genart.cli import main; main()"
        command = [sys.executable, "-W", "error", "-c", code, "apply", *map(str, words), "-p", str(TOYS), "--device", "cpu", "-q"]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=heeds_ctrl_c))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()
        for file in (process.stdin, process.stdout, process.stderr):
            file.close()


def frame(size: int = 64) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8)).save(data, "PNG")
    return data.getvalue()


def read_frame(file) -> bytes:
    """Read one PNG; blocks until it is there."""
    data = file.read(8)
    while data[-8:-4] != b"IEND":
        length = file.read(4)
        data += length + file.read(int.from_bytes(length, "big") + 8)
    return data


#: One of them makes several pictures at once where several are there.
FILTERS = pytest.mark.parametrize("words", [("toy.invert",), ("style.instant", "--preset", "19")], ids=lambda words: words[0])


@FILTERS
def test_each_picture_is_written_before_the_next_one_comes(filter_process, words):
    process = filter_process(*words)
    for _ in range(3):
        process.stdin.write(frame())
        process.stdin.flush()
        assert read_frame(process.stdout).startswith(b"\x89PNG")
    process.stdin.close()
    assert process.wait() == 0
    assert process.stdout.read() == b""


@FILTERS
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_filter_that_waits_can_be_stopped(filter_process, words, number, code):
    process = filter_process(*words)
    process.stdin.write(frame())
    process.stdin.flush()
    read_frame(process.stdout)
    process.send_signal(number)
    assert process.wait() == code
    assert process.stderr.read() == b"genart: interrupted\n"


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise ValueError("no such process")


def test_pictures_made_at_once_are_those_made_one_after_another(shell):
    """Whatever the number of cores, in order, each with its own index."""
    shell("genart apply images.samples --crop 64 --count 7 -o - > in.pngs")
    for cores in (1, 2):
        shell(f"OMP_NUM_THREADS={cores} genart apply style.instant --preset 19 < in.pngs > {cores}.pngs")
    assert Path("1.pngs").read_bytes() == Path("2.pngs").read_bytes()
    shell("genart apply images.samples --crop 64 --count 7 -o a; genart apply style.instant --preset 19 -i a -o b")
    with open("2.pngs", "rb") as file:
        sent = [batch.array[0] for batch in read_pictures(Bytes(file.read), print).batches]
    kept = [np.asarray(Image.open(path)) for path in sorted(Path("b").iterdir())]
    assert [(a == b).all() for a, b in zip(sent, kept, strict=True)] == [True] * 7


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("words", [("images.resize", "--scale", "0.5"), ("augment",)], ids=lambda words: words[0])
def test_memory_is_flat_however_long_the_stream(filter_process, words):
    count, early = 20_000, 2_000
    process = filter_process(*words)
    one = frame()

    def feed() -> None:
        for _ in range(count):
            process.stdin.write(one)
        process.stdin.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    for i in range(count):
        read_frame(process.stdout)
        if i == early:
            before = rss_mb(process.pid)
        if i == count - 1:
            after = rss_mb(process.pid)
    feeder.join()
    assert process.wait() == 0
    assert after - before < 30


def test_a_source_is_not_waited_for(filter_process, monkeypatch):
    """The first picture is written while the second is being made."""
    monkeypatch.setenv("TOY_GATE", "gate")
    process = filter_process("toy.noise", "--count", "2")
    process.stdin.close()
    read_frame(process.stdout)
    Path("gate").touch()
    read_frame(process.stdout)
    assert process.wait() == 0
