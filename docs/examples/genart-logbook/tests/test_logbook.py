import csv
import subprocess
import sys

RECIPE = """
[recipe]
name = "log"

[[stage]]
uses = "images.samples"
crop = 16
count = 2
save = "pictures"
"""


def test_a_run_leaves_its_lines(genart_home, monkeypatch):
    monkeypatch.setenv("GENART_LOGBOOK", str(genart_home / "book.csv"))
    (genart_home / "r.toml").write_text(RECIPE)
    subprocess.run([sys.executable, "-m", "genart", "run", str(genart_home / "r.toml"), "--quiet"], check=True)
    with open(genart_home / "book.csv", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert [line[1:3] for line in lines] == [["stage_finished", "images.samples"], ["saved", "images.samples"]]
