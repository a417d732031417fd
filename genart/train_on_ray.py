"""One training on several workers, launched by Ray Train: the first leads, and the others follow."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import ResourceError
from .follow import follow, joined
from .launch import Launch
from .store import Store
from .tasks import Order, Task
from .worker import Worker

#: How often Ray Train begins again after a process was lost.
MOST_LOSSES = 10
#: Seconds between two looks of the first process at what it has to pass on.
PASS_ON_SEC = 0.25


class Gang(Worker):
    """A worker whose tasks are made by several processes together.

    Args:
        order: the run, as JSON (see `Order`).
        threads: that each process computes with.
        processes: how many there are.
        gpus: GPUs of each.
    """

    def __init__(self, order: str, threads: int, processes: int, gpus: float) -> None:
        super().__init__(order, threads)
        self.threads, self.processes, self.gpus_each = threads, processes, gpus  # it has none itself
        self._outcome: dict[str, Any] | None = None

    def deliver(self, records: list[dict[str, Any]]) -> int:
        """Pass events on; called by the first process. Returns the signal that is to stop it, or 0."""
        for record in records:
            self._tell(record)
        return self.stop.signal or 0

    def finish(self, outcome: str) -> None:
        """Take what the first process gives for the task, as JSON."""
        self._outcome = json.loads(outcome)

    def _make(self, task: Task) -> dict[str, Any]:
        """Let Ray Train start the processes, and again when one is lost.

        Raises:
            ResourceError: if it gives up.
        """
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.backend import Backend
        from ray.train.torch import TorchConfig, TorchTrainer

        class Unjoined(TorchConfig):
            """The processes join by themselves: torch's own store would listen at all addresses."""

            @property
            def backend_cls(self) -> type[Backend]:
                return Backend

        self._outcome = None
        cuda = self.order.device == "cuda"
        gang = ray.get_runtime_context().current_actor
        told = {"order": self.order.as_json(), "task": task.as_json(), "threads": self.threads, "gang": gang}
        asked = {"CPU": float(self.threads)} | ({"GPU": self.gpus_each} if cuda else {})
        with Store(Path(self.order.store)).scratch() as folder:
            trainer = TorchTrainer(
                take_part,
                train_loop_config=told,
                torch_config=Unjoined(backend="nccl" if cuda else "gloo"),
                scaling_config=ScalingConfig(num_workers=self.processes, use_gpu=cuda, resources_per_worker=asked),
                run_config=RunConfig(name="training", storage_path=str(folder), failure_config=FailureConfig(max_failures=MOST_LOSSES)),
            )
            try:
                trainer.fit()
            except Exception as error:  # it raises many kinds, and none of them is ours
                first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                raise ResourceError(f"Ray Train gives up: {first}", "its processes may have lacked memory; see the logs of Ray") from None
        if self._outcome is None:
            raise ResourceError("Ray Train ended without a result", "see the logs of Ray")
        self._outcome.pop("events", None)
        return self._outcome


def take_part(told: dict[str, Any]) -> None:
    """What each process does; called by Ray Train.

    Args:
        told: what `Gang` tells.
    """
    import ray
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero

    from .nn.team import find_store, open_store

    context, order = ray.train.get_context(), Order.from_json(told["order"])
    store, place = None, None
    if context.get_world_rank() == 0:
        host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        store, port = open_store(host)
        place = (host, port)
    host, port = broadcast_from_rank_zero(place)
    launch = Launch(context.get_world_rank(), context.get_world_size(), context.get_local_rank(), host)
    worker = Worker(told["order"], told["threads"])
    with joined(launch, order.device, store or find_store(host, port)) as team:
        if not team.leads:
            follow(worker.runner, team)
            return
        worker.runner.team = team
        with passing_on(worker, told["gang"]):
            outcome = worker.make(told["task"])
        if outcome.get("error", {}).get("kind") == "LostProcessError":
            raise RuntimeError(outcome["error"]["message"])  # Ray Train begins again
        ray.get(told["gang"].deliver.remote(outcome["events"]))
        ray.get(told["gang"].finish.remote(json.dumps(outcome)))


@contextmanager
def passing_on(worker: Worker, gang: Any) -> Iterator[None]:
    """Pass the events of a worker on meanwhile, and stop it when it is to stop."""
    import ray

    over = threading.Event()

    def run() -> None:
        while not over.wait(PASS_ON_SEC):
            with suppress(Exception):  # whoever asks is gone, and this process soon
                signal = ray.get(gang.deliver.remote(worker.told(0)))
                if signal:
                    worker.halt(signal)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
