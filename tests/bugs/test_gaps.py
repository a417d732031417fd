"""What planted bugs showed that nothing looked at."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from genart import folders, plan, provenance, report, tags
from genart.artifacts import MAX_HEADER_BYTES, ImagesWriter, parse_safetensors_header
from genart.events import Events
from genart.folders import Folder
from genart.nn import gan
from genart.nn.pictures import Unreadable, Want, decode_bytes
from genart.nn.players import Players
from genart.plan import content_hash
from genart.recipe import MAX_RECIPE_BYTES
from genart.run import Checkpoints, Run
from genart.store import Store
from genart_dcgan import dcgan_train
from tests import trainings
from tests.conftest import tree
from tests.security.conftest import CONTROLS
from tests.trainings import Killed, at_step, bytes_of, kill

TWO = '[[stage]]\nuses = "toy.noise"\nid = "n"\ncount = 2\n[[stage]]\nuses = "toy.invert"\nsave = "pics"\n'


# the store


def committed(store: Store, key: str, content: str = "the same") -> Store:
    """Put an entry under a key, with some text for its pictures."""
    work = store.work(key)
    (work / "outputs" / "output").mkdir(parents=True)
    (work / "outputs" / "output" / "pixels.bin").write_text(content)
    store.commit(key, ancestry=key, partial=key, kinds={"output": "images"}, work=work, about={"stage": "s", "parts": {"params": {}}})
    return store


def test_what_is_used_is_not_collected_first(tmp_path):
    store = Store(tmp_path)
    for key in ("aa1", "bb2", "cc3"):
        committed(store, key)
    for age, entry in enumerate(store.entries()):
        os.utime(entry.folder, (time.time() - 1000 * (age + 1),) * 2)
    last = store.find("cc3")
    assert Store(tmp_path).verified(last)
    store.collect(last.bytes)
    assert [entry.key for entry in store.entries()] == ["cc3"]


def test_what_a_living_process_builds_is_not_swept(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        theirs = [tmp_path / kind / f"{socket.gethostname()}.{alive.pid}" for kind in ("tmp", "scratch")]
        for folder in theirs:
            folder.mkdir(parents=True)
        Store(tmp_path).sweep_temporary()
        assert all(folder.is_dir() for folder in theirs)
        alive.communicate(b"\n")
    Store(tmp_path).sweep_temporary()
    assert not any(folder.is_dir() for folder in theirs)


def test_without_a_lock_the_first_of_two_equal_results_stays(tmp_path, monkeypatch):
    """Both looked before either was done; the second finds a result in its place when it comes to rename its own."""
    first = committed(Store(tmp_path), "aa1").find("aa1")
    inode = first.folder.stat().st_ino
    find, seen = Store._here, []
    monkeypatch.setattr(Store, "_here", lambda self, key: find(self, key) if seen else seen.append(key))
    committed(Store(tmp_path), "aa1")
    assert seen == ["aa1"]
    assert find(Store(tmp_path), "aa1").folder.stat().st_ino == inode
    assert [path for path in tmp_path.glob("tmp/**/*") if path.is_file()] == []


#: Who reads what a killed run left.
OPENED = {
    "sync.json": ImagesWriter,
    "choices.json": lambda folder: Run(stage_id="s", seed=1, device="cpu", work=folder, events=Events()),
}


@pytest.mark.parametrize("name", OPENED)
def test_a_disk_that_fails_is_no_fresh_start(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text("{}")
    open_ = os.open

    def fails(path, *flags, **where):
        if Path(path).name == name:
            raise OSError(errno.EIO, "input/output error", str(path))
        return open_(path, *flags, **where)

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(OSError, match="input/output"):
        OPENED[name](tmp_path)


def test_a_manifest_that_says_something_else_is_no_entry(tmp_path):
    store = committed(Store(tmp_path), "aa1")
    path = store.find("aa1").folder / "manifest.json"
    told = json.loads(path.read_bytes())
    for change in ({"stage": "another"}, {"outputs": {}}, {"more": 1}, {"sha256": "0" * 64}):
        path.write_text(json.dumps(told | change))
        assert store.find("aa1") is None
    path.write_text(json.dumps(told))
    assert store.find("aa1") is not None


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    """Its last holder removed it, and somebody else made another: who has the old one must try again."""
    fcntl = pytest.importorskip("fcntl", reason="this system has no flock")
    path, flock, calls = tmp_path / "work" / "aa1.lock", fcntl.flock, []

    def late(handle, how):
        calls.append(how)
        if len(calls) == 1:
            path.unlink()
            path.touch()
        return flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with Store(tmp_path).lock("aa1", lambda: None, lambda: None), open(path, "rb") as other, pytest.raises(BlockingIOError):
        flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert calls == [fcntl.LOCK_EX | fcntl.LOCK_NB] * 3, "two attempts, and a look at whether the lock keeps anybody out"


def test_a_run_leaves_nothing_in_the_store_but_results(run_toy, recipe, store):
    assert run_toy(recipe(TWO)).code == 0
    assert [path for kind in ("work", "tmp", "scratch") for path in store.glob(f"{kind}/*")] == []


def test_an_old_folder_comes_back_when_the_new_one_cannot_take_its_place(run_toy, recipe, monkeypatch):
    path = recipe(TWO)
    assert run_toy(path).code == 0
    before = tree(Path("out"))
    replace = os.replace

    def fails(source, target, **where):
        if Path(target).name == "pics" and ".tmp" in Path(source).name:
            raise OSError(errno.EIO, "input/output error", str(source))
        replace(source, target, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        result = run_toy(path, "--set", "n.size=9")
    assert result.code == 5, result.err
    assert tree(Path("out")) == before


# keys


def test_a_file_that_keeps_its_size_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_settled", lambda newest_ns: True)
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    before = content_hash(path, tmp_path / "cache")
    assert list((tmp_path / "cache" / "hashes").iterdir()), "it is remembered"
    path.write_bytes(b"two")
    assert content_hash(path, tmp_path / "cache") != before


def test_every_picture_has_its_own_seed(tmp_path):
    run = Run(stage_id="s", seed=1, device="cpu", work=tmp_path, events=Events())
    assert len({run.seed(label, index) for label in ("", "z") for index in (None, *range(100))}) == 202


def test_what_follows_another_input_is_another_result(run_toy, recipe):
    for seed in (1, 2):
        assert run_toy(recipe(TWO), "--seed", seed, "--out", f"out{seed}").code == 0
    colours = []
    for seed in (1, 2):
        with Image.open(f"out{seed}/pics/00000.png") as picture:
            colours.append(picture.tobytes())
    assert colours[0] != colours[1]


# trainings

#: 6 steps.
TINY = {"width": 4, "batch_size": 8, "kimg": 0.048, "precision": "fp32", "evaluations": 0}


def test_a_resume_between_two_ticks_tells_the_mean_of_both_halves(tmp_path, monkeypatch):
    monkeypatch.setattr(gan, "TICKS", 2)
    trainings.attempt(dcgan_train, tmp_path / "whole", **TINY)
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        at_step(patch, 3, kill)
        with pytest.raises(Killed):
            trainings.attempt(dcgan_train, tmp_path / "killed", **TINY)
    trainings.attempt(dcgan_train, tmp_path / "killed", **TINY)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_a_kill_between_pictures_and_their_checkpoint_shows_none_twice(tmp_path, monkeypatch):
    """The pictures are synced first: after the kill, at a step before which some were drawn, there are more than the checkpoint knows."""
    trainings.attempt(dcgan_train, tmp_path / "whole", **TINY)
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    save, saves = Checkpoints.save, []

    def killed(self, *arguments):
        saves.append(1)
        if len(saves) == 3:
            raise Killed
        save(self, *arguments)

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(Killed):
        trainings.attempt(dcgan_train, tmp_path / "killed", **TINY)
    trainings.attempt(dcgan_train, tmp_path / "killed", **TINY)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_a_return_after_a_resume_finds_the_last_good_state(tmp_path, monkeypatch):
    """A training that was killed, and explodes after it goes on, ends in the bytes of one that exploded at the same step."""
    step = Players.step

    def poisoned(self, number, *args):
        told = step(self, number, *args)
        if number == 4 and not self.__dict__.setdefault("poisoned", False):
            self.poisoned = True
            with torch.no_grad():
                self.G.dense.weight[0] = float("nan")
        return told

    monkeypatch.setattr(Players, "step", poisoned)
    trainings.attempt(dcgan_train, tmp_path / "whole", **TINY)
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    with monkeypatch.context() as patch:
        at_step(patch, 4, kill)
        with pytest.raises(Killed):
            trainings.attempt(dcgan_train, tmp_path / "killed", **TINY)
    _, run = trainings.attempt(dcgan_train, tmp_path / "killed", **TINY)
    assert "rolled back" in [event.get("act") for event in run.events_seen]
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


# strangers


def test_errors_are_plain_words(cli):
    for arguments in (("check", "a\x1b[2J\u202eb.toml"), ("apply", "x\x9b2Jy"), ("run", "\x1b]0;a\x07.toml", "--set", "\x1b[31m")):
        result = cli(*arguments)
        assert result.code == 2
        assert result.err.strip()
        assert not [control for control in CONTROLS if control in result.err + result.out]


@pytest.mark.parametrize("by_handle", sorted({folders.BY_HANDLE, False}))
def test_a_link_to_a_folder_whose_name_begins_alike_leads_out(run_toy, recipe, monkeypatch, by_handle):
    monkeypatch.setattr(folders, "BY_HANDLE", by_handle)
    Path("out").mkdir()
    Path("out-of-bounds").mkdir()
    Path("out/film").symlink_to(Path("out-of-bounds").absolute())
    result = run_toy(recipe(TWO.replace('"pics"', '"film/pics"')))
    assert (result.code, list(Path("out-of-bounds").iterdir())) == (7, []), result.err


def test_a_page_shows_nothing_beside_its_folder(tmp_path):
    for name in ("run", "run-of-others"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"a picture")
    with Folder.open(tmp_path / "run") as folder:
        gallery = report.Gallery(folder)
        names = ("a.png", "../run-of-others/a.png", "../run", ".", "..", f"{tmp_path}/run-of-others/a.png", f"{tmp_path}/run/a.png")
        shown = [gallery.shown(report.OutputTold(path=path)).kind for path in names]
    assert shown == ["picture"] + ["missing"] * 6


def test_a_page_shows_no_training_beside_its_folder(tmp_path):
    for name in ("run", "run-of-others"):
        (tmp_path / name).mkdir()
        text = json.dumps({"model": {"family": "f", "parameters": {}, "history": [{"kimg": 1, "loss_D": 0.5}]}})
        header = json.dumps({"__metadata__": {"genart": text}}).encode()
        (tmp_path / name / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    stage, store = report.StageTold(id="a", uses="dcgan.train"), Store(tmp_path / "store")
    for path, shown in (("m.safetensors", True), ("../run-of-others/m.safetensors", False)):
        told = report.trained(stage, tmp_path / "run", [report.OutputTold(path=path, stage="a")], store)
        assert (told is not None) == shown


class Watched(io.BytesIO):
    """Notes how much is asked of it at once."""

    asked = 0

    def read(self, size=-1):
        self.asked = max(self.asked, size)
        return super().read(size)


def test_a_header_is_refused_by_its_length_alone():
    file = Watched((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="header of"):
        parse_safetensors_header(file)
    assert file.asked == 8


def test_a_picture_is_refused_by_its_header_alone():
    header = (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    bomb = tags.PNG_SIGNATURE + tags.chunk(b"IHDR", header) + tags.chunk(b"IDAT", zlib.compress(bytes(9))) + tags.chunk(b"IEND", b"")
    with pytest.raises(Unreadable, match="2,500 megapixels, above the limit of 100"):
        decode_bytes(bomb, Want())


def test_a_compressed_text_takes_no_more_memory_than_it_may(monkeypatch):
    monkeypatch.setattr(tags, "MAX_TEXT", 100_000)
    body = tags.KEYWORD + b"\0\1\0\0\0" + zlib.compress(bytes(30_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(tags.Damaged, match="too long"):
            tags.itxt(body)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_recipe_is_refused_by_its_size_alone(cli):
    Path("large.toml").write_text("#" * (MAX_RECIPE_BYTES + 1))
    result = cli("check", "large.toml")
    assert result.code == 2
    assert "larger than 1 MiB" in result.err


def test_provenance_in_a_file_is_that_of_its_own_run(run_toy, recipe):
    """Nothing of the place where it was made is in it."""
    assert run_toy(recipe(TWO)).code == 0
    _, plain = provenance.read(Path("out/pics/00000.png"))
    assert str(Path.cwd()) not in json.dumps(plain)
