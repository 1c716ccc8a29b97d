"""Who may ask, and how often."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from lvray.errors import UseError
from lvray.serving.problems import Problem
from lvray.shards.identity import MIN_BYTES

VARIABLE = "LVRAY_API_KEYS"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
COMMENT = re.compile(r"(?:^|\s)#")
HOW = "send Authorization: Bearer KEY"


@dataclass
class Keys:
    """The keys of a file, one a line (# at its start or after a space begins a comment), or of LVRAY_API_KEYS, between
    spaces or commas.

    The file is read again when it changes, so keys come and go without a restart; while it cannot be read, nobody gets
    in. open: no keys at all; whoever asks for a host on loopback gets in.
    """

    file: Path | None = None
    open: bool = False
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _read_at: object = None
    _digests: tuple[bytes, ...] = ()

    def admit(self, authorization: str | None, host: str | None, origin: str | None = None,
              peer: str | None = None) -> str | None:
        """Whose request it is: some digits of the key's digest, None where there are no keys. Problem: 401, 403.

        host, origin: as the headers have them; peer: the address that it came from.
        """
        if self.open:
            _check_is_here(host, origin, peer)
            return None
        scheme, _, given = (authorization or "").partition(" ")
        digest = hashlib.sha256(given.strip().encode()).digest()
        alike = [hmac.compare_digest(digest, one) for one in self.digests()]
        if scheme.lower() != "bearer" or not any(alike):
            raise Problem(401, f"an API key is wanted, and {'this is none' if authorization else 'none came'}: {HOW}",
                          **{"WWW-Authenticate": "Bearer"})
        return digest.hex()[:16]

    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each key. Keys that are too short to be safe are none."""
        if self.file is None:
            return _digests(self._given())
        try:
            stat = self.file.stat()
            now = stat.st_mtime_ns, stat.st_ino, stat.st_size
            if now != self._read_at:
                self._digests, self._read_at = _digests(self._given()), now
        except (OSError, ValueError):
            self._digests, self._read_at = (), None
        return self._digests

    def check(self) -> None:
        """UseError: there is not a single key, or one that would let nobody in."""
        try:
            given = self._given()
        except OSError as error:
            raise UseError(f"the file of --keys cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise UseError("the file of --keys is no text") from error
        if not given or min(map(len, given)) < MIN_BYTES:
            where = VARIABLE if self.file is None else "the file of --keys"
            raise UseError(f"{where} holds {'a key that is too short' if given else 'no key'}: at least {MIN_BYTES}"
                           " characters are wanted (python -c 'import secrets; print(secrets.token_urlsafe(32))')")

    def _given(self) -> list[str]:
        """OSError, ValueError: of the file."""
        if self.file is None:
            return self.env.get(VARIABLE, "").replace(",", " ").split()
        lines = (COMMENT.split(line)[0].strip() for line in self.file.read_text().splitlines())
        return [line for line in lines if line]


def _check_is_here(host: str | None, origin: str | None, peer: str | None) -> None:
    """Problem: 403 for another machine, and for a page of another name that leads here (DNS rebinding) or posts to
    here."""
    try:
        names = {urlsplit(f"//{host or ''}").hostname, *([urlsplit(origin).hostname] if origin else [])}
        here = names <= {*LOOPBACK} and (peer is None or ip_address(peer).is_loopback)
    except ValueError:
        here = False
    if not here:
        raise Problem(403, "without keys the service answers on loopback alone")


def _digests(keys: list[str]) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(key.encode()).digest() for key in keys if len(key) >= MIN_BYTES)


class Rate:
    """A bucket of `per_minute` tokens for each key, which fills up evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> None:
        """Problem: 429, with when to come back."""
        now = self._clock()
        left, at = self._buckets.get(who, (float(self._most), now))
        left = min(self._most, left + (now - at) * self._most / 60)
        if left < 1:
            wait = (1 - left) * 60 / self._most
            raise Problem(429, f"more than {self._most} requests a minute with this key",
                          **{"Retry-After": str(int(wait) + 1)})
        self._buckets[who] = left - 1, now
