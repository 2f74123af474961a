"""SIGINT and SIGTERM as a request: the first is remembered until a good moment, the second acts at once."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

logger = logging.getLogger("counterpoint")


class Stopped(KeyboardInterrupt):
    """A signal that acts at once; ``number`` says which."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


class Signals:
    """Remembers that the process was asked to stop; restores the former handlers when closed."""

    def __init__(self) -> None:
        self.requested = False
        self.number: int = signal.SIGINT
        self._former: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._remember)

    def _remember(self, number: int, _: FrameType | None) -> None:
        if self.requested:
            raise Stopped(number)
        self.requested, self.number = True, number
        logger.warning("stopping after this step; once more stops at once")

    def close(self) -> None:
        """Put the former handlers back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
