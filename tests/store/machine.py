"""The store against a dict: whatever is done to it in whatever order, what it gives is what was put, or nothing.

`python -m tests.store.machine --examples N` runs many histories; hypothesis prints the steps of one that fails.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from genart.artifacts import open_regular
from genart.store import Entry, Store

from .damage import OF_FILES, Place

#: Where a process may die: functions that change something on disk.
STEPS = ("mkdir", "rename", "replace", "link", "unlink", "rmdir", "open")
KEYS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(4)]
#: Harms that need no terabyte and no hundred thousand brackets.
HARMS = sorted(set(OF_FILES) - {"a sparse terabyte", "deep", "a long number", "link to endless zeros"})

keys = st.sampled_from(KEYS)
whoever = st.sampled_from([0, 1])


def pixels_of(key: str) -> bytes:
    """What the stage of this key makes, whoever runs it."""
    return hashlib.sha256(f"pixels of {key}".encode()).digest() * (2 + KEYS.index(key) * 10)


def ancestry_of(key: str) -> str:
    """Key of the chain that leads to it."""
    return hashlib.sha256(f"chain of {key}".encode()).hexdigest()


def put(store: Store, key: str, *, replace: bool = False) -> None:
    """Be a stage: work under the lock, and commit."""
    with store.lock(ancestry_of(key), lambda: None, lambda: None):
        folder = store.work(ancestry_of(key)) / "outputs" / "output"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        data = pixels_of(key)
        (folder / "pixels.bin").write_bytes(data[: len(data) // 2])
        with open(folder / "pixels.bin", "ab") as file:
            file.write(data[len(data) // 2 :])
        (folder / "index.json").write_text(json.dumps({"runs": [[1, 1, len(data), 1]], "fps": None, "meta": False}))
        store.commit(
            key,
            ancestry=ancestry_of(key),
            partial="0" * 64,
            kinds={"output": "images"},
            work=store.work(ancestry_of(key)),
            about={"stage": "toy", "seconds": 0.0, "parts": {"params": {}}},
            replace=replace,
        )


def content(entry: Entry) -> bytes:
    """What an entry holds; nothing of the kind if there is no file."""
    try:
        with open_regular(entry.folder / "output" / "pixels.bin") as file:
            return file.read()
    except (OSError, ValueError):
        return b"no file"


def get(store: Store, entry: Entry | None) -> bytes | None:
    """Be a reader: verify, hold, read."""
    if entry is None or not store.verified(entry):
        return None
    held = store.hold(entry)
    return None if held is None else content(held)


def in_a_child(act: Callable[[], None]) -> int:
    """Fork a process that does something; return its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return child


def dying(at: int) -> contextlib.AbstractContextManager[Any]:
    """In a child: die at the n-th step, before or after it is done."""
    count = [0]
    stack = contextlib.ExitStack()

    def mortal(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] == at // 2 and at % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            done = real(*arguments, **named)
            if count[0] == at // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return step

    for name in STEPS:
        stack.enter_context(patch.object(os, name, mortal(getattr(os, name))))
    return stack


class StoreMachine(RuleBasedStateMachine):
    """Two long-lived processes with a store, and others that come, go, and die."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="store-machine-"))
        self.outside = self.base / "outside"
        self.outside.mkdir()
        self.root = self.base / "store"
        self.stores = [Store(self.root), Store(self.root)]
        self.whole: set[str] = set()
        self.lost: set[str] = set()  # chains whose note was damaged
        self.no_sync = patch.object(os, "fsync", lambda handle: None)
        self.no_sync.start()

    def teardown(self) -> None:
        """Remove it all."""
        self.no_sync.stop()
        shutil.rmtree(self.base)

    # what is done

    @rule(key=keys, who=whoever, replace=st.booleans())
    def put(self, key: str, who: int, replace: bool) -> None:
        """A stage ends."""
        put(self.stores[who], key, replace=replace)
        self.whole.add(key)
        self.lost.discard(key)

    @rule(key=keys, at=st.integers(2, 120), replace=st.booleans())
    def put_and_die(self, key: str, at: int, replace: bool) -> None:
        """A process is killed at a step of it."""

        def act() -> None:
            with dying(at):
                put(Store(self.root), key, replace=replace)

        os.waitpid(in_a_child(act), 0)
        if Store(self.root).find(key) is None:  # it may have died before the new one was there, and after the old one went
            assert replace or key not in self.whole, "a whole result was lost"
            self.whole.discard(key)
        else:
            self.whole |= {key} if not Store(self.root).find(key).damaged() else set()
        self.lost.add(key)

    @rule(key=keys, locks=st.booleans(), other=keys)
    def two_at_once(self, key: str, other: str, locks: bool) -> None:
        """Two processes put at once, with locks or without."""

        def act() -> None:
            import fcntl

            with contextlib.nullcontext() if locks else patch.object(fcntl, "flock", lambda file, operation: None):
                put(Store(self.root), key)
                put(Store(self.root), other)

        children = [in_a_child(act), in_a_child(act)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        self.whole |= {key, other}
        self.lost -= {key, other}

    @rule(key=keys, name=st.sampled_from(HARMS), which=st.integers(0, 2))
    def damage(self, key: str, name: str, which: int) -> None:
        """Something happens to a file of an entry."""
        folder = self.root / "entries" / key[:2] / key
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) if folder.is_dir() else []
        if len(files) != 3:
            return
        shutil.rmtree(self.outside)
        self.outside.mkdir()
        others = [path for path in self.root.glob("entries/??/*/manifest.json") if folder not in path.parents and path.is_file()]
        before = files[which].read_bytes()
        OF_FILES[name](Place(files[which], others[0] if others else files[(which + 1) % 3], self.outside))
        path = files[which]
        if path.is_symlink() or not path.is_file() or path.read_bytes() != before:
            self.whole.discard(key)

    @rule(key=keys, kind=st.sampled_from(["ancestry", "notes"]), share=st.floats(0, 0.99), cut=st.booleans())
    def damage_a_note(self, key: str, kind: str, share: float, cut: bool) -> None:
        """A small file is cut, or a bit of it turned."""
        path = self.root / kind / ancestry_of(key)[:2] / ancestry_of(key)
        if path.is_file():
            data = bytearray(path.read_bytes())
            at = int(share * len(data))
            if cut:
                del data[at:]
            elif data:
                data[at] ^= 1
            path.write_bytes(data)
            self.lost.add(key)

    @rule(cap=st.integers(0, 4000), who=whoever)
    def clean_up(self, cap: int, who: int) -> None:
        """Results go until the rest fits."""
        store = self.stores[who]
        before = {entry.key: entry.bytes for entry in store.entries()}
        store.collect(cap)
        left = {entry.key: entry.bytes for entry in store.entries()}
        assert sum(left.values()) <= cap
        assert left == before or sum(before.values()) > cap, "nothing goes without need"
        assert store.sweep_wrecks() == 0
        self.whole &= set(left)

    @rule(key=keys, days=st.integers(-4000, 4000))
    def clock(self, key: str, days: int) -> None:
        """The time of a result is of another decade."""
        folder = self.root / "entries" / key[:2] / key
        if folder.is_dir():
            os.utime(folder, (time.time() + days * 86400,) * 2)

    @rule(key=keys, who=whoever)
    def read_while_another_cleans_up(self, key: str, who: int) -> None:
        """What is held can be read although it has been removed."""
        reader = Store(self.root)
        entry = reader.find(key)
        if entry is None or not reader.verified(entry):
            return
        held = reader.hold(entry)
        assert held is not None
        self.stores[who].collect(0)
        self.whole.clear()
        assert content(held) == pixels_of(key)
        assert reader.hold(entry) == held
        reader.release()
        assert Store(self.root).find(key) is None

    # what holds

    @rule(key=keys)
    def get(self, key: str) -> None:
        """A new process reads."""
        store = Store(self.root)
        found = get(store, store.find(key))
        store.release()
        assert found in (None, pixels_of(key))
        assert found is not None or key not in self.whole, "what was put is gone"
        if found is None:
            assert store.find(key) is None, "a damaged entry stays"
        else:
            self.whole.add(key)

    @rule(key=keys)
    def get_by_chain(self, key: str) -> None:
        """A new process reads what its chain gave before."""
        store = Store(self.root)
        entry = store.find_by_ancestry(ancestry_of(key))
        found = get(store, entry)
        store.release()
        assert found in (None, pixels_of(key))
        assert found is not None or key not in self.whole or key in self.lost, "what was put is not found"
        note = store.note(ancestry_of(key))
        assert set(note) in (set(), {"outputs"})
        if note:
            assert note["outputs"]["output"]["files"]["pixels.bin"] == hashlib.sha256(pixels_of(key)).hexdigest()

    @rule()
    def sweep(self) -> None:
        """What the dead left goes; after this nothing temporary is there."""
        store = Store(self.root)
        store.sweep_temporary()
        for key in KEYS:
            store.forget(ancestry_of(key))
        left = [path for kind in ("tmp", "scratch", "work") for path in self.root.glob(f"{kind}/*")]
        assert left == []
        assert not [path for path in self.root.rglob("*") if path.name.endswith(".tmp")]

    @invariant()
    def what_was_put_is_there(self) -> None:
        """A whole entry stays whole until somebody removes or damages it."""
        store = Store(self.root)
        for key in self.whole:
            entry = store.find(key)
            assert entry is not None
            assert entry.damaged() == []


def run(examples: int, steps: int, *, shrink: bool = True) -> None:
    """Try so many histories of so many steps."""
    from hypothesis import Phase

    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=not shrink,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
    )
    run_state_machine_as_test(StoreMachine, settings=chosen)


def main() -> None:
    """Run many histories."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    began = time.monotonic()
    run(options.examples, options.steps)
    print(f"{options.examples} histories of up to {options.steps} steps in {time.monotonic() - began:.0f} s: all as they should be")


if __name__ == "__main__":
    main()
