"""A shared store: what one machine has made no other makes again, whatever breaks, whoever writes too, and whatever lies there."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genart import remote, spread
from genart.artifacts import digest_of, sealed
from genart.bucket import Bucket
from genart.errors import ResourceError
from genart.remote import RemoteStore, Shared, store_for
from genart.spread import Lost
from genart.store import Entry, Store, place_of, sealed_manifest
from tests.conftest import TOYS, tree
from tests.faults.forge import Forge

from .broken import Broken
from .conftest import in_folder, in_memory
from .hands import Hands, order_of, run_spread

CHAIN = """
[[stage]]
uses = "toy.noise"
id = "noise"
count = 5
[[stage]]
uses = "toy.invert"
id = "invert"
save = "inverted"
[[stage]]
uses = "toy.train"
id = "train"
from = "noise"
steps = 3
save = "model.safetensors"
"""
URL = ("--store", "s3://bucket/a")


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Bucket], Bucket]:
    """Let every address lead to a bucket from now on."""

    def lead(bucket: Bucket) -> Bucket:
        monkeypatch.setattr(Bucket, "of", lambda url: bucket)
        return bucket

    return lead


@pytest.fixture
def wanted(run_toy, recipe, machine) -> dict[str, bytes]:
    """What a run without a shared store saves."""
    machine("alone")
    assert run_toy(recipe(CHAIN)).code == 0
    found = tree(Path("out"))
    clear()
    return found


def clear() -> None:
    """Forget what was saved."""
    shutil.rmtree("out", ignore_errors=True)


def commit(store: Store, name: str, content: bytes = b"", *, replace: bool = False) -> Entry:
    """Put a film of two files into a store."""
    work = store.root / "work" / f"{name}-{os.urandom(4).hex()}"
    (work / "outputs" / "output").mkdir(parents=True)
    (work / "outputs" / "output" / "video.json").write_text(json.dumps({"file": "film.gif", "fps": 5.0, "count": 1}))
    (work / "outputs" / "output" / "film.gif").write_bytes(content or name.encode())
    about = {"stage": "toy.film", "seconds": float(len(content)), "parts": {"params": {}}}
    ancestry, partial = key_of(f"ancestry {name}"), key_of("partial")
    return store.commit(
        key_of(name), ancestry=ancestry, partial=partial, kinds={"output": "video"}, work=work, about=about, replace=replace
    )


def content(store: Store, name: str) -> bytes | None:
    """The film, as the runner would get it; None if it is not there."""
    entry = store.find_by_ancestry(key_of(f"ancestry {name}"))
    if entry is None or not store.verified(entry):
        return None
    held = store.hold(entry)
    assert held is not None
    found = held.artifact("output").path.read_bytes()
    store.release()
    return found


def assert_whole(bucket: Bucket) -> list[Entry]:
    """Every result that is to be seen under an address is whole."""
    shared = Shared(Bucket(getattr(bucket.files, "files", bucket.files), bucket.root, bucket.url))
    entries = list(shared.entries())
    assert [shared.damaged(entry) for entry in entries] == [[]] * len(entries)
    return entries


# two machines


def test_the_second_machine_computes_nothing(run_toy, recipe, machine, bucket, at, wanted, toy_log):
    at(bucket)
    machine("a")
    first = run_toy(recipe(CHAIN), *URL)
    assert (first.code, sorted(first.made())) == (0, ["invert", "noise", "train"])
    assert tree(Path("out")) == wanted
    clear()
    toy_log()
    root = machine("b")
    second = run_toy(recipe(CHAIN), *URL)
    assert (second.code, second.made(), toy_log()) == (0, [], [])
    assert tree(Path("out")) == wanted
    stages = sorted(entry.manifest["stage"] for entry in Store(root).entries())
    assert stages == ["toy.invert", "toy.train"], "what nobody reads is not fetched"
    assert len(assert_whole(bucket)) == 3


def test_the_variable_names_the_address_and_the_option_goes_before_it(monkeypatch, home):
    for name in ("one", "two"):
        (home / name).mkdir()
    monkeypatch.setenv("GENART_STORE", f"file://{home}/one")
    assert store_for(None).address == f"file://{home}/one"
    assert store_for(f"file://{home}/two").address == f"file://{home}/two"
    monkeypatch.setenv("GENART_STORE", "")
    assert store_for(None).address is None
    assert type(store_for(None)) is Store


def test_a_wrong_address_in_the_variable_is_told_as_its(cli, recipe, monkeypatch):
    monkeypatch.setenv("GENART_STORE", "ftp://x")
    result = cli("plan", recipe(CHAIN), "-p", TOYS)
    assert result.code == 2
    assert "GENART_STORE ftp://x: this is no address" in result.err


def test_plan_reads_and_writes_nothing(cli, run_toy, recipe, machine, at):
    bucket = at(in_memory())
    machine("a")
    rows = json.loads(cli("plan", recipe(CHAIN), "-p", TOYS, "--device", "cpu", "--json", *URL).out)["stages"]
    assert {row["status"] for row in rows} == {"run"}
    assert bucket._listed(bucket.root) == {}
    run_toy(recipe(CHAIN), *URL)
    before = bucket._listed(bucket.root)
    machine("b")
    rows = json.loads(cli("plan", recipe(CHAIN), "-p", TOYS, "--device", "cpu", "--json", *URL).out)["stages"]
    assert {row["status"] for row in rows} == {"cached"}
    assert bucket._listed(bucket.root) == before


def test_what_was_made_before_is_shared_by_the_next_run(run_toy, recipe, machine, at, wanted, toy_log):
    bucket = at(in_memory())
    machine("a")
    run_toy(recipe(CHAIN))
    assert bucket._listed(bucket.root) == {}
    assert run_toy(recipe(CHAIN), *URL).made() == []
    machine("b")
    clear()
    toy_log()
    assert run_toy(recipe(CHAIN), *URL).made() == []
    assert (tree(Path("out")), toy_log()) == (wanted, [])


def test_a_folder_that_is_not_mounted_is_not_made(cli, run_toy, recipe, machine, home):
    machine("a")
    run_toy(recipe(CHAIN))
    url = f"file://{home}/not-mounted/a"
    for words in (("run", "r.toml", "-p", TOYS), ("plan", "r.toml", "-p", TOYS), ("cache", "info")):
        result = cli(*words, "--store", url)
        assert (result.code, f"the store {url}: there is no such folder" in result.err) == (5, True)
    assert not (home / "not-mounted").exists()


def test_a_damaged_result_of_this_machine_is_not_shared(run_toy, recipe, machine, at, wanted):
    bucket = at(in_memory())
    root = machine("a")
    run_toy(recipe(CHAIN))
    for path in root.glob("entries/*/*/output/pixels.bin"):
        path.write_bytes(b"\0" + path.read_bytes()[1:])
    assert run_toy(recipe(CHAIN), *URL).code == 0
    assert len(assert_whole(bucket)) < 3
    clear()
    assert run_toy(recipe(CHAIN), *URL).code == 0
    assert tree(Path("out")) == wanted
    assert_whole(bucket)


def test_a_result_of_this_machine_that_is_damaged_is_fetched_again(run_toy, recipe, machine, at, wanted, toy_log):
    at(in_memory())
    root = machine("a")
    run_toy(recipe(CHAIN), *URL)
    for path in root.glob("entries/*/*/output/*.*"):
        path.write_bytes(b"\0" + path.read_bytes()[1:])
    clear()
    toy_log()
    assert run_toy(recipe(CHAIN), *URL).made() == []
    assert (tree(Path("out")), toy_log()) == (wanted, [])
    for path in root.glob("entries/*/*/output/*.*"):
        path.write_bytes(b"\0" + path.read_bytes()[1:])
    store = store_for(URL[1])
    assert [store.verified(entry) for entry in store.entries()] == [True] * 3
    assert [entry.damaged() for entry in store.entries()] == [[]] * 3


def test_a_result_made_again_takes_the_place_of_the_old_one(home):
    bucket = in_memory()
    a, b = (RemoteStore(home / name, bucket) for name in "ab")
    commit(a, "x", b"old")
    commit(a, "x", b"newer", replace=True)
    assert content(b, "x") == b"newer"
    assert content(RemoteStore(home / "a", bucket), "x") == b"newer"


def test_the_note_of_a_result_outlives_it(home):
    bucket = in_memory()
    entry = commit(RemoteStore(home / "a", bucket), "x")
    other = RemoteStore(home / "b", bucket)
    other.discard(entry.key)
    assert other.find_by_ancestry(key_of("ancestry x")) is None
    assert other.note(key_of("ancestry x"))["outputs"] == entry.manifest["outputs"]
    assert other.note(key_of("ancestry y")) == {}


def test_a_report_shows_the_course_of_a_training_that_lies_there_alone(cli, machine, recipe, run_toy, at, monkeypatch):
    at(in_memory())
    machine("a")
    stages = CHAIN.replace('save = "model.safetensors"', "")
    run_toy(recipe(stages), *URL)
    clear()
    root = machine("b")
    run_toy(recipe(stages), *URL)
    assert "toy.train" not in [entry.manifest["stage"] for entry in Store(root).entries()]
    monkeypatch.setenv("GENART_STORE", URL[1])
    assert cli("report", "out").code == 0
    assert "toy.train" in [entry.manifest["stage"] for entry in Store(root).entries()], "its model was fetched"
    assert not list(root.glob("scratch/*/*"))


# what breaks


def faults(bucket: Bucket, run: Callable[[], object], how: str) -> Iterator[int]:
    """Run something with a fault at the first request, then at the second, and so on, until none is reached; yields after each."""
    for number in itertools.count(1):
        files = bucket.files
        broken = bucket.files = Broken(files, lambda at, name, n=number: how if at == n else None)
        try:
            run()
        finally:
            bucket.files = files
        if len(broken.asked) < number:
            return
        yield number


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *(("memory", how) for how in ("before", "after", "half")),
        *(pytest.param("file", how, marks=pytest.mark.slow) for how in ("before", "after")),
    ],
)
def test_a_wire_that_breaks_at_any_request_costs_nothing(kind, how, run_toy, recipe, machine, at, wanted, home, toy_log):
    bucket = at(in_memory() if kind == "memory" else in_folder(home))
    path, root, roots = recipe(CHAIN), bucket.root, itertools.count(1)
    codes: list[int] = []

    def run() -> None:
        number = next(roots)
        bucket.root = f"{root}/{number}"
        if kind == "file":
            os.mkdir(bucket.root)
        machine(f"a{number}")
        clear()
        codes.append(run_toy(path, *URL).code)

    for number in faults(bucket, run, how):
        assert_whole(bucket)
        assert codes[-1] in (0, 5), f"request {number}"
        toy_log()
        again = run_toy(path, *URL)
        assert again.code == 0, again.err
        assert tree(Path("out")) == wanted
        assert len(assert_whole(bucket)) == 3, f"request {number}"
        clear()
        toy_log()
        machine(f"b{number}")
        assert run_toy(path, *URL).made() == []
        assert (tree(Path("out")), toy_log()) == (wanted, [])
    assert codes.count(5) > 15
    assert codes[-1] == 0


def test_what_breaks_is_told_in_two_lines(run_toy, recipe, machine, at):
    bucket = at(in_memory())
    bucket.files = Broken(bucket.files, lambda number, name: "before")
    machine("a")
    result = run_toy(recipe(CHAIN), *URL)
    assert result.code == 5
    assert "the store s3://memory/a: nothing answers there" in result.err
    assert len(result.err.strip().splitlines()) == 2


def test_nothing_is_made_before_it_is_known_that_it_can_be_kept(run_toy, recipe, machine, at, toy_log):
    bucket = at(in_memory())
    bucket.files = Broken(bucket.files, lambda number, name: "before" if name == "pipe" else None)
    machine("a")
    assert run_toy(recipe(CHAIN), *URL).code == 5
    assert toy_log() == []


def test_a_result_that_could_not_be_shared_is_kept_and_shared_by_the_next_run(run_toy, recipe, machine, at, wanted, toy_log):
    bucket = at(in_memory())
    files = bucket.files
    bucket.files = Broken(files, lambda number, name: "before" if name == "put" else None)
    machine("a")
    assert run_toy(recipe(CHAIN), *URL).code == 5
    made = toy_log()
    assert made
    bucket.files = files
    assert run_toy(recipe(CHAIN), *URL).code == 0
    assert not {*made} & {*toy_log()}, "it was not made again"
    assert len(assert_whole(bucket)) == 3
    assert tree(Path("out")) == wanted


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    process = Forge()
    yield process
    process.close()


@pytest.mark.slow
def test_a_process_killed_at_any_request_costs_nothing(forge, home, recipe, wanted):
    """With a folder as the store, since what is in memory dies with the process."""
    wanted = {name: data for name, data in wanted.items() if name.startswith("inverted/")}
    words = ("run", "r.toml", "-p", TOYS, "--device", "cpu", "--quiet", "--out", "out", "--store")
    plant = """
import genart.bucket
from tests.cluster.broken import Broken
init = genart.bucket.Bucket.__init__
def broken(self, files, root, url):
    init(self, Broken(files, lambda number, name: "kill" if number == {number} else None), root, url)
genart.bucket.Bucket.__init__ = broken
"""
    killed = 0
    (home / "r.toml").write_text(recipe(CHAIN).read_text().partition('[[stage]]\nuses = "toy.train"')[0])
    for number in itertools.count(1):
        folder, shared = home / f"k{number}", home / f"shared{number}"
        folder.mkdir()
        shared.mkdir()
        shutil.copy(home / "r.toml", folder)
        done = forge.run(folder, *words, f"file://{shared}", plant=plant.format(number=number))
        assert done.code in (0, -9), done.err
        bucket = Bucket.of(f"file://{shared}")
        assert_whole(bucket)
        if done.code == 0:
            break
        killed += 1
        for place in (folder, home / f"l{number}"):  # the same machine, and another
            place.mkdir(exist_ok=True)
            shutil.copy(home / "r.toml", place)
            done = forge.run(place, *words, f"file://{shared}")
            assert done.code == 0, done.err
            assert tree(place / "out") == wanted, number
            assert len(assert_whole(bucket)) == 2
    assert killed > 15


# what lies there


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


DAMAGES = {
    "flipped": flip,
    "cut": lambda data: data[:-1],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"more",
    "gone": None,
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", ["memory", "file", pytest.param("s3", marks=pytest.mark.slow)])
def test_damage_of_any_object_is_mended(kind, how, run_toy, recipe, machine, at, wanted, request, home):
    bucket = at({"memory": in_memory, "file": lambda: in_folder(home), "s3": lambda: Bucket.of(request.getfixturevalue("s3"))}[kind]())
    machine("a")
    run_toy(recipe(CHAIN), *URL)
    names = sorted(bucket._listed(bucket.root))
    assert len(names) > 15
    for number, name in enumerate(names):
        data = bucket.read([name], 1 << 20)[0]
        damaged = DAMAGES[how]
        if damaged is None:
            bucket.remove(name)
        elif data:
            bucket.write({name: damaged(data)})
        machine(f"b{number}")
        clear()
        result = run_toy(recipe(CHAIN), *URL)
        assert result.code == 0, (name, result.err)
        assert tree(Path("out")) == wanted, name
        bucket.write({name: data})  # what nobody reads stays damaged until somebody looks
    clear()
    machine("c")
    assert run_toy(recipe(CHAIN), *URL).code == 0
    assert tree(Path("out")) == wanted


def test_a_damaged_result_is_discarded_and_made_again_for_all(home):
    bucket = in_memory()
    entry = commit(RemoteStore(home / "a", bucket), "x", b"right")
    name = next(name for name in bucket.listing("entries") if name.endswith("film.gif"))
    bucket.write({name: b"wrong"})
    b = RemoteStore(home / "b", bucket)
    found = b.find(entry.key)
    assert found is not None
    assert not b.verified(found)
    assert b.find(entry.key) is None, "it is gone"
    commit(b, "x", b"right")
    assert content(RemoteStore(home / "c", bucket), "x") == b"right"


def test_a_result_that_was_replaced_meanwhile_is_not_discarded(home):
    bucket = in_memory()
    entry = commit(RemoteStore(home / "a", bucket), "x", b"old")
    b = RemoteStore(home / "b", bucket)
    found = b.find(entry.key)
    bucket.remove(*(name for name in bucket.listing("entries") if name.endswith("film.gif")))
    commit(RemoteStore(home / "c", bucket), "x", b"newer", replace=True)
    assert not b.verified(found)
    assert content(b, "x") == b"newer"


def test_a_result_that_is_collected_between_a_look_and_a_read_is_made_again(run_toy, recipe, machine, at, wanted, monkeypatch):
    bucket = at(in_memory())
    machine("a")
    run_toy(recipe(CHAIN), *URL)
    machine("b")
    clear()
    real, seen = RemoteStore.verified, []

    def verified(self: RemoteStore, entry: Entry) -> bool:
        if not seen:
            seen.append(Shared(bucket).collect(0))
        return real(self, entry)

    monkeypatch.setattr(RemoteStore, "verified", verified)
    assert run_toy(recipe(CHAIN), *URL).code == 0
    assert seen[0][0] == 3
    assert tree(Path("out")) == wanted


def manifest_with(entry: Entry, **outputs: object) -> dict:
    manifest = json.loads(json.dumps(entry.manifest))
    manifest["outputs"]["output"] |= outputs
    return manifest


@pytest.mark.parametrize("name", ["../../../x", "/etc/x", "a/b", "..", ".hidden", "a\\b", "", "a\0b"])
def test_names_lead_nowhere_else(home, name):
    """However well the manifest is sealed."""
    bucket = in_memory()
    entry = commit(RemoteStore(home / "a", bucket), "x")
    files = {"video.json": entry.manifest["outputs"]["output"]["files"]["video.json"], name: key_of("x")}
    hostile = manifest_with(entry, files=files, sizes=dict.fromkeys(files, 1), digest=digest_of(files))
    bucket.write({f"{place_of('entries', entry.key)}/manifest.json": sealed_manifest(hostile)})
    b = RemoteStore(home / "b", bucket)
    assert b.find(entry.key) is None
    hostile = json.loads(json.dumps(entry.manifest))
    hostile["outputs"][name] = hostile["outputs"]["output"]
    bucket.write({f"{place_of('entries', entry.key)}/manifest.json": sealed_manifest(hostile)})
    assert b.find(entry.key) is None
    before = sorted(path for path in home.rglob("*") if "b" not in path.relative_to(home).parts)
    assert content(b, "x") is None
    assert sorted(path for path in home.rglob("*") if "b" not in path.relative_to(home).parts) == before


def test_a_size_that_is_not_true_costs_nothing(home):
    bucket = in_memory()
    entry = commit(RemoteStore(home / "a", bucket), "x")
    huge = manifest_with(entry, sizes={"video.json": 1 << 60, "film.gif": 1})
    bucket.write({f"{place_of('entries', entry.key)}/manifest.json": sealed_manifest(huge)})
    b = RemoteStore(home / "b", bucket)
    assert b.find(entry.key) is not None
    assert content(b, "x") is None
    assert not [path for path in (home / "b").rglob("*") if path.is_file() and path.stat().st_size > 100]


@pytest.mark.parametrize("key", ["../../../etc/passwd", "x", 7, None, key_of("x").upper()])
def test_a_chain_that_leads_elsewhere_leads_nowhere(home, key):
    bucket = in_memory()
    name = place_of("ancestry", key_of("ancestry x"))
    bucket.write({name: json.dumps(sealed({"key": key, "note": {}}, name)).encode()})
    assert RemoteStore(home / "b", bucket).find_by_ancestry(key_of("ancestry x")) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"7", b"[" * 100000, b"\xff", b'{"sha256": 1}', b'{"key": "x", "note": {}}'])
def test_what_is_no_record_is_none(home, data):
    bucket = in_memory()
    key = key_of("x")
    bucket.write(
        {place_of("ancestry", key): data, f"{place_of('entries', key)}/manifest.json": data, f"{place_of('similar', key)}/y": data}
    )
    store = RemoteStore(home / "b", bucket)
    assert (store.find(key), store.find_by_ancestry(key), store.note(key), list(store.similar(key))) == (None, None, {}, [])
    entry = commit(store, "x", b"right")
    assert entry.key == key
    assert content(RemoteStore(home / "c", bucket), "x") == b"right", "a wreck gives way"


# many writers


def at_once(work: list[Callable[[], object]]) -> None:
    """Do all of these at once, each in a thread; none may fail."""
    start, failed = threading.Barrier(len(work)), []

    def do(one: Callable[[], object]) -> None:
        start.wait()
        try:
            one()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=do, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_many_write_the_same(kind, request, home):
    bucket = in_folder(home) if kind == "file" else Bucket.of(request.getfixturevalue("s3"))
    stores = [RemoteStore(home / f"m{number}", bucket) for number in range(8)]
    data = os.urandom(300_000)
    at_once([lambda store=store: [commit(store, f"x{number}", data) for number in range(3)] for store in stores])
    assert len(assert_whole(bucket)) == 3
    assert [content(RemoteStore(home / "b", bucket), f"x{number}") for number in range(3)] == [data] * 3


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_many_write_what_differs_under_one_key(kind, request, home):
    """As a training with a time budget would on machines that differ: one of them stands, whole, and the others do not mix with it."""
    bucket = in_folder(home) if kind == "file" else Bucket.of(request.getfixturevalue("s3"))
    stores = [RemoteStore(home / f"m{number}", bucket) for number in range(8)]
    at_once([lambda number=number, store=store: commit(store, "x", b"%d" % number * 1000) for number, store in enumerate(stores)])
    assert len(assert_whole(bucket)) == 1
    stands = content(RemoteStore(home / "b", bucket), "x")
    assert stands in [b"%d" % number * 1000 for number in range(8)]
    assert [content(RemoteStore(store.root, bucket), "x") for store in stores] == [stands] * 8, "all take that one from then on"


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_many_write_and_read_and_collect(kind, request, home):
    bucket = in_folder(home) if kind == "file" else Bucket.of(request.getfixturevalue("s3"))
    stores = [RemoteStore(home / f"m{number}", bucket) for number in range(6)]

    def write(number: int, store: RemoteStore) -> None:
        for name in range(4):
            commit(store, f"{number}-{name}", b"%d" % name * 500)

    def read(store: RemoteStore) -> None:
        for number, name in itertools.product(range(6), range(4)):
            assert content(store, f"{number}-{name}") in (None, b"%d" % name * 500)

    def collect() -> None:
        for _ in range(3):
            Shared(bucket).collect(4000)

    readers = [RemoteStore(home / f"r{number}", bucket) for number in range(2)]
    work = [lambda number=number, store=store: write(number, store) for number, store in enumerate(stores)]
    at_once([*work, *(lambda store=store: read(store) for store in readers), collect])
    fresh = RemoteStore(home / "fresh", bucket)
    for number, name in itertools.product(range(6), range(4)):
        assert content(fresh, f"{number}-{name}") in (None, b"%d" % name * 500)
    assert_whole(bucket)


def test_a_run_goes_on_with_what_it_made_and_the_next_takes_what_stands(home):
    """Else pictures that were made of the one would be kept as if they were made of the other."""
    bucket = in_memory()
    a, b = (RemoteStore(home / name, bucket) for name in "ab")
    commit(a, "x", b"first")
    own = commit(b, "x", b"second")
    assert b._here(own.key).manifest["outputs"] == own.manifest["outputs"]
    assert b.verified(own)
    assert b.note(key_of("ancestry x"))["outputs"] == own.manifest["outputs"]
    assert Shared(bucket).chain(key_of("ancestry x"))["note"]["outputs"] != own.manifest["outputs"]
    assert content(b, "x") == b"first"
    assert b.hold(own) is None


def test_of_two_that_write_at_once_the_first_stands(home, monkeypatch):
    """The other comes between the look and the manifest."""
    bucket = in_memory()
    a, b = (RemoteStore(home / name, bucket) for name in "ab")
    first, real = [], bucket.put

    def put(sources) -> None:
        if not first:
            first.append(None)
            first.append(commit(a, "x", b"first"))
        real(sources)

    monkeypatch.setattr(bucket, "put", put)
    commit(b, "x", b"second")
    monkeypatch.undo()
    assert Shared(bucket).manifests([first[1].key]) == [first[1].manifest]
    assert Shared(bucket).chain(key_of("ancestry x"))["note"]["outputs"] == first[1].manifest["outputs"], "the note is that of what stands"
    assert [content(store, "x") for store in (a, b, RemoteStore(home / "c", bucket))] == [b"first"] * 3


# workers


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(spread, "FIRST_SEC", 0.0)
    monkeypatch.setattr(spread, "PART_SEC", 1e-9)
    monkeypatch.setattr(spread, "MOST_PER_SEC", math.inf)


def test_workers_that_share_nothing_else(recipe, home, small_parts, wanted, at, toy_log):
    bucket = at(in_memory())
    stores = [RemoteStore(home / name, bucket) for name in ("driver", "w1", "w2", "w3")]
    order = order_of(recipe(CHAIN), home / "nowhere")
    hands, _ = run_spread(order, size=3, stores=stores)
    assert sum(task.part for task in hands.tasks) > 3
    assert tree(Path("spread")) == wanted
    assert not (home / "nowhere").exists()
    assert sorted(entry.manifest["stage"] for entry in assert_whole(bucket)) == ["toy.invert", "toy.noise", "toy.train"]
    assert not [name for name in bucket.listing("similar") if "(part)" in name]
    assert len(bucket.listing("similar")) == len(bucket.listing("ancestry")) == 3, "nothing is left of the parts"
    toy_log()
    hands, _ = run_spread(order, size=3, stores=[RemoteStore(home / f"{name}2", bucket) for name in ("driver", "w1", "w2", "w3")])
    assert (hands.tasks, toy_log()) == ([], [])


def test_workers_get_what_the_driver_had_already(run_toy, recipe, home, machine, small_parts, wanted, at, toy_log):
    bucket = at(in_memory())
    root = machine("driver")
    run_toy(recipe(CHAIN), "--until", "noise")
    toy_log()
    stores = [RemoteStore(root, bucket), *(RemoteStore(home / name, bucket) for name in ("w1", "w2"))]
    run_spread(order_of(recipe(CHAIN), home / "nowhere"), stores=stores)
    assert not [line for line in toy_log() if line.startswith("noise")]
    assert tree(Path("spread")) == wanted


def test_a_driver_on_another_machine_goes_on_with_the_parts(recipe, home, small_parts, wanted, at, toy_log):
    bucket = at(in_memory())
    count = 0

    def fate(task):
        nonlocal count
        count += task.stage == "noise"
        if count == 4:
            raise KeyboardInterrupt
        return

    order = order_of(recipe(CHAIN), home / "nowhere")
    with pytest.raises(KeyboardInterrupt):
        run_spread(order, fate=fate, stores=[RemoteStore(home / name, bucket) for name in ("a", "w1", "w2")])
    before = {line for line in toy_log() if line.startswith("noise")}
    run_spread(order, stores=[RemoteStore(home / name, bucket) for name in ("b", "w3", "w4")])
    after = {line for line in toy_log() if line.startswith("noise")}
    assert len(before - after) >= 2, "parts that were found are not made again"
    assert tree(Path("spread")) == wanted


def test_lost_workers_with_stores_of_their_own(recipe, home, small_parts, wanted, at):
    bucket = at(in_memory())
    seen = []

    def fate(task):
        seen.append(task)
        return Lost(task, "its process ended") if len(seen) % 3 == 0 else None

    run_spread(
        order_of(recipe(CHAIN), home / "nowhere"), fate=fate, stores=[RemoteStore(home / name, bucket) for name in ("a", "w1", "w2")]
    )
    assert tree(Path("spread")) == wanted
    assert_whole(bucket)


def other_noise(store: RemoteStore, key: str) -> Entry:
    """Pictures of another content under the key, in the store of one machine alone."""
    noise = store.find(key)
    assert store.verified(noise)
    manifest = json.loads(json.dumps(noise.manifest))
    output = manifest["outputs"]["output"]
    pixels = store._place("entries", key) / "output" / "pixels.bin"
    pixels.unlink()
    pixels.write_bytes(b"\7" * output["sizes"]["pixels.bin"])
    output["files"]["pixels.bin"] = hashlib.sha256(pixels.read_bytes()).hexdigest()
    output["digest"] = digest_of(output["files"])
    (pixels.parent.parent / "manifest.json").write_bytes(sealed_manifest(manifest))
    return store._here(key)


def test_a_worker_with_another_content_of_an_input_takes_that_of_the_driver(recipe, home, wanted, at, small_parts):
    """As one that made it too, and came second."""
    bucket = at(in_memory())
    stores = [RemoteStore(home / name, bucket) for name in ("a", "w1", "w2")]
    replaced = []

    def fate(task):
        if task.stage != "noise" and not replaced:
            for worker in workers:
                step = worker.runner.steps["noise"]
                step.entry = other_noise(worker.store, task.inputs["noise"])
                worker.store._agreed.clear()
                worker.store._verified.clear()
                replaced.append(step.entry)
        return

    workers = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Hands, "__init__", _telling(Hands.__init__, workers))
        run_spread(order_of(recipe(CHAIN), home / "nowhere"), fate=fate, stores=stores)
    assert len(replaced) == 2
    assert tree(Path("spread")) == wanted


def _telling(init, workers):
    def begin(self, *arguments, **named):
        init(self, *arguments, **named)
        workers.extend(self.workers)

    return begin


def test_a_worker_that_cannot_have_what_the_driver_means_says_so(recipe, home, at, small_parts):
    bucket = at(in_memory())
    stores = [RemoteStore(home / name, bucket) for name in ("a", "w1", "w2")]

    def fate(task):
        if task.stage != "noise":
            for store in stores[1:]:
                store.discard(task.inputs["noise"])
            for worker in workers:
                worker.runner.steps["noise"].entry = None
        return

    workers = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Hands, "__init__", _telling(Hands.__init__, workers))
        with pytest.raises(ResourceError, match=r"the result of 'noise' is not in the store s3://memory/a") as caught:
            run_spread(order_of(recipe(CHAIN), home / "nowhere"), fate=fate, stores=stores)
    assert "--store" in caught.value.hint


# listings and requests


def test_a_listing_that_lags_behind_hides_nothing(run_toy, recipe, machine, at, wanted, monkeypatch, toy_log):
    bucket = at(in_memory())
    monkeypatch.setattr(bucket.files, "find", lambda *arguments, **named: {})
    machine("a")
    run_toy(recipe(CHAIN), *URL)
    machine("b")
    clear()
    toy_log()
    assert run_toy(recipe(CHAIN), *URL).made() == []
    assert (tree(Path("out")), toy_log()) == (wanted, [])


def test_a_listing_of_what_is_gone_breaks_nothing(cli, run_toy, recipe, machine, at, monkeypatch):
    bucket = at(in_memory())
    machine("a")
    run_toy(recipe(CHAIN), *URL)
    listed = bucket.files.find(bucket.root, withdirs=False, detail=True)
    bucket.remove_many(bucket._listed(bucket.root))
    monkeypatch.setattr(bucket.files, "find", lambda *arguments, **named: dict(listed))
    for words in (("info",), ("verify",), ("gc", "--max-size", "0")):
        assert cli("cache", *words, *URL).code == 0
    machine("b")
    assert run_toy(recipe(CHAIN), *URL).code == 0


def test_requests_are_few(home):
    bucket = in_memory()
    real = bucket.files
    broken = bucket.files = Broken(real)
    store = RemoteStore(home / "a", bucket)
    commit(store, "x")
    assert broken.asked == ["cat_ranges", "put", "pipe", "pipe_file"], "is it there? the files; what leads to it; the manifest"
    broken.asked.clear()
    assert store.find_by_ancestry(key_of("ancestry x")) is not None
    assert broken.asked == [], "what this process has put there is known to be there"
    store = RemoteStore(home / "a", bucket)
    assert store.find_by_ancestry(key_of("ancestry x")) is not None
    assert broken.asked == ["cat_ranges"], "is it the same there?"
    broken.asked.clear()
    other = RemoteStore(home / "b", bucket)
    assert content(other, "x") is not None
    assert broken.asked == ["cat_ranges"] * 3, "the chain, the manifest, all files"


def test_a_plan_asks_for_all_stages_at_once(cli, run_toy, recipe, machine, at):
    bucket = at(in_memory())
    stages = "".join(f'[[stage]]\nuses = "toy.noise"\nid = "n{number}"\ncount = 1\n' for number in range(12))
    machine("a")
    assert run_toy(recipe(stages), *URL).code == 0
    broken = bucket.files = Broken(bucket.files)
    for name in ("a", "b"):
        machine(name)
        broken.asked.clear()
        assert "everything is cached" in cli("plan", recipe(stages), "-p", TOYS, "--device", "cpu", *URL).out
        assert len(broken.asked) <= 2


# looking after it


def test_info_verify_and_gc_of_a_shared_store(cli, run_toy, recipe, machine, bucket, at, wanted):
    at(bucket)
    root = machine("a")
    run_toy(recipe(CHAIN), *URL)
    here = sorted(entry.key for entry in Store(root).entries())
    about = json.loads(cli("cache", "info", "--json", *URL).out)
    assert (about["path"], about["entries"], about["work_bytes"]) == (bucket.url, 3, 0)
    assert about["bytes"] == sum(stage["bytes"] for stage in about["stages"].values()) > 0
    assert json.loads(cli("cache", "verify", "--json", *URL).out) == {"sound": 3, "damaged": []}
    names = sorted(bucket.listing("entries"))
    pixels = next(name for name in names if name.endswith("pixels.bin"))
    wreck = next(name for name in names if name.endswith("manifest.json") and not pixels.startswith(name.rpartition("/")[0]))
    bucket.write({pixels: b"\7", wreck: b"{}"})
    found = json.loads(cli("cache", "verify", "--json", *URL).out)
    assert found["sound"] == 1
    assert sorted(item["files"] for item in found["damaged"]) == [["manifest.json"], ["output/pixels.bin"]]
    assert json.loads(cli("cache", "verify", "--json", *URL).out) == {"sound": 1, "damaged": []}
    assert sorted(entry.key for entry in Store(root).entries()) == here, "this machine's is left alone"
    clear()
    machine("b")
    assert run_toy(recipe(CHAIN), *URL).code == 0
    assert tree(Path("out")) == wanted
    assert json.loads(cli("cache", "gc", "--max-size", "0", "--json", *URL).out)["removed"] == 3
    assert [name for name in bucket._listed(bucket.root) if name != "store.json"] == []
    assert json.loads(cli("cache", "info", "--json", *URL).out)["entries"] == 0


def test_the_variable_does_not_make_gc_one_of_the_shared_store(cli, run_toy, recipe, machine, at, monkeypatch):
    bucket = at(in_memory())
    root = machine("a")
    run_toy(recipe(CHAIN), *URL)
    monkeypatch.setenv("GENART_STORE", URL[1])
    assert json.loads(cli("cache", "gc", "--max-size", "0", "--json").out)["removed"] == 3
    assert not list(Store(root).entries())
    assert len(assert_whole(bucket)) == 3


def test_gc_removes_the_oldest_first(cli, home, at):
    bucket = at(in_folder(home))
    store = RemoteStore(home / "a", bucket)
    entries = [commit(store, f"x{number}", b"%d" % number * 1000) for number in range(4)]
    for age, entry in enumerate(entries):
        for path in (home / "shared" / place_of("entries", entry.key)).rglob("*"):
            os.utime(path, (path.stat().st_mtime - 100 * age,) * 2)
    each = sum(held.bytes for held in Shared(bucket).held()) // 4
    assert Shared(bucket).collect(int(2.5 * each))[0] == 2
    assert {entry.key for entry in Shared(bucket).entries()} == {entry.key for entry in entries[:2]}
    assert json.loads(cli("cache", "gc", "--older-than", str(50 / 86400), "--json", *URL).out)["removed"] == 1
    assert {entry.key for entry in Shared(bucket).entries()} == {entries[0].key}
    assert list(bucket.listing("similar")) == [f"{place_of('similar', key_of('partial'))}/{entries[0].key}"]
    assert len(bucket.listing("ancestry")) == 4, "what they were stays noted"
    aside = home / "shared" / ".killed.0123.tmp"
    aside.write_bytes(b"half")
    os.utime(aside, (0, 0))
    Shared(bucket).collect(1 << 30)
    assert not aside.exists()
    assert json.loads(cli("cache", "gc", "--older-than", "0", "--json", *URL).out)["removed"] == 1


def test_gc_removes_files_of_no_result_when_they_are_old(home, monkeypatch):
    bucket = in_memory()
    store = RemoteStore(home / "a", bucket)
    entry = commit(store, "x", b"old")
    commit(store, "x", b"newer", replace=True)
    half = commit(store, "y", b"half")
    bucket.remove(f"{place_of('entries', half.key)}/manifest.json")
    shared = Shared(bucket)
    names = bucket.listing("entries")
    assert shared.collect(1 << 30) == (0, 0)
    assert bucket.listing("entries") == names, "somebody may be writing them"
    monkeypatch.setattr(remote, "GRACE_SEC", -1.0)
    removed, freed = shared.collect(1 << 30)
    assert (removed, freed > 0) == (0, True)
    left = bucket.listing("entries")
    assert len(left) == 3
    assert all(name.startswith(place_of("entries", entry.key)) for name in left)
    assert content(RemoteStore(home / "b", bucket), "x") == b"newer"


def test_a_result_that_is_taken_away_before_it_is_shared(home, monkeypatch):
    bucket = in_memory()
    store = RemoteStore(home / "a", bucket)
    monkeypatch.setattr(RemoteStore, "hold", lambda self, entry: None)
    with pytest.raises(ResourceError, match="was taken away before it was shared"):
        commit(store, "x")
