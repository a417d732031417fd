"""A run's page: what it says, that it escapes everything, and that a real browser shows it without a complaint."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from genart import report
from genart.charts import WIDTH, chart, graph, ticks
from genart.errors import DataError, UsageError
from genart.store import Store

from .browsers import browse, console_of, needs_chromium
from .test_runner import TRAINING

EVIL = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp;"


@pytest.fixture
def made(run_toy, recipe) -> Path:
    """The output folder of a run with a model, a film and a folder of pictures."""
    assert run_toy(recipe(TRAINING + 'id = "film"\n')).code == 0
    return Path("out")


@pytest.fixture
def shelf(store: Path) -> Store:
    """The store of this test."""
    return Store(store)


def change_run(folder: Path, **fields: object) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def write_model(path: Path, history: object, acts: object = ()) -> None:
    from safetensors.numpy import save_file

    header = {"family": "toy", "parameters": {}, "history": history, "trained": {"watchdog": acts}}
    save_file({"w": np.zeros(1, np.float32)}, path, {"genart": json.dumps({"model": header})})


HISTORY = [{"kimg": i, "loss_D": 1 / (1 + i), "loss_G": i * 0.1, "diversity": 0.5} for i in range(30)] + [{"kimg": 20, "kid": 0.1}]
ACT = {"nimg": 12_000, "trouble": "mode collapse", "act": "told", "message": "they look alike"}


class Page(HTMLParser):
    """All that a browser would make of a page: elements with their attributes, and the text outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


# what it says


def test_the_page_tells_of_stages_outputs_times_and_versions(made, shelf):
    page = Page(report.render(made, shelf))
    for words in ("toy", "seed 3", "toy.noise", "toy.train", "train.progress", "toy.safetensors", "film/progress.gif", "torch", "pillow"):
        assert words in page.text, words
    assert len(page.all("details")) == 4
    assert len([a for a in page.all("a") if a.get("class") == "view"]) == 1 + 6, "the film's frame and the pictures of the folder"
    assert "No warnings" in page.text


def test_the_command_writes_it_and_names_it(made, cli):
    done = cli("report", "out", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"path": "out/report.html", "bytes": Path("out/report.html").stat().st_size}
    assert "report.html" in cli("report", "out").out
    first = Path("out/report.html").read_bytes()
    cli("report", "out")
    assert Path("out/report.html").read_bytes() == first


def test_a_recipes_name_will_do(made, cli):
    os.rename("out", "toy")
    os.mkdir("out")
    os.rename("toy", "out/toy")
    assert cli("report", "toy").code == 0
    os.rename("out/toy", "out/my-art")
    assert cli("report", "my art").code == 0, "as it stands in the recipe, which the folder's name is made of"
    os.rename("out/my-art", "out/toy")
    wrong = cli("report", "tyo")
    assert (wrong.code, "did you mean 'toy'" in wrong.err) == (2, True)
    with pytest.raises(UsageError, match="no such output folder"):
        report.folder_of("nothing")


def test_run_writes_it_where_the_recipe_says_so(run_toy, recipe, cli):
    path = recipe("report = true\n" + TRAINING)
    first = run_toy(path)
    assert [e["path"] for e in first.events if e["event"] == "report"] == ["out/report.html"]
    stamp = Path("out/report.html").stat().st_mtime_ns
    assert [e for e in run_toy(path).events if e["event"] == "report"] == [], "nothing is new"
    assert Path("out/report.html").stat().st_mtime_ns == stamp
    assert [e for e in run_toy(path, "--set", "train.steps=3").events if e["event"] == "report"]
    run_toy(recipe(TRAINING), "--out", "other")
    assert not Path("other/report.html").exists()


def test_small_outputs_are_inside_and_large_ones_beside(made, shelf, monkeypatch):
    page = Page(report.render(made, shelf))
    (film,) = [image for image in page.all("img") if image.get("alt") == "film/progress.gif"]
    assert base64.b64decode(film["src"].partition(",")[2]) == Path("out/film/progress.gif").read_bytes()
    assert film["src"].startswith("data:image/gif;base64,")
    monkeypatch.setattr(report, "MAX_EMBEDDED", 10)
    page = Page(report.render(made, shelf))
    assert [image["src"] for image in page.all("img") if image.get("alt") == "film/progress.gif"] == ["./film/progress.gif"]
    monkeypatch.setattr(report, "MAX_PAGE", 0)
    assert [image["src"] for image in Page(report.render(made, shelf)).all("img") if image.get("src")] == ["./film/progress.gif"]


def test_it_needs_no_network(made, shelf):
    text = report.render(made, shelf)
    page = Page(text)
    addresses = [attrs[name] for _, attrs in page.elements for name in ("src", "href") if attrs.get(name)]
    assert addresses
    assert all(re.match(r"(#|\./|data:)", address) for address in addresses)
    assert not re.search(r"https?://|@import|url\(", text)


def test_trainings_have_curves_from_the_folder_or_the_store(made, shelf):
    assert "Training" not in Page(report.render(made, shelf)).text, "the toy notes no history"
    write_model(made / "toy.safetensors", HISTORY, [ACT])
    text = report.render(made, shelf)
    page = Page(text)
    assert [attrs["class"] for attrs in page.all("figure") if attrs.get("class") == "chart"] == ["chart"] * 3
    for words in ("loss_D", "diversity", "kid", "12.0 kimg", "mode collapse: told", "they look alike"):
        assert words in page.text, words
    (made / "toy.safetensors").unlink()
    (stage,) = [stage for stage in report.read_run(made).stages if stage.id == "train"]
    write_model(shelf.find(stage.key).folder / "output" / "model.safetensors", HISTORY)
    assert "loss_D" in Page(report.render(made, shelf)).text
    shelf.discard(stage.key)
    assert "loss_D" not in Page(report.render(made, shelf)).text


def test_warnings_are_told(made, shelf):
    stages = json.loads((made / "run.json").read_text())["stages"]
    stages[0]["warnings"] = ["skipped 3 of 9 files"]
    change_run(made, stages=stages)
    text = Page(report.render(made, shelf)).text
    assert "skipped 3 of 9 files" in text
    assert "No warnings" not in text


def test_a_sweep_is_drawn(run_toy, recipe, shelf):
    text = '[[stage]]\nuses = "toy.noise"\nid = "n"\n[[stage]]\nuses = "toy.invert"\nid = "i"\n[sweep]\ni.amount = [0.1, 0.2, 0.3]\n'
    assert run_toy(recipe(text)).code == 0
    page = Page(report.render(Path("out"), shelf))
    assert len([path for path in page.all("path") if path["class"].startswith("edge")]) == 3 + 3
    assert "i-amount-0.2" in page.text


# what comes from others


def evil_run(folder: Path) -> None:
    """A run whose every text is hostile, and which names files outside of its folder."""
    folder.mkdir()
    Image.new("RGB", (9, 9), "red").save(folder / "a'b &<i>.png")
    Image.new("RGB", (9, 9), "red").save("secret.png")
    (folder / "p&<b>").mkdir()
    Image.new("RGB", (9, 9), "blue").save(folder / "p&<b>" / "<script>.png")
    (folder / "broken.png").write_bytes(b"\x89PNG no")
    os.symlink(Path("secret.png").absolute(), folder / "link.png")
    write_model(
        folder / "m.safetensors", [{"kimg": i, EVIL: i} for i in range(3)], [{"nimg": 1000, "trouble": EVIL, "act": EVIL, "message": EVIL}]
    )
    stage = {
        "id": EVIL,
        "uses": EVIL,
        "reads": [EVIL],
        "params": {EVIL: EVIL},
        "gives": {"output": EVIL},
        "warnings": [EVIL],
        "choices": {EVIL: EVIL},
    }
    names = [
        "a'b &<i>.png",
        "p&<b>",
        "broken.png",
        "link.png",
        "../secret.png",
        str(Path("secret.png").absolute()),
        EVIL,
        "m.safetensors",
        ".",
        "a\0b",
    ]
    outputs = [{"path": name, "stage": EVIL, "bytes": 3} for name in names]
    run = {
        "recipe": EVIL,
        "description": EVIL,
        "genart": EVIL,
        "device": EVIL,
        "versions": {EVIL: EVIL},
        "stages": [stage],
        "outputs": outputs,
    }
    (folder / "run.json").write_text(json.dumps(run))


def test_everything_is_escaped_and_nothing_outside_is_shown(shelf):
    evil_run(Path("evil"))
    text = report.render(Path("evil"), shelf)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert all(image.get("src", "data:").startswith(("data:", "./")) for image in page.all("img"))
    assert "x" not in [image.get("src") for image in page.all("img")]
    assert EVIL in "".join(page.texts), "it is text"
    secret = base64.b64encode(Path("secret.png").read_bytes()).decode()
    assert text.count("is no longer in the folder") == 6
    inside = base64.b64encode(Path("evil/a'b &<i>.png").read_bytes()).decode()
    assert (secret == inside, text.count(inside)) == (True, 1)
    assert "./a%27b%20%26%3Ci%3E.png" in text


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "[" * 100_000, '{"recipe": 3}', '{"recipe": "x", "stages": [{"id": 1}]}', '{"recipe": "x", "seconds": -1}', "\udcff"],
)
def test_a_damaged_run_json_is_refused(cli, content):
    Path("d").mkdir()
    Path("d/run.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    done = cli("report", "d")
    assert (done.code, len(done.err.splitlines()) <= 3) == (3, True), done.err
    assert "run.json" in done.err
    assert not Path("d/report.html").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_in_the_place_of_run_json_is_not_waited_for(cli):
    Path("d").mkdir()
    os.mkfifo("d/run.json")
    done = cli("report", "d")
    assert (done.code, "run.json" in done.err) == (3, True)


def test_a_folder_of_something_else(cli):
    Path("d").mkdir()
    done = cli("report", "d")
    assert (done.code, "holds no run.json" in done.err) == (3, True)


@pytest.mark.parametrize(
    "history",
    [
        3,
        "x",
        [1, 2],
        [{"kimg": "a", "loss": 1}],
        [{"kimg": 1, "loss": None}],
        [{"kimg": 1, "loss": True}],
        [{"kimg": 1, "loss": 10**400}],
        [{"kimg": 1, "loss": 1.7e308}, {"kimg": 2, "loss": -1.7e308}],
        [{}],
    ],
)
def test_a_strange_history_draws_nothing(made, shelf, history):
    write_model(made / "toy.safetensors", history, "x")
    assert "chart" not in [attrs.get("class") for attrs in Page(report.render(made, shelf)).all("figure")]


def test_a_strange_place_of_an_act_is_told_as_none(made, shelf):
    acts = [{"nimg": 10**400, "trouble": "collapse", "act": "restarted"}]
    write_model(made / "toy.safetensors", [{"kimg": 1, "loss": 1.0}], acts)
    assert "0.0 kimg" in Page(report.render(made, shelf)).text


def test_a_page_that_cannot_be_written_leaves_the_old_one(made, shelf, monkeypatch):
    report.write_report(made, shelf)
    before = (made / "report.html").read_bytes()
    (made / "run.json").write_text("{}")
    with pytest.raises(DataError):
        report.write_report(made, shelf)
    assert (made / "report.html").read_bytes() == before
    assert {path.name for path in made.iterdir() if path.name.startswith(".")} == set()


# geometry


@pytest.mark.parametrize(
    ("sources", "lanes"),
    [
        ([], []),
        ([[], [0], [1]], [0, 0, 0]),
        ([[], [0], [0], [0]], [0, 1, 1, 0]),
        ([[], [0], [0], [1, 2]], [0, 1, 0, 1]),
        ([[], [], [0], [1]], [0, 1, 0, 1]),
        ([[], [0], [], [2]], [0, 0, 0, 0]),
    ],
)
def test_stages_take_over_lanes(sources, lanes):
    drawn = graph(sources)
    columns = sorted({x for x, _ in drawn.places})
    assert [columns.index(x) for x, _ in drawn.places] == lanes
    assert len(drawn.edges) == sum(map(len, sources))
    assert all(0 < x < drawn.width for x, _ in drawn.places)


def test_no_line_runs_over_a_stage_that_it_does_not_belong_to():
    import random

    rng = random.Random(5)
    for _ in range(60):
        sources = [sorted(rng.sample(range(row), k=min(row, rng.randint(0, 3)))) for row in range(12)]
        drawn = graph(sources)
        for row, found in enumerate(sources):
            for source in found:
                x = drawn.places[source][0]
                assert all(drawn.places[between][0] != x for between in range(source + 1, row)), (sources, source, row)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (0.001, 0.0021), (1e6, 3e6), (-1e-9, 1e-9), (0, 37)])
def test_ticks_are_few_and_round(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 5
    assert low <= found[0]
    assert found[-1] <= high
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])


@given(st.lists(st.tuples(*[st.floats(-1e300, 1e300)] * 2), min_size=1, max_size=4))
@example([(-1e300, -1e300), (1e300, 1e300)])
@example([(0.0, 0.0), (5e-324, 5e-324)])
def test_any_numbers_can_be_drawn(points):
    drawn = chart("x", "kimg", {"a": points})
    places = re.findall(r"-?[\d.]+(?:e[+-]?\d+)?|nan|inf", drawn.curves[0].path)
    assert all(0 <= float(place) <= WIDTH for place in places), drawn.curves[0].path


def test_a_chart_of_one_or_equal_numbers():
    for points in ([(1.0, 0.0)], [(0.0, 2.0), (1.0, 2.0)], [(0.0, -5.0), (1.0, -5.0)]):
        drawn = chart("x", "kimg", {"a": points}, [(0.0, "before"), (99.0, "beyond")])
        assert "nan" not in drawn.curves[0].path
        assert len(drawn.marks) == (points[0][0] == 0.0)


# in a browser

#: Appended to a copy of a page: says what it finds in attributes of the root element, for --dump-dom.
PROBE = """<script>
addEventListener("load", () => {
  const root = document.documentElement, tell = (name, value) => parent.document.documentElement.setAttribute("data-" + name, value);
  const press = (key) => dispatchEvent(new KeyboardEvent("keydown", { key }));
  const ground = () => getComputedStyle(document.body).backgroundColor;
  tell("wide", root.scrollWidth - innerWidth);
  tell("inner", innerWidth);
  const sticksOut = (e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest("svg, .graph a");
  const widest = [...document.querySelectorAll("main *")].filter(sticksOut);
  tell("over", widest.map((e) => e.tagName + "." + e.className).join(" "));
  tell("before", ground());
  document.getElementById("theme").click();
  tell("after", ground());
  press("t");
  tell("again", ground());
  press("j");
  tell("part", document.activeElement.id);
  press("j");
  tell("next", document.activeElement.id);
  press("k");
  tell("back", document.activeElement.id);
  const view = document.querySelector("a.view");
  if (view) {
    view.click();
    const viewer = document.getElementById("viewer");
    tell("open", viewer.open);
    const first = viewer.querySelector("span").textContent;
    press("ArrowRight");
    tell("turned", first !== viewer.querySelector("span").textContent);
    viewer.close();
  }
  const chart = document.querySelector(".chart > svg");
  if (chart) {
    const box = chart.getBoundingClientRect();
    chart.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + 5 }));
    tell("told", [...chart.parentElement.querySelectorAll("output")].map((o) => o.textContent).join(","));
  }
  location.hash = "#stage-0";
  setTimeout(() => { tell("unfolded", document.getElementById("stage-0").open); tell("evil", "evil" in window); }, 50);
});
</script>"""


def probe(page: Path, width: int, home: Path) -> dict[str, str]:
    """Look at a page in a frame of a width: what PROBE tells. The page's policy would not let it run."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    inner = html.escape(text.replace("</body>", PROBE + "</body>"))
    frame = page.with_name("frame.html")  # a browser's window has a least width, a frame has none
    frame.write_text(f'<!doctype html><iframe srcdoc="{inner}" width="{width}" height="800" style="border:0"></iframe>', encoding="utf-8")
    done = browse(frame, "--window-size=1400,900", "--dump-dom", home=home)
    assert console_of(done) == []
    return {
        name: html.unescape(value) for name, value in re.findall(r'data-(\w+)="([^"]*)"', done.stdout.partition(">")[2].partition(">")[0])
    }


@pytest.fixture
def full(made, shelf) -> Path:
    """The page of a run with a training."""
    write_model(made / "toy.safetensors", HISTORY, [ACT])
    return report.write_report(made, shelf)


@needs_chromium
def test_a_browser_shows_it_without_a_complaint(full, home):
    shots = {}
    for theme, flag in {"light": "1", "dark": "0"}.items():
        shot = home / f"{theme}.png"
        done = browse(full, "--window-size=1280,1600", f"--screenshot={shot}", f"--blink-settings=preferredColorScheme={flag}", home=home)
        assert console_of(done) == [], done.stderr
        shots[theme] = np.array(Image.open(shot).convert("L"))
    assert shots["light"][:, :5].mean() > 200 > 60 > shots["dark"][:, :5].mean()
    assert all(shot.std() > 10 for shot in shots.values())


@needs_chromium
def test_the_page_obeys_keys_links_and_the_pointer(full, home):
    told = probe(full, 1280, home)
    assert told["before"] == told["again"] != told["after"]
    assert [told[name] for name in ("part", "next", "back")] == ["outputs", "recipe", "outputs"]
    assert (told["open"], told["turned"], told["unfolded"]) == ("true", "true", "true")
    assert told["told"].split(",")[0].startswith("0.0"), told["told"]


@needs_chromium
def test_hostile_names_do_nothing_in_a_browser(shelf, home):
    evil_run(Path("evil"))
    page = report.write_report(Path("evil"), shelf)
    text = page.read_text(encoding="utf-8").replace("alert(", "(x=>{window.evil=x})(")
    page.write_text(text, encoding="utf-8")
    told = probe(page, 375, home)
    assert (told["evil"], int(told["wide"]) <= 0, told["over"]) == ("false", True, "")
    done = browse(page, "--dump-dom", home=home)
    assert console_of(done) == []


@needs_chromium
def test_a_phone_needs_no_scrolling_sideways(full, home):
    told = probe(full, 375, home)
    assert told["inner"] == "375"
    assert int(told["wide"]) <= 0
    assert told["over"] == ""
