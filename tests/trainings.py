"""What the tests of all families share: a training that can be stopped at a step, and the bytes that it leaves."""

from genart.events import Events
from genart.nn.players import Players
from genart.params import resolve
from genart.run import Run
from genart.testing import tiny_images


class Killed(BaseException):
    """Stands for a kill -9: nothing of ours catches it."""


def kill():
    raise Killed


def attempt(stage, work, given=None, *, seed=0, stop=None, backbone=None, **params):
    """Train in `work` with a run that a test can stop; returns (model, run)."""
    events = []
    run = Run(stage_id="train", seed=seed, device="cpu", work=work, events=Events(events.append), stop=stop, backbone=backbone)
    run.events_seen = events
    try:
        return stage(given or tiny_images(12), resolve(stage.params, "train", params), run), run
    finally:
        run.close()


def at_step(monkeypatch, number, act, trainer=Players):
    """Call `act` when training step `number` (counted in this process) begins."""
    step, calls = trainer.step, []

    def counted(self, *args):
        calls.append(1)
        if len(calls) == number:
            act()
        return step(self, *args)

    monkeypatch.setattr(trainer, "step", counted)


def bytes_of(work):
    """The model and the pictures that a training left in `work`."""
    outputs = [(work / "outputs" / name / "pixels.bin").read_bytes() for name in ("progress", "plot", "nearest")]
    return (work / "model.safetensors").read_bytes(), *outputs


def untrained(module, work, family, **parameters):
    """A model with the weights that a generator, built with these parameters, was given by chance."""
    run = Run(stage_id="train", seed=0, device="cpu", work=work / family, events=Events())
    known = {name: parameters[name] for name in ("z_dim", "resolution") if name in parameters}
    return run.model(dict(module.state_dict()), family=family, parameters=parameters, **known)
