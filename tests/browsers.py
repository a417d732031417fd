"""A real browser for tests: headless Chromium."""

from __future__ import annotations

import queue
import shutil
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
    "--disable-dev-shm-usage", "--enable-logging=stderr", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
#: Seconds after which a page is taken to say nothing.
PATIENCE_SEC = 90


def browse(page: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Open a page, let three seconds of its own time pass, and end; `home` is a folder for the browser's files."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={home / 'chromium'}", "--virtual-time-budget=3000", *arguments, page.absolute().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def console_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the page said on the browser's console."""
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def told_by(files: Mapping[str, tuple[str, bytes]], home: Path) -> str:
    """Open "/" of these files (kind and content by path) in real time, and return what the page posts to "/told"."""
    told: queue.Queue[str] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, content = files.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in files else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={home / 'chromium'}", "--remote-debugging-port=0"]
        page = f"http://127.0.0.1:{server.server_port}/"
        with subprocess.Popen([*command, page], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                return told.get(timeout=PATIENCE_SEC)
            finally:
                browser.kill()
                server.shutdown()
