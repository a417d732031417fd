"""The process in which `genart convert` opens a pickle: it comes in by standard input, safetensors go out by standard output.

Whatever the file does to torch's reader, the process has no network, can open nothing, start nothing and load no code, and has bounds of
memory, time and output: the namespace of the network is left first, then limits are set so low that not one more file or socket can be
opened, and a hook (PEP 578) ends the process at the first attempt. The reader itself is the one that makes tensors and nothing else
(`weights_only=True`). What was found is told as one line of JSON on standard error; the exit code is 0 or 7.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

if TYPE_CHECKING:
    from torch import Tensor

#: Dicts within dicts, characters of a name, and values in all that are looked at.
MAX_DEPTH, MAX_NAME, MAX_VALUES = 16, 256, 100_000
MAX_TENSORS = 10_000
#: Beyond what torch itself needs: times the file's size, and on top of it.
MEMORY = 4, 1 << 30
OUTPUT = 4, 16 << 20
#: Seconds of the processor, and bytes of the file for which there is one second more.
CPU_SEC, BYTES_PER_SEC = 60, 10 << 20
#: Events that end the process, by their beginning.
DOORS = (
    "open", "import", "exec", "compile", "marshal.", "pickle.", "ctypes.", "subprocess.", "socket.", "urllib.", "shutil.", "pty.", "os.",
    "fcntl.", "mmap.", "tempfile.", "webbrowser.", "code.", "function.", "winreg.", "signal.", "syslog.", "sqlite3.",
)  # fmt: skip
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38


class Refused(Exception):
    """The file is not what it should be; the text says how."""


def main() -> None:
    """Convert standard input to standard output."""
    size = os.fstat(0).st_size
    wall_off_network()
    import torch

    from genart.nn import checkpoint

    rehearse()
    set_limits(size)
    shut_doors()
    try:
        state = torch.load(sys.stdin.buffer, map_location="cpu", weights_only=True)
        tensors, left_out = tensors_of(state)
        write(sys.stdout.buffer, checkpoint.written(tensors, {"sha256": sys.argv[1]}))
    except Refused as error:
        end(7, refused=str(error))
    except (MemoryError, OSError) as error:
        end(7, refused=f"it asks for more memory or room than it may ({type(error).__name__})")
    except Exception as error:  # the reader raises nearly anything
        end(7, refused=reason(error))
    end(0, left_out=left_out)


def rehearse() -> None:
    """Read files of our own of both kinds, so that whatever code it takes is loaded before nothing more can be."""
    import torch

    for zipped in (True, False):
        file = io.BytesIO()
        torch.save({"a": torch.nn.Parameter(torch.zeros(1))}, file, _use_new_zipfile_serialization=zipped)
        file.seek(0)
        tensors_of(torch.load(file, map_location="cpu", weights_only=True))


def end(code: int, **told: Any) -> NoReturn:
    """Tell, and be gone without any clean-up that a file could have a hand in."""
    with suppress(OSError):
        os.write(2, json.dumps(told).encode() + b"\n")
    os._exit(code)


def reason(error: Exception) -> str:
    """What torch's reader says, in few words."""
    text = " ".join(str(error).split())
    if called := re.search(r"(?:Unsupported global:|unsupported) GLOBAL (\S{1,100})", text):
        return f"it would call {called[1]}"
    if "TorchScript" in text:
        return "it is a program (TorchScript)"
    if "allocate" in text:
        return "it asks for more memory than it may"
    return f"it cannot be read as weights ({type(error).__name__})"


# walls


def wall_off_network() -> None:
    """Leave the network, where the system lets anybody do so; and die with whoever started this process."""
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)


def set_limits(size: int) -> None:
    """Bound memory, time, output, processes and open files, where the system can.

    Args:
        size: of the file, in bytes.
    """
    try:
        import resource
    except ImportError:
        return
    limits = {
        "RLIMIT_CPU": CPU_SEC + size // BYTES_PER_SEC,
        "RLIMIT_FSIZE": OUTPUT[0] * size + OUTPUT[1],
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": 3,
    }
    with suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
        limits["RLIMIT_AS"] = int(file.read().split()[0]) * resource.getpagesize() + MEMORY[0] * size + MEMORY[1]
    for name, limit in limits.items():
        with suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (limit, limit))


def shut_doors() -> None:
    """End the process when anything but computing is done from now on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(DOORS):
            end(7, refused=f"it attempted what no weights do ({event}{arguments[:1]})")

    sys.addaudithook(hook)


# what comes through


def tensors_of(state: Any) -> tuple[dict[str, Tensor], int]:
    """Tensors by name, the names of dicts within dicts joined by dots, and the number of values that are left out.

    Raises:
        Refused: if there is none, or one is not plain numbers, or a name is none.
    """
    if not isinstance(state, Mapping):
        raise Refused(f"it holds a {type(state).__name__} instead of tensors by name")
    from torch import Tensor

    found: dict[str, Tensor] = {}
    left_out = 0
    for name, value in values(state, "", 1):
        if not isinstance(value, Tensor):
            left_out += 1
            continue
        check(name, value)
        if name in found:
            raise Refused(f"two tensors are called '{name}'")
        found[name] = value
        if len(found) > MAX_TENSORS:
            raise Refused(f"it holds more than {MAX_TENSORS} tensors")
    if not found:
        raise Refused("it holds no tensor")
    return found, left_out


def values(state: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """What the dicts hold, by name.

    Raises:
        Refused: if they nest too deeply, or a name is none.
    """
    if depth > MAX_DEPTH:
        raise Refused(f"dicts nest more than {MAX_DEPTH} deep")
    seen = 0
    for key, value in state.items():
        name = f"{prefix}{key}" if type(key) in (str, int) else ""
        if not (0 < len(name) <= MAX_NAME and name.isprintable() and name != "__metadata__"):
            raise Refused("a tensor has no proper name")
        for item in values(value, f"{name}.", depth + 1) if isinstance(value, Mapping) else [(name, value)]:
            seen += 1
            if seen > MAX_VALUES:
                raise Refused(f"it holds more than {MAX_VALUES} values")
            yield item


def check(name: str, value: Tensor) -> None:
    """Check that a tensor is plain numbers, as many as are in the file.

    Raises:
        Refused: if not.
    """
    import torch

    from genart.nn.checkpoint import DTYPES

    if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.device.type != "cpu" or value.layout != torch.strided:
        raise Refused(f"'{name}' is no plain tensor")
    if value.is_quantized or value.dtype not in DTYPES.values() or value.is_neg():
        raise Refused(f"'{name}' is of a type that safetensors do not hold ({value.dtype})")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise Refused(f"'{name}' claims more numbers than the file holds")


def write(file: BinaryIO, parts: list[bytes | memoryview]) -> None:
    """Write all of it, to the disk."""
    for part in parts:
        file.write(part)
    file.flush()


if __name__ == "__main__":
    main()
