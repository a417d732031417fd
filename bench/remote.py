"""What a shared store costs: to put a result there, to fetch it, to look for it; in seconds, in bytes a second, and in requests.

    python bench/remote.py [--sizes 0.01 1 100] [--times 5] [--latency 0]

The S3 is moto's, in a process of its own on this machine (`pip install 'moto[s3,server]' s3fs`): figures for the code and the protocol,
not for a network. `--latency` adds so many milliseconds to every request, as a network would. A folder of this machine (file://) and the
store of one machine stand beside it. A result is a film, one file of that many megabytes, and a record of it; a row the median of several.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from rich.table import Table

from genart.bucket import Bucket
from genart.remote import RemoteStore
from genart.store import Store, sha256_of
from tests.cluster.s3 import S3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.01, 1, 100], metavar="MB")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.0, metavar="MS")
    options = parser.parse_args()
    server = S3()
    os.environ.update(server.variables())
    table = Table("store", "MB", "put s", "MB/s", "requests", "fetch s", "MB/s", "requests", "look s", "requests")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for size in options.sizes:
                for kind in ("one machine", "file://", "s3:// (moto)"):
                    table.add_row(*row(kind, size, options, server, Path(folder) / f"{kind[:4].strip(':/ ')}-{size}"))
    finally:
        server.close()
    Console(width=110).print(table)


def row(kind: str, size: float, options: argparse.Namespace, server: S3, folder: Path) -> list[str]:
    """One row of the table."""
    count = Counter(options.latency / 1000)
    bucket = bucket_of(kind, server, folder, count)
    data = os.urandom(int(size * 1e6))
    put, fetch, look = [], [], []
    for number in range(options.times + 1):  # the first opens the connection, and does not count
        one, other = (store(folder / name, bucket) for name in (f"a{number}", f"b{number}" if bucket else f"a{number}"))
        film = staged(one, data)
        put.append(measured(count, lambda one=one, film=film, number=number: commit(one, film, number)))
        look.append(
            measured(count, lambda number=number, folder=folder, bucket=bucket: store(folder / f"c{number}", bucket).find(key(number)))
        )
        found = other.find(key(number))
        assert found is not None
        fetch.append(measured(count, lambda other=other, found=found: other.verified(found)))
    cells = [kind, f"{size:g}"]
    for what, many in ((put, True), (fetch, True), (look, False)):
        seconds = statistics.median(second for second, _ in what[1:])
        requests = statistics.median(number for _, number in what[1:])
        cells += [f"{seconds:.3f}", *([f"{size / seconds:.0f}"] if many else []), f"{requests:g}" if kind.startswith("s3") else ""]
    return cells


class Counter:
    """Counts requests to S3, and lets each take longer."""

    def __init__(self, wait_sec: float) -> None:
        self.wait_sec, self.count = wait_sec, 0

    def watch(self, files: Any) -> None:
        """Count what a file system asks from now on."""
        real = files._call_s3

        async def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            await asyncio.sleep(self.wait_sec)
            return await real(*arguments, **named)

        files._call_s3 = call


def bucket_of(kind: str, server: S3, folder: Path, count: Counter) -> Bucket | None:
    """An empty bucket of a kind."""
    if kind == "one machine":
        return None
    if kind == "file://":
        (folder / "shared").mkdir(parents=True)
        return Bucket.of(f"file://{folder}/shared")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    name = f"b{uuid.uuid4().hex}"
    server.make(name)
    bucket = Bucket.of(f"s3://{name}/a")
    count.watch(bucket.files)
    return bucket


def store(root: Path, bucket: Bucket | None) -> Store:
    """The store of a machine."""
    return Store(root) if bucket is None else RemoteStore(root, bucket)


def key(number: int) -> str:
    """The key of a result."""
    return f"{number:064x}"


def staged(one: Store, data: bytes) -> Path:
    """What a stage leaves."""
    work = one.root / "work" / "bench"
    (work / "outputs" / "output").mkdir(parents=True)
    (work / "outputs" / "output" / "video.json").write_text(json.dumps({"file": "film.gif", "fps": 5.0, "count": 1}))
    (work / "outputs" / "output" / "film.gif").write_bytes(data)
    sha256_of(work / "outputs" / "output" / "film.gif")
    return work


def commit(one: Store, work: Path, number: int) -> None:
    """Put it into the store."""
    about = {"stage": "bench.film", "seconds": 0.0, "parts": {"params": {}}}
    one.commit(key(number), ancestry=key(number), partial=key(0), kinds={"output": "video"}, work=work, about=about)


def measured(count: Counter, do: Callable[[], object]) -> tuple[float, int]:
    """Seconds and requests of something."""
    count.count, began = 0, time.perf_counter()
    do()
    return time.perf_counter() - began, count.count


if __name__ == "__main__":
    main()
