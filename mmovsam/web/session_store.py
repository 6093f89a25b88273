"""The sessions of all users, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from .session import Session

RESTING = 4


class SessionStore:
    """Each user's session, made when it is first asked for. May be used by several threads.

    Args:
        make: Makes an empty session.
        max_sessions: How many hold an encoded picture: when another comes, the one that was not
            used for longest rests, see `Session.rest`. `RESTING` times as many rest before one is
            forgotten.
        forget_after: Seconds without use after which a session is forgotten.
        clock: Tells the time in seconds.

    Raises:
        ValueError: A limit leaves no session.
    """

    def __init__(
        self,
        make: Callable[[], Session],
        max_sessions: int = 16,
        forget_after: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_sessions < 1 or forget_after <= 0:
            raise ValueError(
                'max_sessions must be at least 1 and forget_after above 0 seconds, not '
                f'{max_sessions} and {forget_after}.'
            )
        self.make = make
        self.max_sessions = max_sessions
        self.forget_after = forget_after
        self.clock = clock
        self._sessions: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, key: str) -> Session:
        """A user's session; an empty one for a new user, and for one who was forgotten.

        Args:
            key: What only this user knows.

        Raises:
            ValueError: The key is empty.
        """
        if not key:
            raise ValueError('A session needs a key that is its own.')
        with self._lock:
            self.drop_idle()
            _, session = self._sessions.pop(key, (None, None))
            session = session or self.make()
            self._sessions[key] = self.clock(), session
            while len(self._sessions) > (1 + RESTING) * self.max_sessions:
                self._sessions.popitem(last=False)
            for _, unused in list(self._sessions.values())[: -self.max_sessions]:
                unused.rest()
            return session

    def leave(self, key: str) -> None:
        """Note that a user seems to be gone: of all sessions this one is forgotten first.

        Not at once, since a lost connection looks the same.
        """
        with self._lock:
            if key in self._sessions:
                self._sessions.move_to_end(key, last=False)

    def drop_idle(self) -> None:
        """Drop the sessions whose time is over."""
        with self._lock:
            oldest = self.clock() - self.forget_after
            for key in [key for key, (used, _) in self._sessions.items() if used < oldest]:
                del self._sessions[key]
