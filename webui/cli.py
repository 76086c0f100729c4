"""The command line: `python3 launch.py VERB ...`. Heavy imports wait until a verb needs them, so --help is instant.

Results go to stdout, everything else to stderr. Status: 0 all done, 2 for input that cannot be used, 1 for the rest.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from backend.errors import BadRequest, Problem, Refused, SignetError
from backend.netguard import keep_quiet
from backend.version import NAME, VERSION
from webui.output import BAD_INPUT, FAILED, OK, show_problem

if TYPE_CHECKING:
    from backend.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
_ABOUT = f"{NAME}: pictures from words; every one of them checked, watermarked and signed."
_EPILOG = """examples:
  python3 launch.py                                   the studio in the browser
  python3 launch.py generate "a red apple" --seed 7   one picture, no server
  python3 launch.py verify picture.png                what can be said about any picture
  python3 launch.py doctor                            what works on this machine, and why not the rest
  python3 launch.py test                              the tests"""


class _Parser(argparse.ArgumentParser):
    """Its complaints are a BadRequest, so that they look like all others, with --json too."""

    def error(self, message: str) -> NoReturn:
        detail, hint = f"{message[:1].upper()}{message[1:]}.", f"See: python3 {self.prog} --help"
        raise BadRequest(Problem("usage", "The command cannot be understood", detail, 400, hint=hint))


def parser() -> argparse.ArgumentParser:
    top = _Parser("launch.py", description=_ABOUT, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"{NAME} {VERSION}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", title="verbs")

    def verb(name: str, about: str, *, data: bool = True, machine: bool = False) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=about, description=about)
        if data:
            made.add_argument("--data", type=Path, metavar="DIR", help="folder of models, pictures, keys and database")
        if machine:
            made.add_argument("--json", action="store_true", help="print one JSON value instead of text")
        return made

    serve = verb("serve", "Start the studio and open it in the browser (what happens without a verb).")
    serve.add_argument("--host", help="address to listen on; this machine only, for now")
    serve.add_argument("--port", type=int, help="TCP port (7860)")
    serve.add_argument("--no-browser", action="store_true", help="do not open the browser")

    generate = verb("generate", "Make pictures from words, without a server.", machine=True)
    generate.add_argument("prompt", metavar="PROMPT", nargs="?", help="what to draw")
    generate.add_argument("--negative", metavar="TEXT", help="what not to draw")
    for name, kind, about in (
        ("width", int, "pixels"),
        ("height", int, "pixels"),
        ("steps", int, "denoising steps"),
        ("cfg", float, "how strictly to follow the words; 1 switches guidance off"),
        ("sampler", str, 'such as "Euler a" or "DPM++ 2M"'),
        ("schedule", str, 'such as "Karras"'),
        ("seed", int, "the same seed gives the same picture; drawn at random if not given"),
        ("count", int, "how many pictures; each takes the next seed"),
        ("model", str, "a name that `models` lists"),
    ):
        generate.add_argument(f"--{name}", type=kind, metavar="N" if kind is not str else "NAME", help=about)
    for name, kind, about in (
        ("vae", str, "another autoencoder"),
        ("clip-skip", int, "1 is the text encoder's last layer"),
        ("denoise", float, "how much of the picture to start from is made anew, 0 to 1"),
        ("resize", str, "stretch, crop, fill or latent"),
        ("format", str, "of the sealed file: png, jpeg, webp or avif"),
    ):
        generate.add_argument(f"--{name}", type=kind, metavar="N" if kind is not str else "NAME", help=about)
    generate.add_argument("--style", action="append", dest="styles", metavar="NAME", help="a saved style; may repeat")
    generate.add_argument("--tiling", action="store_true", default=None, help="a picture that fits to itself")
    generate.add_argument("--init", type=Path, metavar="FILE", help="a picture to start from (img2img)")
    generate.add_argument("--mask", type=Path, metavar="FILE", help="with --init: bright where to repaint (inpaint)")
    generate.add_argument(
        "--outpaint", type=int, nargs=4, metavar=("LEFT", "RIGHT", "UP", "DOWN"), help="with --init: grow the canvas"
    )
    generate.add_argument("--hires", type=float, metavar="SCALE", help="a second pass, so many times larger")
    generate.add_argument("--upscale", type=float, metavar="SCALE", help="with --init: make it so many times larger")
    generate.add_argument("--upscaler", metavar="NAME", help="with --hires or --upscale")
    generate.add_argument(
        "--control", nargs=3, action="append", metavar=("MODEL", "PREPROCESSOR", "FILE"), help="a guide; may repeat"
    )
    generate.add_argument(
        "--request", type=Path, metavar="FILE", help="more fields of the request, as JSON (see docs/api.md)"
    )
    generate.add_argument("--plan", metavar="NAME", help="make many pictures of it: xyz, matrix or batch")
    generate.add_argument(
        "--plan-arguments",
        metavar="JSON",
        help='of the plan, such as {"x": {"axis": "Steps", "values": "10-30 (+10)"}}; or a file that holds them',
    )
    generate.add_argument("--batch", type=Path, metavar="DIR", help="every picture of a folder, instead of --init")
    generate.add_argument("--out", type=Path, metavar="DIR", help="also copy the sealed files into this folder")
    generate.add_argument("--reveal", action="store_true", help="hand out pictures that were flagged, too")
    generate.add_argument("--policy", metavar="NAME", help="shared or classroom: stricter, for this request alone")
    generate.add_argument(
        "--consent", action="store_true", default=None, help="the people in the pictures brought agreed to this"
    )

    for made in (serve, generate):
        made.add_argument("--offline", action="store_true", help="refuse every outgoing connection")

    verify = verb("verify", "Say what can be said about pictures: credentials, mark, history.", machine=True)
    verify.add_argument("files", type=Path, nargs="+", metavar="FILE", help="PNG, JPEG, WebP or AVIF")
    verb("models", "List the models that can be used.", machine=True)
    doctor = verb("doctor", "Say what works on this machine and what does not, and why.", machine=True)
    doctor.add_argument("--settings", action="store_true", help="print the reference of all settings instead")
    bench = verb("bench", "Run the benchmarks: ratios, each behind a check that the result is right.", data=False)
    bench.add_argument("name", nargs="?", metavar="NAME", help="one of them; all but the long ones without a name")
    verb("judge", "Judge a starter model: draw fixed prompts, print the table; see `judge --help`.", data=False)
    verb("keys", "Look after the keys: show, rotate, install, encrypt, export-ca; see `keys --help`.", data=False)
    verb("audit", "Check prompts, marks, the audit log and bias; see `audit --help`.", data=False)
    verb("test", "Run the tests (any pytest arguments may follow).", data=False)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows "?"
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given.insert(0, "serve")
    if given[0] == "test":
        print("The tests need their own packages: run `python3 launch.py test`.", file=sys.stderr)
        return FAILED
    keep_quiet()  # launch.py does so too; whoever starts this module by itself gets the same
    signal.signal(signal.SIGTERM, _leave)  # so that every `with` is closed on a polite kill
    try:
        own = {"audit": _audit, "judge": _judge, "keys": _keys}.get(given[0])
        return own(given[1:]) if own else _run(parser().parse_args(given))
    except SignetError as error:
        show_problem(error.problem, as_json="--json" in given)
        return BAD_INPUT if isinstance(error, BadRequest | Refused) else FAILED
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return FAILED


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(FAILED)


def _run(asked: argparse.Namespace) -> int:
    if getattr(asked, "offline", False):
        from backend.netguard import forbid_outgoing

        os.environ["SIGNET_OFFLINE"] = "1"  # for whatever reads the settings in a child
        forbid_outgoing()
    if asked.verb == "bench":
        return _bench(asked.name)
    if asked.verb == "doctor":
        from webui import doctor

        return doctor.main(asked.data, as_json=asked.json, settings_page=asked.settings)
    settings = _settings(asked)
    if asked.verb == "models":
        from webui import terminal

        return terminal.models(settings, as_json=asked.json)
    from webui.keys_cli import unlock
    from webui.options import open_log

    unlock(settings)  # asks for the passphrase of encrypted keys; the engine's process inherits it
    with open_log(settings):
        try:
            return _work(asked, settings)
        except SignetError:
            raise
        except Exception as error:
            from webui.messages import problem_of

            raise SignetError(problem_of(error)) from error


def _audit(given: Sequence[str]) -> int:
    from webui import auditing
    from webui.keys_cli import unlock
    from webui.options import open_log

    asked, module = auditing.parse(given)
    settings = _settings(asked)
    unlock(settings)
    with open_log(settings):
        return auditing.run(asked, module, settings)


def _judge(given: Sequence[str]) -> int:
    """In a process of its own: it needs torch, which lives in the engine's and there."""
    import subprocess

    command = [sys.executable, "-m", "training.judging", *given]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode  # noqa: S603


def keys_parser() -> argparse.ArgumentParser:
    """What comes after `keys`."""
    from webui import keys_cli

    words = _Parser("launch.py keys", description="Look after the keys of this installation.")
    keys_cli.arguments(words)
    return words


def _keys(given: Sequence[str]) -> int:
    from webui import keys_cli
    from webui.options import open_log

    asked = keys_parser().parse_args(given)
    settings = _settings(asked)
    with open_log(settings):
        return keys_cli.run(asked, settings)


def _work(asked: argparse.Namespace, settings: Settings) -> int:
    if asked.verb == "serve":
        from webui import serving

        return serving.serve(settings, browser=not asked.no_browser)
    from webui import terminal

    if asked.verb == "verify":
        return terminal.verify(settings, asked.files, as_json=asked.json)
    from webui.arguments import fields_of, plan_of

    fields, plan = fields_of(asked), plan_of(asked)
    return terminal.generate(settings, fields, out=asked.out, as_json=asked.json, plan=plan, reveal=asked.reveal)


def _settings(asked: argparse.Namespace) -> Settings:
    from webui.options import read_settings

    data = asked.data.expanduser().resolve() if asked.data else None
    given = {name: getattr(asked, name, None) for name in ("host", "port")}
    return read_settings(data=data, offline=getattr(asked, "offline", False) or None, **given)


_LONG = ("goals", "merging", "real_size", "watermark")
"""Benchmarks that take many minutes or gigabytes, or run the others: only when they are named."""


def _bench(name: str | None) -> int:
    import subprocess

    scripts = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("*.py")) if not path.stem.startswith("_")}
    if name and name not in scripts:
        known = ", ".join(scripts) or "none yet"
        raise BadRequest(
            Problem("not-found", "No such benchmark", f'There is no benchmark "{name}".', hint=f"Known: {known}.")
        )
    status = OK
    chosen = [scripts[name]] if name else [script for stem, script in scripts.items() if stem not in _LONG]
    for script in chosen:
        print(f"== {script.stem}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{script.stem}"]
        status |= subprocess.run(command, cwd=ROOT, check=False).returncode != 0  # noqa: S603
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
