"""A file is made again from itself alone: to the byte, or it is said how it differs and why."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from genart.origin import recipe_of
from genart.params import canonical_json, plain_value, reads_path, resolve
from genart.plugins import Plugins
from genart.provenance import as_text, read
from genart.recipe import load
from genart.remake import differences

from .conftest import EAGER, ROOT, TOYS, tree
from .test_provenance import resealed

STAGES = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 5
save = "noise"
[[stage]]
uses = "toy.train"
id = "train"
steps = 4
budget = "3m"
save = "toy.safetensors"
[[stage]]
uses = "toy.draw"
id = "drawn"
count = 4
save = "drawn"
[[stage]]
uses = "toy.film"
save = "film.gif"
[[stage]]
uses = "toy.tint"
id = "tinted"
from = "noise"
by = ["drawn", "photo.txt"]
model = "train"
save = "tinted"
[[stage]]
uses = "toy.film"
id = "progress"
from = "train.progress"
save = "progress.gif"
[[stage]]
uses = "toy.draw"
id = "single"
from = "train"
count = 1
save = "one.png"
[[stage]]
uses = "toy.invert"
id = "jpeg"
save = "one.jpg"
[[stage]]
uses = "toy.invert"
id = "webp"
save = "one.webp"
"""
FILES = (
    "noise/00003.png",
    "toy.safetensors",
    "drawn/00001.png",
    "film.gif",
    "tinted/00004.png",
    "progress.gif",
    "one.png",
    "one.jpg",
    "one.webp",
)


@pytest.fixture
def out(run_toy, recipe):
    Path("photo.txt").write_text("a picture, to the toys")
    result = run_toy(recipe(STAGES))
    assert result.code == 0, result.err
    return Path("out")


@pytest.fixture
def remake(cli):
    """`genart remake FILE -p toys.py --json ...`; its result with the event `remade` as `report`."""

    def call(path, *arguments, plugin=TOYS):
        result = cli("remake", path, "-p", plugin, "--json", *arguments)
        result.report = next((event for event in result.events if event["event"] == "remade"), None)
        return result

    return call


def forget(store):
    """Empty the store."""
    shutil.rmtree(store)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_made_again_to_the_byte(out, remake, store, name):
    entries, files = tree(store / "entries"), tree(out)
    result = remake(out / name)
    assert (result.code, result.err, result.report["verdict"]) == (0, "", "identical")
    assert read(out / name)[0].stage in result.report["made"]
    assert tree(store / "entries") == entries
    assert tree(out) == files
    assert not list((store / "remakes").iterdir()), "nothing is left behind"


@pytest.mark.parametrize("name", FILES)
def test_no_store_is_needed(out, remake, store, name):
    forget(store)
    result = remake(out / name)
    assert (result.code, result.report["verdict"], result.report["lent"]) == (0, "identical", [])


def test_models_come_from_the_store_unless_from_scratch(out, remake, toy_log):
    report = remake(out / "film.gif").report
    assert (report["lent"], report["made"]) == (["train"], ["drawn", "toy.film"])
    assert not [line for line in toy_log() if line.startswith(("train", "noise"))]
    report = remake(out / "film.gif", "--from-scratch").report
    assert (report["lent"], report["made"]) == ([], ["noise", "train", "drawn", "toy.film"])
    assert report["verdict"] == "identical"
    assert [line for line in toy_log() if line.startswith("train")]


def test_a_damaged_model_in_the_store_is_made_again(out, remake, store):
    for path in store.glob("entries/*/*/output/model.safetensors"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    report = remake(out / "film.gif").report
    assert (report["lent"], report["verdict"]) == ([], "identical")


def test_choices_are_replayed(out, remake, monkeypatch, run_toy, recipe):
    monkeypatch.setenv("TOY_CHOICE", "0.5")
    assert run_toy(recipe(STAGES), "--force").code == 0
    monkeypatch.setenv("TOY_CHOICE", "2")
    for name in ("toy.safetensors", "film.gif"):
        result = remake(out / name, "--from-scratch")
        assert result.report["verdict"] == "identical", result.report


def test_what_is_made_again_can_be_kept(out, remake):
    assert remake(out / "film.gif", "-o", "again.gif").code == 0
    assert Path("again.gif").read_bytes() == (out / "film.gif").read_bytes()
    assert remake(out / "film.gif", "-o", "again.mp4").code == 2
    assert remake(out / "film.gif", "-o", out / "film.gif").code == 7
    assert remake(out / "one.jpg", "-o", "again.jpeg").code == 0


def test_people_read_the_verdict(cli, out):
    result = cli("remake", out / "film.gif", "-p", TOYS, "-q")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == ["taken as it was, by its hash: train", f"{out}/film.gif: identical, every byte"]


# input files


def test_a_missing_file_is_asked_for(out, remake, store, monkeypatch, tmp_path):
    path = (out / "tinted/00004.png").absolute()
    photo = Path("photo.txt").absolute().rename(tmp_path / "elsewhere.txt")
    result = remake(path)
    assert result.code == 3, "a stage that reads it must run, and gave no model"
    assert "it was made of photo.txt, which is not here" in result.err
    assert "--input photo.txt=PATH" in result.err
    result = remake(path, "--input", f"photo.txt={photo}")
    assert (result.code, result.report["verdict"]) == (0, "identical")
    photo.write_text("another picture")
    result = remake(path, "--input", f"photo.txt={photo}")
    assert result.code == 3
    assert "another content" in result.err


def test_what_was_read_comes_from_the_store(run_toy, recipe, remake, store):
    Path("p").mkdir()
    Path("p/photo.txt").write_text("x" * 77)
    stages = '[[stage]]\nuses = "toy.read"\npath = "p/photo.txt"\n[[stage]]\nuses = "toy.invert"\nsave = "x.png"\n'
    assert run_toy(recipe(stages)).code == 0
    Path("p/photo.txt").rename("p/moved.txt")
    result = remake("out/x.png")
    assert (result.report["verdict"], result.report["lent"]) == ("identical", ["toy.read"])
    result = remake("out/x.png", "--from-scratch")
    assert result.code == 3
    assert "store" not in result.err
    assert remake("out/x.png", "--from-scratch", "--input", "photo.txt=p/moved.txt").report["verdict"] == "identical"
    forget(store)
    result = remake("out/x.png")
    assert result.code == 3
    assert "nor is what was read from it in the store" in result.err


def test_a_file_is_found_beside_by_name_and_content(run_toy, recipe, remake):
    Path("photo.txt").write_text("x" * 77)
    assert run_toy(recipe('[[stage]]\nuses = "toy.read"\npath = "photo.txt"\nsave = "x.png"\n')).code == 0
    assert remake("out/x.png").report["verdict"] == "identical"
    Path("photo.txt").write_text("x" * 78)
    assert remake("out/x.png").code == 3


@pytest.mark.parametrize("text", ["photo.txt", "=x", "photo.txt=nowhere", "other.txt=photo.txt"])
def test_wrong_inputs_are_usage_errors(out, remake, text):
    assert remake(out / "tinted/00000.png", "--input", text).code == 2


def test_a_model_can_be_given(out, remake, store, toy_log, cli):
    forget(store)
    toy_log()
    result = remake(out / "film.gif", "--input", f"train={out}/toy.safetensors")
    assert (result.report["verdict"], result.report["lent"]) == ("identical", ["train"])
    assert not [line for line in toy_log() if line.startswith("train")]
    (out / "toy.safetensors").rename("toy.safetensors")
    data = bytearray(Path("toy.safetensors").read_bytes())
    data[-1] ^= 1
    Path("toy.safetensors").write_bytes(data)
    result = remake(out / "film.gif", "--input", "train=toy.safetensors")
    assert result.code == 3
    assert "other weights" in result.err
    assert remake(out / "film.gif", "--input", "train=photo.txt").code == 3


def test_a_model_of_which_more_is_taken_is_trained_again(out, remake, store):
    forget(store)
    report = remake(out / "progress.gif", "--input", f"train={out}/toy.safetensors").report
    assert (report["verdict"], report["lent"]) == ("identical", [])


def test_what_apply_made_is_made_again(cli, remake, out, store):
    shutil.copy(out / "toy.safetensors", "m.safetensors")
    assert cli("apply", "toy.draw", "-i", "m.safetensors", "-o", "d.png", "--count", "1", "-p", TOYS, "--device", "cpu", "-q").code == 0
    Image.new("RGB", (8, 8), (10, 20, 30)).save("a.png")
    assert cli("apply", "toy.invert", "-i", "a.png", "-o", "b.webp", "-p", TOYS, "--device", "cpu", "-q").code == 0
    for name in ("d.png", "b.webp"):
        assert remake(name).report["verdict"] == "identical"
    Path("m.safetensors").unlink()
    shutil.rmtree(out)
    for about in store.glob("entries/*/*/manifest.json"):
        if json.loads(about.read_text())["stage"] == "apply.model":
            shutil.rmtree(about.parent)
    report = remake("d.png").report
    assert (report["verdict"], report["lent"]) == ("identical", ["input"]), "the weights are still in the store, from their training"


FILMS = """
[[stage]]
uses = "images.samples"
id = "frames"
photos = "cat"
crop = 16
count = 5
""" + "".join(f'[[stage]]\nuses = "video.assemble"\nfrom = "frames"\nsave = "film.{kind}"\n' for kind in ("mp4", "webm", "gif"))


@pytest.fixture
def films(cli, recipe):
    result = cli("run", recipe(FILMS), "--out", "out", "-q", "--device", "cpu")
    assert result.code == 0, result.err
    return Path("out")


@pytest.mark.parametrize("kind", ["mp4", "webm", "gif"])
def test_films_are_made_again_to_the_byte(cli, films, store, kind):
    forget(store)
    result = cli("remake", films / f"film.{kind}", "-q")
    assert (result.code, result.out) == (0, f"{films}/film.{kind}: identical, every byte\n")


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_of_films_too_what_is_stripped_or_encoded_again_is_told_apart(cli, films, kind):
    import av

    path = films / f"film.{kind}"
    with av.open(str(path)) as film, av.open(f"bare.{kind}", "w") as bare, av.open(f"again.{kind}", "w") as again:
        copy, coded = bare.add_stream_from_template(film.streams.video[0]), again.add_stream("libx264" if kind == "mp4" else "libvpx-vp9")
        coded.width, coded.height, coded.pix_fmt = 16, 16, "yuv420p"
        again.metadata["comment"] = {key.lower(): value for key, value in film.metadata.items()}["comment"]
        for packet in film.demux(video=0):
            for frame in packet.decode():
                again.mux(coded.encode(frame))
            if packet.dts is not None:
                packet.stream = copy
                bare.mux(packet)
        again.mux(coded.encode(None))
    assert "nothing in it says how it was made" in cli("remake", f"bare.{kind}").err
    assert "not what its provenance was written for" in cli("remake", f"again.{kind}").err


# what is not as it was


def changed_toys(old, new):
    Path("changed").mkdir(exist_ok=True)
    path = Path("changed/toys.py")
    text = TOYS.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_changed_code_that_does_the_same_is_told(out, remake):
    report = remake(out / "film.gif", plugin=changed_toys('"""Write a GIF."""', '"""Write a GIF!"""')).report
    assert (report["verdict"], report["lent"]) == ("same", ["train"]), "a model is known by its content, whatever code made it"
    assert any("code of the plugin 'toy' changed" in reason and "toy.film" in reason for reason in report["reasons"])


@pytest.mark.parametrize(("amount", "code", "verdict"), [("1 / 255", 0, "close"), ("0.3", 9, "different")])
def test_how_far_it_is_off_is_told(out, remake, amount, code, verdict):
    plugin = changed_toys("/ 2 + 0.5, start=span.start", f"/ 2 + 0.5 - {amount}, start=span.start")
    for name in ("drawn/00001.png", "one.png"):
        result = remake(out / name, plugin=plugin)
        assert (result.code, result.report["verdict"]) == (code, verdict)
        assert (result.report["db"] > 40) == (code == 0)
        assert any("the first result that came out otherwise" in reason for reason in result.report["reasons"])
    result = remake(out / "one.png", "--tolerance", "60" if code == 0 else "1", plugin=plugin)
    assert result.code == 9 - code, "the tolerance decides"


def test_a_film_is_compared_frame_by_frame(out, remake):
    report = remake(
        out / "film.gif", plugin=changed_toys("for batch in images for array", "for batch in images.batches(1) if batch.start for array")
    ).report
    assert report["verdict"] == "different"
    assert "3 frames" in report["detail"]
    assert report["db"] is None


def test_weights_are_compared_in_decibels(out, remake):
    result = remake(out / "toy.safetensors", plugin=changed_toys("w = 0.7 * w + 0.3", "w = 0.6999 * w + 0.3"))
    assert (result.code, result.report["verdict"]) == (0, "close")
    assert 40 < result.report["db"] < 90
    assert "'w'" in result.report["detail"]


def test_another_size_cannot_be_compared(out, remake):
    result = remake(out / "noise/00003.png", plugin=changed_toys("params.size *", "2 * params.size *"))
    assert result.code == 9
    assert "pixels" in result.report["detail"]


def test_what_nobody_brings_any_more_is_named(cli, out):
    result = cli("remake", out / "film.gif", "-q")
    assert result.code == 2
    assert "'toy.noise', which no plugin here brings" in result.err
    assert "-p" in result.err


def test_parameters_that_are_gone_are_named(out, remake):
    result = remake(out / "noise/00000.png", plugin=changed_toys("mixed", "blended"))
    assert result.code == 3
    assert "mixed" in result.err


# what was stripped or forged


def test_stripped_files_are_refused(out, remake):
    Image.open(out / "one.png").save("stripped.png")
    assert remake("stripped.png").code == 3


FORGERIES = {
    "a path": lambda told: told["stages"][0]["params"].update(path="/etc/hostname"),
    "another seed": lambda told: told["stages"][0].update(seed=1),
    "two of one id": lambda told: told["stages"].append(told["stages"][-1]),
    "no such input": lambda told: told["stages"][-1].update({"from": ["nobody"]}),
    "input of another kind": lambda told: told["stages"][-1].update({"from": ["noise"]}),
    "its own input": lambda told: told["stages"][-1].update({"from": ["single"]}),
    "too many inputs": lambda told: told["stages"][-1].update({"from": ["train", "train"]}),
    "no inputs": lambda told: told["stages"][-1].update({"from": []}),
    "another last stage": lambda told: told.update(stage="noise"),
    "a stage that is not there": lambda told: told["stages"][0].update(uses="os.system"),
    "a picture beyond the last": lambda told: told.update(index=99),
    "a model's stage": lambda told: (told["stages"].pop(), told.update(stage="train")),
    "files of no parameter": lambda told: told["stages"][0].update(files={"path": {"name": "a", "content": "0" * 64}}),
    "a side of no parameter": lambda told: told["stages"][-1].update(files={"path": {"stage": "noise"}}),
    "a wrong parameter": lambda told: told["stages"][0]["params"].update(count=-1),
    "choices of no kind": lambda told: told["stages"][1].update(choices={"lucky": {"not": "a number"}}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_provenance_does_no_harm(out, remake, store, name):
    resealed(out / "one.png", FORGERIES[name])
    result = remake(out / "one.png", "--from-scratch")
    expected = {"another seed": 9, "a stage that is not there": 2, "choices of no kind": 4}.get(name, 3)
    assert result.code == expected, (result.err, result.out)
    assert len(result.err.splitlines()) <= 3
    if name == "another seed":
        assert result.report["reasons"] == ["the first result that came out otherwise is that of 'noise'"]


def test_a_path_in_a_reading_parameter_is_refused(run_toy, recipe, remake):
    Path("photo.txt").write_text("x")
    assert run_toy(recipe('[[stage]]\nuses = "toy.read"\npath = "photo.txt"\nsave = "x.png"\n')).code == 0
    resealed(Path("out/x.png"), lambda told: (told["stages"][0].pop("files"), told["stages"][0]["params"].update(path="/etc/hostname")))
    result = remake("out/x.png")
    assert result.code == 3
    assert "cannot be followed: parameter 'path'" in result.err


# interrupted


def test_an_interrupted_remake_goes_on(out, genart_process, remake, toy_log):
    plugin = changed_toys(
        'time.sleep(params.slow)\n        log(f"train', 'time.sleep(float(os.environ.get("SLOW", "0")))\n        log(f"train'
    )
    toy_log()
    process = genart_process("remake", out / "toy.safetensors", "-p", plugin, "--json", prelude=EAGER, SLOW="1.0")
    log = Path(os.environ["TOY_LOG"])
    while not (log.exists() and "train 1" in log.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "genart remake" in err
    before = toy_log()
    result = remake(out / "toy.safetensors", plugin=plugin)
    assert result.report["verdict"] == "same", result.report
    after = toy_log()
    assert not [line for line in after if line.startswith("noise")]
    assert {line for line in before if line.startswith("train")}.isdisjoint(after)


# every recipe


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_parameters_of_every_recipe_survive_their_way_through_a_file(path):
    plugins = Plugins()
    copy = Path(path.name)
    shutil.copy(path, copy)
    Path("fashion").mkdir()
    for node in load(copy, plugins).nodes:
        fields = type(node.params).model_fields
        told = {name: plain_value(getattr(node.params, name)) for name in fields if not reads_path(fields[name])}
        table = json.loads(as_text(told)) | {name: plain_value(getattr(node.params, name)) for name in fields if reads_path(fields[name])}
        again = resolve(node.stage.params, node.stage.name, table)
        assert canonical_json(again.model_dump(mode="json")) == canonical_json(node.params.model_dump(mode="json")), node.id


def test_the_recipe_is_the_one_that_ran(out, recipe):
    told, _ = read(out / "tinted/00004.png")
    again = recipe_of(told, Plugins([TOYS]), {})
    first = {node.id: node for node in load(recipe(STAGES), Plugins([TOYS])).nodes}
    assert [node.id for node in again.nodes] == ["noise", "train", "drawn", "tinted"]
    for node in again.nodes:
        assert node.sources == first[node.id].sources
        assert node.stage.name == first[node.id].stage.name


def test_how_many_processes_trained_it_is_a_reason():
    def told(**made_with):
        stage = {
            "id": "train",
            "uses": "dcgan.train",
            "params": {},
            "plugin": {"version": "1"},
            "outputs": {},
            "made_with": {"torch": "2", **made_with},
        }
        return {"device": "cpu", "genart": "1", "stages": [stage]}

    assert differences(told(processes=2), told(), ["train"]) == ["processes 2 → 1 (train)"]
    assert differences(told(), told(), ["train"]) == []
