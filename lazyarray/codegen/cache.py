"""Compiled loops on disk, shared by processes: atomic, checked, bounded.

An entry is a file named by its key: a digest of its content, and the content. Whatever goes wrong
with the folder or a file, the cache has no such entry; nothing here raises.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

LIMIT = 128 << 20  # bytes; a loop takes 2 to 30 KB
DIGEST = hashlib.sha256
DRAFT = ".draft-"
ENTRY = re.compile(r"[0-9a-f]{64}|\.draft-.*")


def folder() -> Path:
    """Where entries are: LAZYARRAY_CACHE, or the user's cache folder."""
    chosen = os.environ.get("LAZYARRAY_CACHE")
    if not chosen:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        chosen = os.path.join(home, "lazyarray")
    return Path(chosen) / "loops"


def key_of(*parts: str) -> str:
    """The name of an entry that depends on these texts."""
    found = DIGEST()
    for part in parts:
        data = part.encode()
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


def trusted(place: Path) -> bool:
    """Whether only this user, or the system's, can have put code into a folder."""
    seen = place.stat()
    return seen.st_uid in (os.geteuid(), 0) and not seen.st_mode & stat.S_IWOTH


def get(key: str) -> bytes | None:
    """The content of an entry; None where there is none. A damaged one is removed."""
    place = folder()
    path = place / key
    try:
        if not trusted(place):
            return None
        data = path.read_bytes()
    except OSError:
        return None
    size = DIGEST().digest_size
    if DIGEST(data[size:]).digest() != data[:size]:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used just now, see `evict`
    return data[size:]


def put(key: str, content: bytes) -> None:
    """Make an entry; others see all of it or nothing."""
    place = folder()
    draft = ""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not trusted(place):
            return
        fd, draft = tempfile.mkstemp(prefix=DRAFT, dir=place)
        with os.fdopen(fd, "wb") as file:
            file.write(DIGEST(content).digest() + content)
        os.replace(draft, place / key)
        evict(place)
    except OSError:
        if draft:
            with contextlib.suppress(OSError):
                os.unlink(draft)


def evict(place: Path) -> None:
    """Remove the entries that were used longest ago, and forgotten drafts, beyond the limit."""
    entries = []
    for entry in os.scandir(place):
        with contextlib.suppress(OSError):
            if ENTRY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                seen = entry.stat(follow_symlinks=False)
                entries.append((seen.st_mtime, seen.st_size, entry.path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= LIMIT:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
        total -= size
