"""The main job, end to end, in small: recipes/painting.toml with few pictures and a short training."""

import json
from pathlib import Path

from PIL import Image

PAINTING = Path(__file__).parent.parent / "recipes" / "painting.toml"
SMALL = (
    "--set",
    "pieces.copies=32",
    "--set",
    "train.kimg=1",
    "--set",
    "train.width=8",
    "--set",
    "train.batch_size=64",
    "--set",
    "drift.frames=12",
    "--set",
    "enlarged.resolution=128",
)
OUTPUTS = ("painting.gif", "painting.mp4", "training.gif", "samples.png", "painting.safetensors", "paintings")


def test_painting_makes_all_it_promises_and_never_again(cli):
    done = cli("run", str(PAINTING), *SMALL, "--json")
    assert (done.code, done.err) == (0, "")
    out = Path("out") / "painting"
    assert sorted(path.name for path in out.iterdir()) == sorted([*OUTPUTS, "run.json"])
    with Image.open(out / "painting.gif") as film:
        assert (film.n_frames, film.size, film.info.get("loop")) == (12, (64, 64), 0)
    with Image.open(out / "training.gif") as timelapse:
        assert timelapse.n_frames == 8
    with Image.open(out / "samples.png") as sheet:
        assert len(sheet.convert("RGB").resize((8, 8)).getcolors()) > 8
    saved = {
        event["path"].rpartition("/")[2]: event["sha256"] for event in map(json.loads, done.out.splitlines()) if event["event"] == "saved"
    }
    assert sorted(saved) == sorted(OUTPUTS)

    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "run.json"}
    again = cli("run", str(PAINTING), *SMALL, "--json")
    events = [json.loads(line) for line in again.out.splitlines()]
    assert not [event for event in events if event["event"] == "stage_started"]
    assert all(event["unchanged"] for event in events if event["event"] == "saved")
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name != "run.json"}
    assert "everything is cached" in cli("plan", str(PAINTING), *SMALL).out

    for name in ("samples.png", "painting.gif", "painting.mp4", "training.gif"):
        again = cli("remake", out / name, "--json")
        report = json.loads(again.out.splitlines()[-1])
        assert (again.code, report["verdict"], report["reasons"]) == (0, "identical", [])
        assert report["lent"] == ["train"]
