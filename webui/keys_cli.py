"""`python3 launch.py keys VERB`: look after the keys of this installation."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from pathlib import Path

from backend.errors import InvalidParameter, Unavailable
from backend.settings import Settings
from safety import keyfile
from safety.key_care import encrypt, install, rotate
from safety.keys import PASSPHRASE, Keys, open_keys
from webui.output import OK

_RESTART = "A studio that is running goes on with the old keys until it is started again."


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="keys_verb", metavar="VERB", required=True)

    def verb(name: str, about: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=about, description=about)
        made.add_argument("--data", type=Path, metavar="DIR", help="folder of models, pictures, keys and database")
        return made

    show = verb("show", "What this installation signs with; no secret is shown.")
    show.add_argument("--json", action="store_true", help="print one JSON value instead of text")
    turn = verb("rotate", "A new certificate with a new key; pictures signed before stay ours.")
    turn.add_argument("--mark", action="store_true", help="a new key for the invisible mark too")
    own = verb("install", "Sign with a certificate of your own (PEM files).")
    own.add_argument("certificate", type=Path, help="the certificate, then its authorities, up to the root")
    own.add_argument("key", type=Path, help="its private key")
    verb("encrypt", "Put the keys under a passphrase, or under another one.")
    out = verb("export-ca", "Write the authority's certificate, for the trust lists of others.")
    out.add_argument("file", type=Path, nargs="?", help="where to; standard output without it")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """Raises SignetError for what cannot be done; then nothing was changed."""
    _VERBS[asked.keys_verb](asked, settings)
    return OK


def unlock(settings: Settings) -> None:
    """Ask at the terminal for the passphrase of encrypted keys, and hand it to this process and its children.

    Does nothing where the keys lie open, the environment has it, or nobody can be asked.
    """
    path = settings.keys / keyfile.FILE
    if os.environ.get(PASSPHRASE) or not sys.stdin.isatty() or not path.is_file():
        return
    if '"encrypted"' in path.read_text(encoding="utf-8", errors="replace")[:64]:
        os.environ[PASSPHRASE] = getpass.getpass("Passphrase of the keys: ")


def _opened(settings: Settings) -> tuple[Keys, str | None]:
    """The keys, and the passphrase they lie under."""
    unlock(settings)
    keys = open_keys(settings.keys)
    return keys, os.environ.get(PASSPHRASE) if keys.encrypted else None


def _show(asked: argparse.Namespace, settings: Settings) -> None:
    keys, _ = _opened(settings)
    facts = {
        "signer": keys.signer,
        "serial": f"{keys.serial:x}",
        "algorithm": keys.algorithm,
        "earlier certificates": [each.signer for each in keys.earlier],
        "earlier mark keys": len(keys.earlier_marks),
        "file": str(settings.keys / keyfile.FILE),
        "encrypted": keys.encrypted,
    }
    if asked.json:
        print(json.dumps(facts))
        return
    print(f"Signs as           {keys.signer}, {keys.algorithm}, number {keys.serial:x}")
    print(f"Certificates before {len(keys.earlier)}; their pictures still count as ours")
    print(f"Mark keys before    {len(keys.earlier_marks)}; their marks can still be read")
    lying = "under a passphrase" if keys.encrypted else "open: whoever can read your files can sign in your name"
    print(f"Lies                {lying} ({settings.keys / keyfile.FILE})")


def _rotate(asked: argparse.Namespace, settings: Settings) -> None:
    _, passphrase = _opened(settings)
    keys = rotate(settings.keys, passphrase, mark=asked.mark)
    print(f"New pictures are signed by {keys.signer}. The old private key is gone; its pictures still count as ours.")
    print(_RESTART, file=sys.stderr)


def _install(asked: argparse.Namespace, settings: Settings) -> None:
    chain, key = _bytes("certificate", asked.certificate), _bytes("key", asked.key)
    _, passphrase = _opened(settings)
    secret = None
    if b"ENCRYPTED" in key:
        secret = _asked(f"Passphrase of {asked.key.name}: ", "the private key is encrypted")
    keys = install(settings.keys, passphrase, chain, key, secret)
    print(
        f"New pictures are signed by {keys.signer} ({keys.algorithm}). Its key was copied; the file you gave remains."
    )
    print(_RESTART, file=sys.stderr)


def _encrypt(_asked_for: argparse.Namespace, settings: Settings) -> None:
    keys, passphrase = _opened(settings)
    if keys.encrypted:
        new = _asked("New passphrase: ", "a new passphrase is needed")
    else:
        new = os.environ.get(PASSPHRASE) or _asked("New passphrase: ", "a passphrase is needed")
    if sys.stdin.isatty() and getpass.getpass("Once more: ") != new:
        raise InvalidParameter("passphrase", "The two are not the same.", "Nothing was changed; try again.")
    encrypt(settings.keys, passphrase, new)
    print(f"The keys are encrypted. From now on Signet asks for the passphrase, or reads it from {PASSPHRASE}.")
    print(
        "Whoever loses it loses the keys: nobody can open them without it. Backups made before are not.",
        file=sys.stderr,
    )


def _export(asked: argparse.Namespace, settings: Settings) -> None:
    keys, _ = _opened(settings)
    if asked.file is None:
        print(keys.ca_pem, end="")
        return
    try:
        with asked.file.open("x", encoding="ascii") as file:
            file.write(keys.ca_pem)
    except OSError as error:
        raise InvalidParameter(
            "file", f"{asked.file} cannot be written: {error.strerror}.", "Name a new file."
        ) from error
    print(f"The authority of {keys.signer} is in {asked.file}. It holds no secret.")


def _asked(question: str, why: str) -> str:
    if not sys.stdin.isatty():
        raise Unavailable(f"Nobody can be asked, and {why}.", "Run this at a terminal.")
    return getpass.getpass(question)


def _bytes(field: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise InvalidParameter(field, f"{path} cannot be read: {error.strerror}.", "Name a PEM file.") from error


_VERBS = {"show": _show, "rotate": _rotate, "install": _install, "encrypt": _encrypt, "export-ca": _export}
