"""A shared store on S3: what is told when it cannot be used, wires that break, and credentials, which are told to nobody."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from genart import bucket as module
from genart.bucket import Bucket
from genart.errors import ResourceError
from genart.remote import RemoteStore
from tests.conftest import TOYS, tree

from .s3 import KEY, S3, SECRET, TOKEN, Wire, free_port
from .test_remote import CHAIN, assert_whole, commit, content

CANARIES = (KEY, SECRET, TOKEN)


@pytest.fixture(scope="module")
def strict() -> Iterator[S3]:
    """An S3 that lets nobody in."""
    found = S3(strict=True)
    yield found
    found.close()


@pytest.fixture
def wire(server: S3, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Wire]]:
    """Go by way of a wire from now on: wire(breaks) -> Wire."""
    made: list[Wire] = []

    def lay(breaks: Callable[[int, bytes], bool]) -> Wire:
        made.append(Wire(server.port, breaks))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made[-1].port}")
        return made[-1]

    yield lay
    for one in made:
        one.close()


def told(cli, path: Path, url: str, *more: str, code: int = 5) -> str:
    """What a run that cannot use its store says; in two lines, and without credentials."""
    result = cli("run", path, "-p", TOYS, "--device", "cpu", "--quiet", "--store", url, *more)
    assert result.code == code, result.err
    assert len(result.err.strip().splitlines()) == 2, result.err
    assert not [canary for canary in CANARIES if canary in result.out + result.err]
    return result.err


def test_there_is_no_such_bucket(cli, recipe, s3, toy_log):
    assert "the store s3://no-such-bucket/a: there is no such bucket" in told(cli, recipe(CHAIN), "s3://no-such-bucket/a")
    assert toy_log() == []
    for words in (("plan", "r.toml", "-p", TOYS), ("cache", "info"), ("cache", "verify"), ("cache", "gc")):
        result = cli(*words, "--store", "s3://no-such-bucket/a")
        assert (result.code, "there is no such bucket" in result.err) == (5, True)


def test_access_is_denied(cli, recipe, s3, strict, monkeypatch, toy_log):
    monkeypatch.setenv("AWS_ENDPOINT_URL", strict.endpoint)
    assert f"the store {s3}: access is denied" in told(cli, recipe(CHAIN), s3)
    assert toy_log() == []


def test_nothing_answers(cli, recipe, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert f"the store {s3}: nothing answers there" in told(cli, recipe(CHAIN), s3)


def test_there_are_no_credentials(cli, recipe, s3, strict, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", strict.endpoint)
    assert f"the store {s3}: there are no credentials for it" in told(cli, recipe(CHAIN), s3)


def test_an_address_with_credentials_is_not_repeated(cli, recipe):
    text = told(cli, recipe(CHAIN), f"s3://{KEY}:{SECRET}@bucket/a", code=7)
    assert "--store: an address with a user name or a password in it is refused" in text


@pytest.mark.parametrize("every", [2, 5])
def test_a_wire_that_breaks_now_and_then_is_not_noticed(run_toy, recipe, machine, wire, s3, every):
    machine("alone")
    run_toy(recipe(CHAIN), "--out", "alone")
    one = wire(lambda number, first: number % every == 0)
    for name in "ab":
        machine(name)
        result = run_toy(recipe(CHAIN), "--out", name, "--store", s3)
        assert result.code == 0, result.err
        assert tree(Path(name)) == tree(Path("alone"))
    assert result.made() == []
    assert one.broken > 5


def test_a_wire_that_breaks_whenever_something_is_written(run_toy, recipe, machine, wire, s3, monkeypatch, toy_log):
    """After some attempts the run ends; what it made is kept, and the next run has it."""
    machine("a")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    one = wire(lambda number, first: first.startswith(b"PUT") and b"/entries/" in first.partition(b"\r\n")[0])
    result = run_toy(recipe(CHAIN), "--store", s3)
    assert result.code == 5
    assert f"the store {s3}: nothing answers there" in result.err
    assert one.broken >= 5, "it was tried again"
    made = toy_log()
    assert made
    one.breaks = lambda number, first: False
    assert run_toy(recipe(CHAIN), "--store", s3).code == 0
    assert not {*made} & {*toy_log()}
    assert_whole(Bucket.of(s3))


def test_large_results_go_in_pieces(s3, home, monkeypatch):
    """More than one piece, up and down."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 1 << 20)
    data = bytes(range(256)) * 4096 * 9 + b"end"
    commit(RemoteStore(home / "a", Bucket.of(s3)), "x", data)
    assert content(RemoteStore(home / "b", Bucket.of(s3)), "x") == data


def test_an_upload_in_parts_that_breaks_leaves_nothing_to_be_seen(s3, home, wire, monkeypatch):
    bucket = Bucket.of(s3)
    size = 101 << 20
    Path("large").write_bytes(bytes(size))
    one = wire(lambda number, first: b"partNumber=2" in first)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    broken = Bucket.of(s3)
    with pytest.raises(ResourceError, match="nothing answers there"):
        broken.put({"large": Path("large")})
    assert one.broken
    assert bucket.read(["large"], 9) == [None]
    one.breaks = lambda number, first: False
    broken.put({"large": Path("large")})
    assert sum(len(data or b"") for _, data in bucket.stream({"large": size})) == size


def test_credentials_are_in_nothing_that_is_written_or_told(run_toy, cli, recipe, machine, s3, home, strict, genart_process):
    told_ = []
    for name in "ab":
        machine(name)
        result = run_toy(recipe(CHAIN), "--store", s3, "--out", name)
        told_.append(result)
        for words in (("plan", "r.toml", "-p", TOYS), ("plan", "r.toml", "-p", TOYS, "--json"), ("cache", "info"), ("cache", "verify")):
            told_.append(cli(*words, "--store", s3))
        told_ += [cli("report", name), cli("show", f"{name}/model.safetensors", "-p", TOYS)]
    bucket = Bucket.of(s3)
    names = bucket._listed(bucket.root)
    there = dict(zip(names, bucket.read(list(names), 1 << 20), strict=True))
    texts = [result.out + result.err for result in told_]
    for flags in ((), ("--debug",)):
        process = genart_process(*flags, "run", "r.toml", "-p", TOYS, "--store", s3, AWS_ENDPOINT_URL=strict.endpoint)
        texts.append("".join(process.communicate()))
        assert "access is denied" in texts[-1]
        assert ("Traceback" in texts[-1]) == bool(flags)
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()] + [data or b"" for data in there.values()]
    assert len(there) > 15
    for canary in CANARIES:
        assert not [text for text in texts if canary in text]
        assert not [data for data in files if canary.encode() in data]
    address = s3.removeprefix("s3://").partition("/")[0]
    outputs = [path for name in "ab" for path in Path(name).rglob("*") if path.is_file()]
    assert outputs
    assert not [path for path in outputs if address.encode() in path.read_bytes()], "an output does not tell the address either"
    assert not [name for name, data in there.items() if address.encode() in (data or b"")]


def test_a_recipe_names_no_store(cli, recipe):
    path = recipe(CHAIN)
    for key in ("store", "shared"):
        path.write_text(path.read_text().replace("seed = 3", f'seed = 3\n{key} = "s3://bucket/a"'))
        result = cli("check", path, "-p", TOYS)
        assert result.code == 2
        path = recipe(CHAIN)


def test_help_and_check_do_not_load_it(genart_process, recipe):
    for words in (("--help",), ("run", "--help"), ("check", recipe(CHAIN), "-p", TOYS), ("plan", "r.toml", "-p", TOYS, "--json")):
        code = "import atexit, sys; atexit.register(lambda: print(sorted({'torch', 'fsspec', 's3fs'} & {*sys.modules}), file=sys.stderr)); "
        process = genart_process(*words, prelude=code)
        _, err = process.communicate()
        assert process.returncode == 0, err
        assert err.strip().splitlines()[-1] == "[]"


def test_a_plan_of_a_shared_store_loads_no_torch(genart_process, recipe, home):
    (home / "shared").mkdir()
    code = "import atexit, sys; atexit.register(lambda: print(sorted({'torch', 'fsspec', 's3fs'} & {*sys.modules}), file=sys.stderr)); "
    process = genart_process("plan", recipe(CHAIN), "-p", TOYS, "--json", "--store", f"file://{home}/shared", prelude=code)
    out, err = process.communicate()
    assert (process.returncode, err.strip().splitlines()[-1]) == (0, "['fsspec']"), err
    assert len(json.loads(out)["stages"]) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="as in test_ray.py")
def test_a_run_on_ray_with_a_store_on_s3(run_toy, recipe, machine, s3, genart_process, home):
    """Another machine takes all of it from there."""
    machine("alone")
    run_toy(recipe(CHAIN), "--out", "alone")
    words = ("run", "r.toml", "--out", "ray", "--on", "ray", "-p", TOYS, "--device", "cpu", "--json", "--store", s3)
    process = genart_process(*words, XDG_CACHE_HOME=str(home / "a"))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert tree(Path("ray")) == tree(Path("alone"))
    assert [event["stage"] for event in map(json.loads, out.splitlines()) if event["event"] == "stage_finished"]
    machine("b")
    assert run_toy(recipe(CHAIN), "--store", s3).made() == []
    assert len(assert_whole(Bucket.of(s3))) == 3
