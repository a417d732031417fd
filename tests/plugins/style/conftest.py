import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def style(tmp_path):
    """A file of coloured squares, 48 pixels along a side."""
    path = tmp_path / "style.png"
    rng = np.random.default_rng(5)
    Image.fromarray(np.kron(rng.integers(0, 255, (12, 12, 3)), np.ones((4, 4, 1))).astype(np.uint8)).save(path)
    return path
