"""The pool's side of one worker: its process, its state, and the channel to it."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from enum import Enum
from typing import Any

_END_TIMEOUT = 5.0  # seconds for a process to end after its last message, or after it was killed


class State(Enum):
    """Of a worker."""

    STARTING = "has not taken its settings yet"
    IDLE = "holds no job"
    BUSY = "holds jobs"
    DEAD = "has ended, and its messages no longer count"


Inbox = queue.Queue[tuple["WorkerProcess", dict[str, Any] | None]]
"""Messages of all workers; ``None`` when a worker says no more."""


class WorkerProcess:
    """One process.

    Args:
        command: that starts it.
        settings: its first message.
        inbox: where its messages go.

    Attributes:
        state: set by the pool.
        heard: when the last message came or the last job went, in seconds of the pool's clock.

    Raises:
        OSError: when the system cannot start a process.
    """

    def __init__(self, command: Sequence[str], settings: dict[str, Any], inbox: Inbox) -> None:
        self.state = State.STARTING
        self.heard = 0.0
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.send(settings)
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; it is lost when the process has ended, which the inbox will hear of."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def how_it_ended(self) -> str:
        """The predicate of a sentence about the process that says no more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_TIMEOUT)
        code = self._process.returncode
        if code is None:
            return "closed its channel"
        if code >= 0:
            return f"ended with status {code}"
        names = {number.value: number.name for number in signal.Signals}
        reason = " (often for lack of memory)" if -code == signal.SIGKILL else ""
        return f"was killed by {names.get(-code, f'signal {-code}')}{reason}"

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.state = State.DEAD
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for a dead file server
            self._process.wait(_END_TIMEOUT)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _listen(self, inbox: Inbox) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, contextlib.suppress(ValueError):  # a line cut short
            for line in lines:
                inbox.put((self, json.loads(line)))
        inbox.put((self, None))
