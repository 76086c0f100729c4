"""The audit log as a chain: every entry carries a keyed hash over itself and over the hash before it.

An entry is canonical JSON (RFC 8785 in spirit: sorted names, no spaces, but kept in ASCII, and the bytes that were
hashed are the bytes that are kept). What people wrote is not in it: the chain holds a salted commitment to each text,
text and salt stand beside it. With both erased nothing can be told about the text any more, and the chain still holds;
that they were erased is an entry itself, and a text that is gone without one is a fault.

What this shows: any change, swap, insertion or removal by somebody without the key, and a chain that was cut off or
made anew by anybody, the owner too, as far back as a witness reaches. A witness is a head ("number:hash") that was
written down elsewhere: in the file of anchors, or in the Passport of a picture. What it does not show: that the newest
entries, later than every witness, were cut off; and that somebody with the key wrote something false to begin with.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backend.types import Principal
from safety.audit_check import Report, check, covers
from safety.commitments import FIRST, Row, TextRow, canonical, commitment, digest, stamp
from safety.keys import Keys

SALT_BYTES = 32
LONGEST = 2**18
"""Characters of an entry. Facts are counts, names and codes; what is longer is a mistake."""


def audit_keys(keys: Keys) -> tuple[bytes, ...]:
    """The keys of the log, 32 bytes each, the one in force first.

    They are derived, for this purpose alone, from secrets that never enter the database. The earlier ones are needed to
    check what was written before the installation changed its keys.
    """
    return tuple(
        HKDF(hashes.SHA256(), 32, salt=None, info=b"signet audit log 1").derive(key) for key in keys.watermark_keys
    )


@dataclass(frozen=True, slots=True)
class Link:
    """A new entry, ready to be kept, with the texts that belong beside it."""

    number: int
    body: str
    previous: str
    hash: str
    texts: tuple[TextRow, ...] = ()

    @property
    def row(self) -> Row:
        return (self.number, self.body, self.previous, self.hash)


class Chain:
    """Makes entries with the first of its keys and checks them with any. Knows no database and no clock.

    An entry may be under any of the keys, wherever it stands: when keys are changed, a studio that runs meanwhile goes
    on with the old one. So whoever got hold of a retired key can forge entries too.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) < 32 for key in keys):
            raise ValueError("a key of the log has 32 bytes")
        self._keys = tuple(keys)

    def link(
        self,
        last: tuple[int, str] | None,
        when: datetime,
        principal: Principal,
        event: str,
        facts: Mapping[str, Any],
        texts: Mapping[str, str] | None = None,
        *,
        keep_texts: bool = False,
    ) -> Link:
        """The entry after `last` (number, hash; None for the first). Empty texts are left out.

        Raises ValueError or TypeError for facts that are not plain JSON or too long.
        """
        number, previous = (last[0] + 1, last[1]) if last else (1, FIRST)
        kept = [
            (name, secrets.token_bytes(SALT_BYTES), text.encode("utf-8", "surrogatepass"))
            for name, text in (texts or {}).items()
            if text
        ]
        body = canonical(
            {
                "n": number,
                "time": stamp(when),
                "who": {"id": principal.id, "roles": sorted(principal.roles), "source": principal.source},
                "event": event,
                "facts": dict(facts),
                "texts": {
                    name: {
                        "commitment": commitment(salt, name, text),
                        "salt": hashlib.sha256(salt).hexdigest(),
                        "kept": keep_texts,
                    }
                    for name, salt, text in kept
                },
            }
        )
        if len(body) > LONGEST:
            raise ValueError(f"an entry of {len(body)} characters is longer than the log takes")
        rows = tuple((number, name, salt, text if keep_texts else None) for name, salt, text in kept)
        return Link(number, body, previous, digest(self._keys[0], previous, body), rows)

    def check(self, rows: Iterable[Row], texts: Iterable[TextRow] = (), witnesses: Iterable[str] = ()) -> Report:
        """Walk the whole chain, `rows` by number and `texts` by number and name; see safety.audit_check."""
        return check(rows, texts, witnesses, self._keys)

    def covers(self, rule: Mapping[str, Any], body: str) -> bool:
        """Whether a rule of erasure is about this entry."""
        return covers(rule, json.loads(body))
