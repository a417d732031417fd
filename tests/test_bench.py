"""The benches that measure code rather than time."""

from __future__ import annotations

import subprocess
import sys

from .conftest import ROOT

#: A package of a few modules, two of which import each other.
PACKAGE = {
    "__init__.py": '"""Two\nlines."""\nfrom . import a\n',
    "a.py": "import torch\n\nif TYPE_CHECKING:\n    from . import c\nelse:\n    from .b import g  # why\n\n\n"
    "def f(x: int, y, *z: int):\n    def inside():\n        return x\n",
    "b.py": 'def g(self, x: int):\n    """Say."""\n    from . import c\n\n\ndef _h():\n    pass\n',
    "c.py": "from .d import x\n",
    "d.py": "from .c import y\n",
}


def test_code_is_measured(tmp_path):
    (tmp_path / "p").mkdir()
    for name, text in PACKAGE.items():
        (tmp_path / "p" / name).write_text(text)
    done = subprocess.run([sys.executable, ROOT / "bench" / "source.py", tmp_path / "p"], capture_output=True, text=True, check=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert {row[0]: row[1] for row in rows[2:]} == {
        "modules": "5",
        "lines": "23",
        "median module": "3",
        "longest module": "11",
        "functions": "4",
        "median / p90 length": "2 / 3",
        "longest function": "3",
        "import depth": "3",
        "modules in cycles": "2",
        "comments / 100": "5.6",
        "docstring lines / 100": "16.7",
        "documented": "33 %",
        "annotated": "75 %",
        "torch at module level": "1 of 5",
        "test files": "–",
        "test lines": "–",
    }
    assert rows[0][-1] == "httpx"
