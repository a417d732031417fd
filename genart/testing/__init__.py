"""For authors of plugins: run a stage alone, and see that it keeps what every stage promises; try readers and writers of formats.

With genart installed pytest knows the fixtures of `genart.testing.fixtures` by itself.
"""

from .formats import check_reader, check_writer
from .promises import broken_promises, check_stage
from .stages import run_stage, tiny_images

__all__ = ["broken_promises", "check_reader", "check_stage", "check_writer", "run_stage", "tiny_images"]
