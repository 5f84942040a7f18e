"""Who works on a run, and whether he still does.

A process id says little: it is given again after a reboot, and two containers that
share a host name and a disk each have their own. So a lease names the boot, the space
of process ids and the start of the process. Whoever sees the same boot and the same
space asks the system; everyone else goes by the last sign of life in the lease.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import psutil

HOST = socket.gethostname()
BEAT = 2.0  # seconds between signs of life on a disk
BEAT_FAR = 20.0  # and in an object store, where each is a request
SILENCE = 600.0  # seconds after which whoever can't be asked counts as dead
BOOT = Path("/proc/sys/kernel/random/boot_id")
SPACE = Path("/proc/self/ns/pid")


@lru_cache(maxsize=1)
def _machine() -> tuple[str, str]:
    """The boot of this machine, and the space in which its process ids are unique."""
    boot = BOOT.read_text().strip() if BOOT.is_file() else f"{psutil.boot_time():.0f}"
    return boot, os.readlink(SPACE) if SPACE.is_symlink() else HOST


def mine() -> dict:
    """A lease of this process."""
    boot, space = _machine()
    started = psutil.Process().create_time()
    return {
        "host": HOST,
        "boot": boot,
        "space": space,
        "pid": os.getpid(),
        "started": started,
        "beat": time.time(),
    }


def alive(lease: Mapping) -> bool:
    """Whether the process that holds a lease still runs,
    as far as one can tell here.
    """
    if (lease["boot"], lease["space"]) != _machine():
        return time.time() - lease["beat"] < SILENCE
    try:
        process = psutil.Process(lease["pid"])
        same = abs(process.create_time() - lease["started"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
