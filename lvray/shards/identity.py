"""Keyed hashes: how participants, studies and files are named outside the hospital.

HMAC-SHA256 (RFC 2104). Whoever holds the key can link a hash back to an id; nobody else can, and
hashes made under two keys cannot be joined.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from lvray.errors import UseError
from lvray.shards import storage

MIN_BYTES = 16
Kind = Literal["participant", "study", "source", "given", "version", "work"]


def load_key(file: Path | None, env: Mapping[str, str], destination: str | None) -> bytes:
    """The secret key: `--key FILE`, else LVRAY_KEY, else a key of the user's own, made on first use.

    destination: URI of the data set that the hashes are for. A key is never made up for an object store, where
    two machines would name the same person differently.
    Raises UseError for a key that is absent, unreadable or shorter than 16 bytes; EnvironmentFault where a new
    key cannot be kept.
    """
    if file is not None:
        try:
            key = file.read_bytes().strip()
        except OSError as error:
            raise UseError(f"--key: cannot read the key file: {error.strerror}") from error
        return _long_enough(key, "--key")
    if env.get("LVRAY_KEY"):
        return _long_enough(env["LVRAY_KEY"].strip().encode(), "LVRAY_KEY")
    if destination is not None and storage.is_s3(destination):
        raise UseError("an object store needs a key that every machine shares: give --key FILE or set LVRAY_KEY")
    return _own_key(env)


def keyed(key: bytes, kind: Kind, text: str) -> str:
    """32 hex digits that stand for `text`; one domain for each kind, so that equal texts of two kinds differ."""
    return _mac(key, f"{kind}:{text}")[:32]


def fingerprint(key: bytes) -> str:
    """16 hex digits that tell keys apart and give nothing of the key away."""
    return _mac(key, "fingerprint")[:16]


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, f"lvray:{text}".encode(), hashlib.sha256).hexdigest()


def _long_enough(key: bytes, where: str) -> bytes:
    if len(key) < MIN_BYTES:
        raise UseError(f"{where}: a key of {len(key)} bytes is too short; at least {MIN_BYTES}, from a random source")
    return key


def _own_key(env: Mapping[str, str]) -> bytes:
    config = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "~")).expanduser() / ".config")
    path = config / "lvray" / "key"
    with storage.faults("keep a key in the user's configuration folder (or give --key FILE)"):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(path)
        return _long_enough(path.read_bytes().strip(), "the user's own key")


def _make(path: Path) -> None:
    """Write a new key aside (mode 0600), then link it: of two that start at once, one wins and both use it."""
    aside = path.with_name(f".key.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(32) + "\n")
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
