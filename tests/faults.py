"""Disks that fail, and processes that die, at any call of Python's file system."""

import builtins
import contextlib
import errno
import io
import os
from pathlib import Path

FAULTS = dict(full=errno.ENOSPC, read_only=errno.EROFS, broken=errno.EIO, denied=errno.EACCES)
VANISHED = 'vanished'
"""What befalls a disk, and the error that the system gives."""
KILLED = 'killed'
_READING = ('read',)
_GROWING = ('write', 'create', 'make')  # what a full disk refuses


class Call:
    """What a file asks to be called when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Killed(BaseException):
    """In place of SIGKILL: from here on nothing of the process reaches the disk."""


class Disk:
    """The files below a folder, whose calls are counted and fail from a given one on.

    Args:
        folder (Path): Others are left alone.
        kind (str, optional): One of `FAULTS`, `VANISHED`, or `KILLED`.
        after (int): How many calls succeed first.
    """

    def __init__(self, folder, kind=None, after=0):
        self.folder, self.kind, self.left = str(folder), kind, after
        self.calls = 0
        self.is_over = False
        self.failed = None
        """The call that failed first, and its file."""

    def call(self, what, path):
        """Count a call, and fail if it is its turn."""
        if not isinstance(path, str | os.PathLike) or not str(path).startswith(self.folder):
            return
        self.calls += 1
        if self.kind is None or self.calls <= self.left:
            return
        if self.kind == KILLED:
            self.failed = self.failed or (what, str(path))
            raise Killed
        growing, reading = what in _GROWING, what in _READING
        spared = dict(full=not growing, read_only=reading, vanished=not reading)
        if spared.get(self.kind):
            return
        self.failed = self.failed or (what, str(path))
        number = FAULTS.get(self.kind, errno.ENOENT)
        if what == 'write':  # of an open file: the system does not say which
            raise OSError(number, os.strerror(number))
        raise OSError(number, os.strerror(number), str(path))

    @contextlib.contextmanager
    def installed(self):
        """A block in which Python's calls are those of this disk."""
        disk, real_open, real_os_open = self, io.open, os.open

        class File(io.FileIO):
            def write(self, data):
                if disk.is_over and disk.failed:  # left open, and closed some time later
                    return len(data)
                try:
                    disk.call('write', self.name)
                except OSError:
                    super().write(bytes(data)[: len(data) // 2])
                    raise
                return super().write(data)

            def readinto(self, buffer):
                disk.call('read', self.name)
                return super().readinto(buffer)

            def readall(self):
                disk.call('read', self.name)
                return super().readall()

        def open_file(file, mode='r', buffering=-1, encoding=None, errors=None, newline=None,
                      closefd=True, opener=None):  # fmt: skip
            path = file if isinstance(file, str | os.PathLike) else ''
            if not str(path).startswith(disk.folder):
                return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            disk.call('read' if mode.strip('bt') == 'r' else 'create', path)
            raw = File(str(path), mode.replace('b', '').replace('t', ''), closefd, opener)
            if buffering == 0:
                return raw
            kind = io.BufferedReader
            if '+' in mode:
                kind = io.BufferedRandom
            elif mode.strip('bt') != 'r':
                kind = io.BufferedWriter
            buffered = kind(raw)
            if 'b' in mode:
                return buffered
            return io.TextIOWrapper(buffered, encoding, errors, newline)

        def os_open(path, flags, *args, **kwargs):
            disk.call('create' if flags & os.O_CREAT else 'read', path)
            return real_os_open(path, flags, *args, **kwargs)

        def counted(name, what):
            real = getattr(os, name)

            def function(path, *args, **kwargs):
                disk.call(what, path)
                return real(path, *args, **kwargs)

            return function

        calls = dict(mkdir='make', replace='change', rename='change', unlink='change')
        calls |= dict(remove='change', rmdir='change', truncate='change', chmod='change')
        replaced = {name: counted(name, what) for name, what in calls.items()} | dict(open=os_open)
        before = {name: getattr(os, name) for name in replaced}
        try:
            for name, function in replaced.items():
                setattr(os, name, function)
            io.open = builtins.open = open_file
            yield self
        finally:
            self.is_over = True
            io.open = builtins.open = real_open
            for name, function in before.items():
                setattr(os, name, function)


def contents(folder):
    """The content of each file below a folder, but for locks, logs and what is half-written."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob('*'))
        if path.is_file() and path.suffix not in ('.lock', '.tmp', '.log') and path.name != 'lock'
    }
