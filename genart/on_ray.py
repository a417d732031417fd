"""Workers on Ray: a Ray of this machine alone, which listens on the loopback only, or a cluster that is there.

What travels is JSON in both directions; pictures and models go through the store, which all machines share.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .errors import GenartError, ResourceError, UsageError
from .spread import Done, Lost, Told
from .stages import Needs
from .tasks import Order, Task, error_from_json
from .worker import Worker, check_versions, versions

LOCAL, SCHEME = "ray", "ray"
#: Bytes of shared memory that a local Ray takes: what travels is small.
OBJECT_STORE_BYTES = 100 << 20
#: Seconds between two looks at what the driver itself has to do.
MOMENT_SEC = 0.25
#: A task that takes longer is asked what happens meanwhile.
ASK_AFTER_SEC = 0.2
#: Questions of that kind to all workers together in a second: each takes the driver a millisecond.
MOST_ASKED_PER_SEC = 100.0
#: Seconds to wait for an answer of a cluster that is to be reached.
REACH_SEC = 5.0
#: Seconds between two looks at how large the cluster is.
LOOK_EVERY_SEC = 10.0
#: Attempts to become a client of it.
ATTEMPTS = 2
#: Failures to begin in a row after which no worker is going to.
MOST_FAILURES = 3


def check_address(on: str) -> str | None:
    """Return the address of a cluster, or None for a Ray of this machine alone.

    Args:
        on: what stands behind `--on`.

    Raises:
        UsageError: if it is neither, or Ray is not installed.
    """
    if on != LOCAL:
        try:
            parts = urlsplit(on)
            fine = parts.scheme == SCHEME and bool(parts.hostname) and parts.port is not None and not parts.path.strip("/")
        except ValueError:
            fine = False
        if not fine:
            raise UsageError(f"--on {on}: expected ray, or the address of a cluster such as ray://head:10001")
    _set_up(local=on == LOCAL)
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UsageError("--on needs Ray, which is not installed", "pip install 'genart[ray]'") from None
    return None if on == LOCAL else on


def device_on(address: str, wanted: str) -> str:
    """The device with which a cluster computes. It decides, whatever this machine has; its workers see whether torch can use their GPUs.

    Args:
        address: of the cluster. The run that follows has the same connection.
        wanted: "auto" or "cuda".

    Raises:
        UsageError: if the cluster is of another version.
        ResourceError: if nothing answers.
    """
    if wanted != "auto":
        return wanted
    return "cuda" if connect(address, None).cluster_resources().get("GPU", 0) > 0 else "cpu"


def check_train() -> None:
    """See that Ray Train is there.

    Raises:
        UsageError: if what it needs is not installed.
    """
    try:
        import ray.train.torch  # noqa: F401
    except ImportError:
        raise UsageError("--data-parallel needs Ray Train, which is not installed", "pip install 'genart[ray]'") from None


@dataclass(eq=False)
class Member:
    """One worker."""

    handle: Any
    needs: Needs
    ready: Any
    is_ready: bool = False
    task: Task | None = None
    made: Any = None
    told: Any = None
    since: float = 0.0
    asked: float = 0.0


class RayPool:
    """Workers on Ray, as a `Pool`. It begins at the first task.

    Args:
        order: the run.
        address: of a cluster, "ray://HOST:PORT"; None: a Ray of this machine alone.
        cpus: cores of the latter; all, unless it is given.
    """

    def __init__(self, order: Order, address: str | None = None, *, cpus: int | None = None) -> None:
        self.order, self.address, self.cpus = order, address, cpus
        self.members: list[Member] = []
        self._ray: Any = None
        self._looked = 0.0
        self._failures = 0
        self._totals: dict[str, float] = {}
        self._largest = 1
        self._most_gpus = 0.0

    # what there is

    def capacity(self, needs: Needs) -> int:
        """Tasks of a kind that fit at once, as if all machines were one."""
        self._begin()
        asked = self._asked(needs)
        each = {"CPU": asked.cpus, "GPU": asked.gpus, "memory": asked.memory_bytes}
        return max(1, int(min((self._totals.get(name, 0) / amount for name, amount in each.items() if amount), default=1)))

    def _begin(self) -> None:
        if self._ray is None:
            self._ray = connect(self.address, self.cpus)
        if time.monotonic() - self._looked > LOOK_EVERY_SEC or not self._looked:
            self._looked = time.monotonic()
            self._totals = dict(self._ray.cluster_resources())
            cores = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
            self._largest = max([1, *cores])
            self._most_gpus = max(self._most_gpus, self._totals.get("GPU", 0))

    def _asked(self, needs: Needs) -> Needs:
        """What a worker is asked for: as many cores as computing threads, but for what no machine has; no GPU where none is used."""
        wanted = os.environ.get("OMP_NUM_THREADS", "")
        threads = int(wanted) if wanted.isdigit() and int(wanted) > 0 else needs.cpus
        gpus = needs.gpus if self.order.device == "cuda" else 0
        return Needs(min(threads, self._largest), gpus, needs.memory_bytes, needs.processes)

    def want(self, demand: Mapping[Needs, int]) -> None:
        """Let workers come until so many tasks could begin, as far as there is room for them.

        Raises:
            UsageError: if a task needs more GPUs than there ever were.
        """
        self._begin()
        wanted: Counter[Needs] = Counter()
        for needs, count in demand.items():
            wanted[self._asked(needs)] += count
        for asked, count in wanted.items():
            if asked.gpus > self._most_gpus:
                raise UsageError(f"--device cuda: a task asks for {asked.gpus:g} GPU, and Ray has {self._most_gpus:g}", "--device cpu")
            free = sum(member.needs == asked and member.task is None for member in self.members)
            for _ in range(count - free):
                if not self._fits(asked) and not self._make_room(asked, wanted):
                    break
                self._add(asked)

    def _fits(self, asked: Needs, going: Sequence[Member] = ()) -> bool:
        staying = [member.needs for member in self.members if member not in going]
        every = [(needs.processes, needs) for needs in (asked, *staying)]
        cpus = sum(count * needs.cpus for count, needs in every)
        gpus = sum(count * needs.gpus for count, needs in every)
        memory = sum(count * needs.memory_bytes for count, needs in every)
        totals = self._totals
        fits = cpus <= totals.get("CPU", 0) and gpus <= totals.get("GPU", 0) and memory <= totals.get("memory", 0)
        return fits or not staying  # of what is too large for any machine, Ray tells

    def _make_room(self, asked: Needs, wanted: Mapping[Needs, int]) -> bool:
        """Let idle workers of other kinds go, if there is room then; True if there is.

        Of a kind that is wanted, too, one stays, and only what has no worker yet or needs more GPUs comes in the place of another: else
        two kinds would drive each other out by turns.
        """
        idle = [member for member in self.members if member.task is None and member.needs != asked]
        there = Counter(member.needs for member in self.members) if idle else Counter()
        going: list[Member] = []
        for member in idle:
            kind = member.needs
            if not wanted.get(kind) or (there[kind] > 1 and (asked.gpus > kind.gpus or not there[asked])):
                going.append(member)
                there[kind] -= 1
                if self._fits(asked, going):
                    self._drop_needed(asked, going)
                    return True
        return False

    def _drop_needed(self, asked: Needs, going: Sequence[Member]) -> None:
        """Let those go without whom there is no room."""
        for member in going:
            others = [one for one in going if one is not member]
            if self._fits(asked, others):
                going = others
        for member in going:
            self._drop(member)

    def _add(self, asked: Needs) -> None:
        if asked.processes > 1:
            self._add_gang(asked)
            return
        options = {"num_cpus": asked.cpus, "num_gpus": asked.gpus, "max_concurrency": 3}
        if asked.memory_bytes:
            options["memory"] = asked.memory_bytes
        handle = self._ray.remote(Worker).options(**options).remote(self.order.as_json(), threads=asked.cpus, gpus=asked.gpus)
        self.members.append(Member(handle, asked, handle.about.remote()))

    def _add_gang(self, asked: Needs) -> None:
        """Let one come that is no worker itself: its processes are Ray Train's.

        Raises:
            UsageError: if the cluster has no room for them, ever.
        """
        totals, count = self._totals, asked.processes
        if count * asked.cpus > totals.get("CPU", 0) or count * asked.gpus > totals.get("GPU", 0):
            there = f"{totals.get('CPU', 0):g} cores" + (f" and {totals.get('GPU', 0):g} GPUs" if asked.gpus else "")
            hint = f"ask for fewer, or give each fewer threads than {asked.cpus}"
            raise UsageError(f"--data-parallel {count}: Ray has {there} in all", hint)
        from .train_on_ray import Gang

        handle = (
            self._ray.remote(Gang)
            .options(num_cpus=0, max_concurrency=8)
            .remote(self.order.as_json(), threads=asked.cpus, processes=count, gpus=asked.gpus)
        )
        self.members.append(Member(handle, asked, handle.about.remote()))

    def _drop(self, member: Member) -> None:
        self.members.remove(member)
        with suppress(Exception):
            self._ray.kill(member.handle)

    def _idle(self, needs: Needs) -> Member | None:
        asked = self._asked(needs)
        return next((m for m in self.members if m.is_ready and m.task is None and m.needs == asked), None)

    # a Pool

    def has_room(self, needs: Needs) -> bool:
        """True if a worker waits for a task of this kind."""
        return self._ray is not None and self._idle(needs) is not None

    def start(self, task: Task, needs: Needs) -> None:
        """Hand a task to a worker that waits."""
        member = self._idle(needs)
        assert member is not None
        member.task, member.since = task, time.monotonic()
        member.made = member.handle.make.remote(task.as_json())

    def wait(self) -> Iterable[Done | Lost | Told]:
        """What happened; waits for something, for a moment."""
        self._begin()
        now, pause = time.monotonic(), len(self.members) / MOST_ASKED_PER_SEC
        for member in self.members:
            if member.task is not None and member.told is None and now > max(member.since + ASK_AFTER_SEC, member.asked + pause):
                member.told, member.asked = member.handle.told.remote(), now
        refs = {ref: m for m in self.members for ref in (m.made, m.told, None if m.is_ready else m.ready) if ref is not None}
        if not refs:
            time.sleep(MOMENT_SEC)
            return
        some, _ = self._ray.wait(list(refs), num_returns=1, timeout=MOMENT_SEC)
        if some:
            some, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=0)
        for ref in some:
            member = refs[ref]
            if member in self.members:  # else it went with what came before
                yield from self._heard(member, ref)

    def _heard(self, member: Member, ref: Any) -> Iterator[Done | Lost | Told]:
        from ray.exceptions import RayError

        try:
            if ref == member.ready:
                self._greet(member, self._ray.get(ref))
            elif ref == member.told:
                yield from self._events(member)
            elif ref == member.made:
                yield from self._finished(member)
        except RayError as error:
            yield from self._gone(member, error)

    def _events(self, member: Member) -> Iterator[Told]:
        assert member.task is not None
        ref, member.told = member.told, None
        for record in self._ray.get(ref):
            yield Told(member.task, record)

    def _finished(self, member: Member) -> Iterator[Done | Told]:
        outcome = self._ray.get(member.made)
        if member.told is not None:
            yield from self._events(member)  # what happened before
        task, member.task, member.made = member.task, None, None
        assert task is not None
        for record in outcome.pop("events"):
            yield Told(task, record)
        yield Done(task, outcome)

    def _gone(self, member: Member, error: Any) -> Iterator[Lost]:
        """A worker is gone.

        Raises:
            GenartError: if none is going to come.
        """
        task, why = member.task, words_of(error)
        self._drop(member)
        if task is not None:
            seconds = time.monotonic() - member.since
            yield Lost(task, why, memory=lacked_memory(error), machine=lost_machine(error), seconds=seconds)
            return
        if "No module named 'genart" in str(error):
            raise UsageError("the workers have no genart", "install the same version on every machine: pip install 'genart[ray]'")
        self._failures += not member.is_ready
        if self._failures >= MOST_FAILURES:
            raise ResourceError(f"no worker begins on Ray: {why}", "see the logs of Ray")

    def _greet(self, member: Member, about: dict[str, Any]) -> None:
        """See whether a worker that has come can do what is wanted.

        Raises:
            GenartError: if it cannot.
        """
        check_versions(f"the worker on {about['host']}", about["versions"], versions(), "here")
        if about["problem"] is not None:
            error = error_from_json(about["problem"])
            error.message = f"the worker on {about['host']}: {error.message}"
            raise error
        member.is_ready, self._failures = True, 0

    def halt(self, number: int) -> None:
        """Ask all workers to stop at the next safe place."""
        for member in self.members:
            if member.task is not None:
                member.handle.halt.remote(number)

    def close(self) -> None:
        """Let the workers go, at once, and Ray too."""
        for member in list(self.members):
            self._drop(member)
        ray = self._ray or connected(self.address)
        if ray is not None:
            ray.shutdown()
        self._ray = None


def words_of(error: Any) -> str:
    """Why a worker is gone, in a few words."""
    if lacked_memory(error):
        return "out of memory"
    return "its machine is gone" if lost_machine(error) else "its process ended"


def lost_machine(error: Any) -> bool:
    """True if a worker went with its machine."""
    from ray.exceptions import NodeDiedError

    return isinstance(error, NodeDiedError) or "its node has died" in str(error)


def lacked_memory(error: Any) -> bool:
    """True if Ray ended a worker because memory was short; of what the system's own killer ends Ray knows no reason."""
    from ray.exceptions import OutOfMemoryError

    return isinstance(error, OutOfMemoryError) or "low on memory" in str(error)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray heeds signals in its own way, which is not that of this program."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        with suppress(ValueError):  # not the main thread, where Ray leaves them alone too
            for number, handler in before.items():
                signal.signal(number, handler)


def _set_up(*, local: bool) -> None:
    """What Ray reads off its environment when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if local:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on every system: its servers listen on the loopback alone


def connected(address: str | None) -> Any:
    """The module, if this process is a client of a cluster already; else None."""
    ray = sys.modules.get("ray") if address is not None else None
    return ray if ray is not None and ray.is_initialized() else None


def connect(address: str | None, cpus: int | None) -> Any:
    """Start a Ray of this machine alone, or reach a cluster unless it was reached before; returns the module.

    Raises:
        UsageError: if the cluster is of another version.
        ResourceError: if nothing answers.
    """
    if (already := connected(address)) is not None:
        return already
    _set_up(local=address is None)
    import ray

    warnings.filterwarnings("ignore", module=r"ray\..*")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with _own_signals():
            if address is None:
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    **quiet,
                )
            else:
                _reach(address)
                _join(address, quiet)
    except GenartError:
        raise
    except ConnectionError as error:
        raise ResourceError(f"--on {address}: no cluster of Ray answers there: {_first_line(error)}", HOW_TO_BEGIN) from None
    except RuntimeError as error:
        if "version" in str(error).lower():
            raise UsageError(f"--on {address}: {_first_line(error)}", "install the same versions on every machine") from None
        raise ResourceError(f"Ray does not start: {_first_line(error)}") from None
    return ray


def _join(address: str, options: dict[str, Any]) -> None:
    """Become a client of a cluster. The server of a client does not always start at the first attempt."""
    import ray

    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(address=address, **options)
            return
        except ConnectionError as error:
            if attempt == ATTEMPTS or "timeout" in str(error):
                raise
            ray.shutdown()


HOW_TO_BEGIN = "see whether its head runs (`ray start --head`), and whether it asks for a token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN)"


def _reach(address: str) -> None:
    parts = urlsplit(address)
    try:
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), REACH_SEC).close()
    except OSError as error:
        raise ResourceError(f"--on {address}: nothing answers there ({error.strerror or error})", HOW_TO_BEGIN) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
