"""A predictor for each client, in bounded memory."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ..apis import OVSAMPredictor


@dataclass
class _Session:
    predictor: OVSAMPredictor
    used: float
    size: int = 0


class Sessions:
    """Predictors by the secret tokens of their clients; thread-safe.

    The least recently used session is dropped first, after some time without use or when memory or
    number reach their limit.

    Args:
        make: Returns a new predictor without an image.
        max_bytes: Memory for encoded images and names of all sessions; the latest always stays.
        max_sessions: Number of sessions, with and without images.
        forget_after: Seconds without use.
        clock: Returns the time in seconds.

    Raises:
        ValueError: A limit is not positive.
    """

    def __init__(
        self,
        make: Callable[[], OVSAMPredictor],
        max_bytes: int,
        max_sessions: int = 1000,
        forget_after: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (max_bytes > 0 and max_sessions > 0 and forget_after > 0):
            raise ValueError(
                'max_bytes, max_sessions and forget_after must be above 0, not '
                f'{max_bytes}, {max_sessions} and {forget_after}.'
            )
        self.make = make
        self.max_bytes = max_bytes
        self.max_sessions = max_sessions
        self.forget_after = forget_after
        self.clock = clock
        self._sessions: OrderedDict[Hashable, _Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, token: Hashable | None = None) -> Hashable:
        """Create a session and return its token, by default a new secret one."""
        token = token or secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[token] = _Session(self.make(), self.clock())
            while len(self._sessions) > self.max_sessions:
                self._sessions.popitem(last=False)
        return token

    def get(self, token: Hashable) -> OVSAMPredictor | None:
        """The predictor of a session; None if it does not exist or was dropped."""
        with self._lock:
            self._drop_idle()
            session = self._sessions.get(token)
            if session is None:
                return None
            session.used = self.clock()
            self._sessions.move_to_end(token)
            return session.predictor

    def close(self, token: Hashable) -> None:
        """Drop a session."""
        with self._lock:
            self._sessions.pop(token, None)

    def measure(self, token: Hashable) -> None:
        """Update the memory use of a session, and drop older ones until all fit."""
        with self._lock:
            self._drop_idle()
            if token in self._sessions:
                self._sessions[token].size = self._sessions[token].predictor.nbytes
            total = sum(session.size for session in self._sessions.values())
            for older in list(self._sessions)[:-1]:
                if total <= self.max_bytes:
                    break
                if self._sessions[older].size:  # dropping an empty one frees nothing
                    total -= self._sessions.pop(older).size

    def _drop_idle(self) -> None:
        oldest = self.clock() - self.forget_after
        while self._sessions and next(iter(self._sessions.values())).used < oldest:
            self._sessions.popitem(last=False)
