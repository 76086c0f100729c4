"""The owner's policy: one file, changed in one way, on record before it takes effect.

The file is read by everybody and written here alone. Its last line is a checksum: a file that is damaged, or that was
edited past the studio (and so past the log), is not guessed at. Then the strictest policy rules until the owner chooses
again, and everything that shows the policy says why. Without a file the personal profile rules.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import tempfile
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from backend.errors import Busy, NotAllowed, StorageFull, Unavailable
from backend.types import Principal
from backend.types.jobs import LADDER
from safety.durable import force_folder
from safety.policy import (
    ABOUT,
    CATEGORIES,
    CLOSED,
    IN_WORDS,
    MEANING,
    NEVER,
    OWN,
    PERSONAL,
    PREVIEWS_IN_WORDS,
    PROFILES,
    ROLES,
    Policy,
    edited,
    flat,
)

FOREIGN = frozenset({"share", "extension", "mcp"})
"""Who comes this way changes no policy, whatever roles they have."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_SUM = "# checksum: "
_HEADER = (
    "# The policy of this studio. It is changed in its settings, where every change goes on record; edited here it is\n"
    "# not believed, and the strictest policy rules until one is chosen again.\n"
)

log = logging.getLogger(__name__)


class Log(Protocol):
    """backend.ports.AuditLog, as far as it is needed here."""

    def append(
        self, event: str, principal: Principal, facts: Mapping[str, Any], texts: Mapping[str, str] | None = None
    ) -> str: ...


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read when the file looked like `seen`."""

    seen: tuple[int, int, int] | None
    policy: Policy
    version: int
    problem: str | None = None


class PolicyDesk:
    """Thread-safe. Other processes see a change at their next question; one that is made waits `patience` seconds for
    another one to end."""

    def __init__(self, path: Path, patience: float = 10.0) -> None:
        self._path = path
        self._patience = patience
        self._lock = threading.RLock()
        self._last = self._read()

    def current(self) -> Policy:
        """The policy in force. Costs one look at the file's date unless it has changed. Never raises."""
        return self._now().policy

    def problem(self) -> str | None:
        """Why the strictest policy is in force instead of the owner's, None if all is well."""
        return self._now().problem

    def change(self, edit: Mapping[str, Any], principal: Principal, log: Log) -> Policy:
        """Put a changed policy in force and return it; what `edit` does not name stays (see safety.policy.edited).

        The change is made ready on the disk, then goes on record, then takes effect. Killed in between, the log tells
        of a change that did not come to be, never the other way round. Raises NotAllowed for anybody but the owner,
        InvalidParameter naming the field, StorageFull or another SignetError; then the old policy stays in force.
        """
        if "owner" not in principal.roles or principal.source in FOREIGN:
            raise NotAllowed("Only the owner may change the policy, at the studio itself.")
        with self._lock, self._alone():
            before = self._now()
            base = before.policy if before.problem is None else CLOSED
            policy = edited(base, edit, version=before.version + 1)
            content = _written(policy)
            ready = self._ready(content)
            try:
                facts: dict[str, Any] = {
                    "from": base.id,
                    "to": policy.id,
                    "changes": difference(base, policy),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
                if before.problem:
                    facts["repaired"] = True
                log.append("policy", principal, facts)
                ready.replace(self._path)
                force_folder(self._path.parent)
            except OSError as error:
                raise self._unwritable(error) from error
            finally:
                ready.unlink(missing_ok=True)
            return self._now().policy

    def described(self) -> tuple[Mapping[str, Any], ...]:
        """Every category: what it means and what follows, in plain words; for whom it is stricter; whether it may be
        changed at all."""
        policy = self.current()
        return tuple(
            {
                "category": category,
                "meaning": MEANING[category],
                "action": (action := policy.actions.get(category, "allow")),
                "words": IN_WORDS[action],
                "fixed": category in NEVER,
                "roles": {role: stricter for role in ROLES if (stricter := policy.action(category, (role,))) != action},
            }
            for category in CATEGORIES
        )

    def shown(self) -> Mapping[str, Any]:
        """What is in force, in plain values and plain words. `problem` is not None where it is not what was chosen."""
        now = self._now()
        policy = now.policy
        return {
            "id": policy.id,
            "name": policy.name,
            "version": policy.version,
            "profile": policy.name.removesuffix(OWN),
            "profiles": [{"name": name, "about": ABOUT[name]} for name in PROFILES],
            "choices": list(LADDER),
            "categories": list(self.described()),
            "flagged": policy.flagged,
            "flagged_words": IN_WORDS[policy.flagged],
            "flag_from": policy.flag_from,
            "previews": policy.previews,
            "previews_words": PREVIEWS_IN_WORDS[policy.previews],
            "problem": now.problem,
        }

    def digest(self) -> str | None:
        """SHA-256 of the file, as the log quotes it, None where there is none."""
        try:
            return hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError:
            return None

    def _now(self) -> _Read:
        with self._lock:
            if self._seen() != self._last.seen:
                self._last = self._read()
            return self._last

    def _seen(self) -> tuple[int, int, int] | None:
        """What tells one file from another, None without one."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return (-1, -1, -1)  # there, and not to be read: then `_read` says why
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def _read(self) -> _Read:
        seen = self._seen()
        try:
            policy = _parsed(self._path.read_bytes())
        except FileNotFoundError:
            return _Read(None, PERSONAL, PERSONAL.version)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = (
                f"The policy file {self._path.name} is damaged or was edited by hand ({str(error)[:120]}), so the "
                "strictest policy is in force. Choose a policy again in the settings."
            )
            log.error("%s", problem)
            return _Read(seen, CLOSED, _version(self._path), problem)
        return _Read(seen, policy, policy.version)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process changes the policy at a time. Raises Busy or Unavailable."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._path.with_name(f".{self._path.name}.lock"), timeout=self._patience)
            lock.acquire()
        except Timeout as error:
            raise Busy("Somebody else is changing the policy.", 5.0) from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            lock.release()

    def _ready(self, content: bytes) -> Path:
        """The new file, whole and durable, beside the old one: putting it in place needs no more room."""
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".policy-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            raise self._unwritable(error) from error
        return Path(name)

    def _unwritable(self, error: OSError) -> StorageFull | Unavailable:
        if error.errno in _NO_ROOM:
            return StorageFull(4096, 0)
        detail = f"The policy file {self._path} cannot be written: {error.strerror}."
        return Unavailable(detail, "The old policy stays in force.")


def difference(before: Policy, after: Policy) -> dict[str, list[Any]]:
    """What changes, by name: [before, after]."""
    one, other = flat(before), flat(after)
    return {
        name: [one.get(name), other.get(name)]
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    }


def _written(policy: Policy) -> bytes:
    """The file of a policy. Names and actions are words of our own, so nothing in it needs quoting."""
    lines = [f'name = "{policy.name}"', f"version = {policy.version}", f'flagged = "{policy.flagged}"']
    lines += [] if policy.flag_from is None else [f"flag_from = {policy.flag_from!r}"]
    lines += [f'previews = "{policy.previews}"', "", "[actions]"]
    lines += [f'{category} = "{action}"' for category, action in policy.actions.items()]
    for role, table in policy.roles.items():
        lines += ["", f"[roles.{role}]", *(f'{category} = "{action}"' for category, action in table.items())]
    body = _HEADER + "\n".join(lines) + "\n"
    return f"{body}{_SUM}{hashlib.sha256(body.encode()).hexdigest()}\n".encode()


def _parsed(content: bytes) -> Policy:
    """Raises ValueError, KeyError, TypeError or AttributeError for anything but the bytes that `_written` made."""
    found = tomllib.loads(content.decode("utf-8"))
    policy = Policy(
        found["name"],
        found["version"],
        found["actions"],
        found.get("roles", {}),
        found["flagged"],
        found.get("flag_from"),
        found["previews"],
    )
    if _written(policy) != content:
        raise ValueError("its checksum is wrong")
    return policy


def _version(path: Path) -> int:
    """The number in a file that is otherwise not believed, so that numbers go on growing."""
    with suppress(OSError):
        if found := re.search(rb"^version = ([0-9]{1,9})$", path.read_bytes(), re.MULTILINE):
            return int(found[1])
    return PERSONAL.version
