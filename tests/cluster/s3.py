"""An S3 of this machine, which speaks the real protocol, in a process of its own; and a wire to it that breaks."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable

#: Credentials that are to be in nothing that is written or told.
KEY, SECRET, TOKEN = "AKIAcanary51c3e9", "secret-canary-51c3e9", "token-canary-51c3e9"


def free_port() -> int:
    """A port of the loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class S3:
    """The server.

    Args:
        strict: it asks who is there and lets nobody in.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        own = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if strict else {}
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        nothing = subprocess.DEVNULL
        self.process = subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=nothing, env={**os.environ, **own})
        while self.process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            time.sleep(0.05)
        raise RuntimeError("the server of S3 does not begin")

    def make(self, bucket: str) -> None:
        """Make a bucket."""
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{bucket}", method="PUT")).close()

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()

    def variables(self, port: int | None = None) -> dict[str, str]:
        """The environment of who uses it, by way of another port if need be."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class Wire:
    """A wire to a port, which breaks when it is told to.

    Args:
        port: where it leads.
        breaks: called with the number of each connection, from 1 on, and what was sent first: True breaks it before there is an answer.
    """

    def __init__(self, port: int, breaks: Callable[[int, bytes], bool]) -> None:
        self.behind, self.breaks = port, breaks
        self.broken = self.count = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            first = client.recv(65536)
            self.count += 1
            if self.breaks(self.count, first):
                self.broken += 1
                return
            with socket.create_connection(("127.0.0.1", self.behind)) as server:
                server.sendall(first)
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
