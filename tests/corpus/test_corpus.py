"""Files that are malformed, or odd: none hangs, swells, is told in a traceback, or keeps a good picture from being used."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.faults.forge import Forge

from .case import Case
from .law import Court
from .make import COUNTS, MANIFEST, corpus, sample, sums
from .png import good

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the forge forks")
#: One of so many cases is tried in the normal run; `python -m tests.corpus` tries all.
STEP = 9


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """Holds cases to the law."""
    forge = Forge()
    yield Court(forge, tmp_path_factory.mktemp("corpus"))
    forge.close()


def test_the_corpus_is_the_same_everywhere() -> None:
    assert Counter(case.group for case in corpus()) == COUNTS
    assert sum(COUNTS.values()) == 1020
    assert len({str(case) for case in corpus()}) == 1020
    assert sums() == MANIFEST.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", sample(STEP), ids=str)
def test_a_file_ends_as_it_should(court: Court, case: Case) -> None:
    assert court.tried(case).wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("case", corpus(), ids=str)
def test_every_file_ends_as_it_should(court: Court, case: Case) -> None:
    assert court.tried(case).wrong == []


#: Bugs that the law has to see: Python that is run before a command.
PLANTED = {
    "a traceback": "import sys; sys.stderr.write('Traceback (most recent call last):')",
    "an escape sequence": "import sys; sys.stderr.write('\\x1b[2J')",
    "a code that is not documented": "import os; os._exit(77)",
    "a file beside the output": "open('x', 'w').close()",
    "half a minute of processor time": "import time\nwhile time.process_time() < 6: pass",
    "a gigabyte": "x = b'x' * (1 << 30)",
    "a bad picture that is used": (
        "import numpy, genart.nn.pictures as p, genart_images.folder as f\nf.decode = lambda *_: numpy.zeros((8, 8, 3), numpy.uint8)"
    ),
    "a good picture that is not": "import genart_images.folder as f\nf.picture_files = lambda path: [path / 'bad.png']",
    "a name that is not told": "import genart_images.reading as f\nf.first_of = lambda skipped: 'something'",
}


@pytest.mark.parametrize("bug", PLANTED)
def test_the_law_sees(court: Court, bug: str) -> None:
    bad = Case("planted", bug, "bad.png", "skip", good()[:60])
    assert court.tried(bad).wrong == []
    assert court.tried(bad, plant=PLANTED[bug]).wrong
