"""Chromium without a screen, driven over its DevTools protocol: enough to open a page, press keys and ask for what it shows.

    with Browser() as browser:
        browser.open("http://127.0.0.1:3200/")
        browser.wait_for("document.getElementById('state').textContent !== 'Loading.'")
        browser.press("Enter")

Keys go through Chromium's own input, so focus, defaults and listeners act as they do for a person.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
"""'' where there is none."""
# Its background services look for hosts that a closed machine does not reach.
_FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip
_NAMED = {"Enter": (13, "\r"), "Escape": (27, ""), "Backspace": (8, ""), "ArrowDown": (40, ""), "ArrowUp": (38, "")}
_READY_S, _ANSWER_S = 60.0, 30.0


class Browser:
    """One page of a browser of its own; a context manager."""

    def __enter__(self) -> Self:
        self._closing = ExitStack()
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # it writes while it is killed
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # as root, in a container, it starts in no other way
        command = [PROGRAM, *_FLAGS, *root, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            self._connect()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.close()
        os.killpg(self._process.pid, signal.SIGKILL)  # with the processes of its pages
        self._process.wait()
        self._profile.cleanup()

    def open(self, url: str) -> None:
        """Load a page and wait until it is there."""
        self._send("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page, as plain values."""
        answer = self._send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 20.0) -> None:
        """Wait until a JavaScript expression is true; AssertionError with the page's text if it does not become so."""
        deadline = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {expression}\n{self.value('document.body.innerText')}"
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Press keys one after another: characters, or Enter, Escape, Backspace, ArrowDown, ArrowUp."""
        for key in keys:
            code, text = _NAMED.get(key) or (ord(key.upper()), key)
            pressed = {"key": key, "windowsVirtualKeyCode": code}
            self._send("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
            self._send("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def click(self, selector: str) -> None:
        """Scroll to the first element of a CSS selector and click in its middle."""
        x, y = self.value(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)}); found.scrollIntoView({{block: 'center'}});"
            " const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def _connect(self) -> None:
        from websockets.sync.client import connect

        told = Path(self._profile.name) / "DevToolsActivePort"
        deadline = time.monotonic() + _READY_S
        while not (told.exists() and told.read_text(encoding="utf-8").count("\n")):
            assert self._process.poll() is None, f"{PROGRAM} ended with exit code {self._process.returncode}"
            assert time.monotonic() < deadline, f"{PROGRAM} did not start within {_READY_S:g} s"
            time.sleep(0.05)
        port = told.read_text(encoding="utf-8").splitlines()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=_ANSWER_S) as page:
            place = next(target["webSocketDebuggerUrl"] for target in json.load(page) if target["type"] == "page")
        self._socket, self._number = self._closing.enter_context(connect(place, proxy=None, max_size=None)), 0

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_ANSWER_S))
            if answer.get("id") == self._number:  # events come between
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
