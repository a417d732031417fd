"""Small file systems for commands to fill, in a mount namespace of their own: whatever is mounted goes with the last process in it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

REMOUNT, READ_ONLY, BIND = 32, 1, 4096
DETACH = 2
#: Bytes of what a tmpfs counts in.
BLOCK = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def namespace() -> list[str] | None:
    """The beginning of a command that runs the rest in a mount namespace; None where that is not allowed."""
    for words in (["unshare", "-m"], ["unshare", "-Urm"]):
        try:
            done = subprocess.run([*words, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return words
    return None


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, options.encode()):
        raise OSError(ctypes.get_errno(), "mount", str(target))


class Small:
    """A tmpfs in the place of a folder, with a copy of what the folder holds.

    Args:
        folder: which is made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        aside = folder.with_name(f"{folder.name}.aside")
        if folder.exists():
            folder.rename(aside)
        folder.mkdir(parents=True)
        _mount("none", folder, "tmpfs", 0, "size=1g")
        if aside.exists():
            shutil.copytree(aside, folder, dirs_exist_ok=True, symlinks=True)
            shutil.rmtree(aside)

    def leave(self, blocks: int) -> None:
        """Leave so many blocks beside what is there."""
        about = os.statvfs(self.folder)
        used = (about.f_blocks - about.f_bfree) * about.f_frsize // BLOCK
        _mount("none", self.folder, "tmpfs", REMOUNT, f"size={max(1, used + blocks) * BLOCK}")  # 0 would mean no limit

    def leave_names(self, count: int) -> None:
        """Leave so many files beside those that are there."""
        about = os.statvfs(self.folder)
        _mount("none", self.folder, "tmpfs", REMOUNT, f"nr_inodes={about.f_files - about.f_ffree + count}")

    def grow(self) -> None:
        """Free space."""
        _mount("none", self.folder, "tmpfs", REMOUNT, "size=1g,nr_inodes=100000")

    def close(self) -> None:
        """Take it away, with all that it holds."""
        if ctypes.CDLL(None).umount2(os.fsencode(self.folder), DETACH):
            raise OSError("umount")


def read_only(folder: Path) -> None:
    """Let nobody write into a folder, not even root, until `writable`."""
    _mount(str(folder), folder, "", BIND, "")
    _mount("none", folder, "", REMOUNT | BIND | READ_ONLY, "")


def writable(folder: Path) -> None:
    """Undo `read_only`."""
    ctypes.CDLL(None).umount2(os.fsencode(folder), DETACH)
