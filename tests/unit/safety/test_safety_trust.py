"""The owner's trust list, and time stamps."""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from backend.errors import InvalidParameter, Unavailable
from backend.images import encode_png
from safety.key_care import install
from safety.keys import Keys, open_keys
from safety.provenance import Credentials
from safety.stamping import Stamping, stamping
from safety.trust_list import trust_list
from safety.verify import FileVerifier
from tests.unit.safety.authorities import KEYS, Authority, key_pem
from tests.unit.safety.samples import WORDING, CornerMark, History, picture
from tests.unit.safety.test_safety_provenance import PNG, statement

OPENSSL = shutil.which("openssl")


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    folder = tmp_path / "trust"
    folder.mkdir()
    return folder


# ---- the trust list


def test_signers_under_the_owner_s_list_are_trusted_and_others_are_not(
    trust: Path, keys: Keys, other_keys: Keys, other_credentials: Credentials
) -> None:
    theirs = other_credentials.sign(encode_png(picture()), PNG, statement())[0]
    assert Credentials(keys, WORDING, trust=trust_list(trust)).read(theirs, PNG).trusted is False
    (trust / "friends.pem").write_text(other_keys.ca_pem)
    listed = Credentials(keys, WORDING, trust=trust_list(trust))
    report = listed.read(theirs, PNG)
    assert (report.state, report.trusted, report.ours, report.failures) == ("valid", True, False, ())
    said = FileVerifier(listed, [CornerMark()], History()).verify(theirs, PNG, picture(), None).summary
    assert f'signed by "{other_keys.signer}", whose authority is on your trust list.' in said


def test_our_own_pictures_stay_ours_and_untrusted_beside_a_list(trust: Path, keys: Keys, other_keys: Keys) -> None:
    (trust / "friends.pem").write_text(other_keys.ca_pem)
    listed = Credentials(keys, WORDING, trust=trust_list(trust))
    report = listed.read(listed.sign(encode_png(picture()), PNG, statement())[0], PNG)
    assert (report.ours, report.trusted) == (True, False)


def test_a_changed_file_of_a_trusted_signer_is_still_broken(
    trust: Path, keys: Keys, other_keys: Keys, other_credentials: Credentials
) -> None:
    (trust / "friends.pem").write_text(other_keys.ca_pem)
    theirs = bytearray(other_credentials.sign(encode_png(picture()), PNG, statement())[0])
    theirs[theirs.rindex(b"IDAT") + 40] ^= 1
    report = Credentials(keys, WORDING, trust=trust_list(trust)).read(bytes(theirs), PNG)
    assert (report.state, report.trusted) == ("invalid", False)


def test_one_s_own_certificate_under_a_listed_authority_is_ours_and_trusted(trust: Path, tmp_path: Path) -> None:
    open_keys(tmp_path / "keys")
    key, root = KEYS["es256"](), Authority()
    install(tmp_path / "keys", None, root.issue(key), key_pem(key))
    (trust / "root.pem").write_text(root.pem)
    listed = Credentials(open_keys(tmp_path / "keys"), WORDING, trust=trust_list(trust))
    data = listed.sign(encode_png(picture()), PNG, statement())[0]
    report = listed.read(data, PNG)
    assert (report.ours, report.trusted) == (True, True)
    said = FileVerifier(listed, [CornerMark()], History()).verify(data, PNG, picture(), None).summary
    assert 'signed by this installation as "Example Desk", whose authority is on your trust list.' in said


def test_what_is_no_list_of_authorities_makes_nothing_trusted(
    trust: Path, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    (trust / "noise.pem").write_bytes(b"\x00\xff" * 50)
    (trust / "leaf.pem").write_text(
        keys.chain_pem.split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    )
    (trust / "huge.pem").write_bytes(b"-" * (5 << 20))
    (trust / "notes.txt").write_text(keys.ca_pem)
    with caplog.at_level(logging.WARNING):
        assert trust_list(trust) == ()
    assert {"noise.pem", "leaf.pem", "huge.pem"} <= {word.split("/")[-1].rstrip(":") for word in caplog.text.split()}
    assert trust_list(trust / "gone") == ()


def test_each_authority_is_listed_once(trust: Path) -> None:
    one, other = Authority("One"), Authority("Two")
    (trust / "a.pem").write_text(one.pem + other.pem)
    (trust / "b.pem").write_text(one.pem)
    assert trust_list(trust) == (one.pem, other.pem)


# ---- time stamps


@pytest.mark.parametrize(
    "url", ["http://example.org/tsa", "ftp://example.org", "https://", "https://me:pw@example.org", "https://a b", "x"]
)
def test_a_time_stamp_authority_is_asked_over_https_alone(url: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        stamping(url, offline=False)
    assert caught.value.problem.field == "timestamp_url"


def test_nobody_is_asked_without_an_address_or_when_offline() -> None:
    assert stamping("", offline=False) is None
    assert stamping("https://tsa.example.org/", offline=True) is None
    assert stamping("https://tsa.example.org/", offline=False) == Stamping("https://tsa.example.org/")
    assert stamping("http://127.0.0.1:3161/", offline=False, optional=True) == Stamping("http://127.0.0.1:3161/", True)


CLOSED = "http://127.0.0.1:9/"


def test_without_an_answer_the_picture_is_withheld(keys: Keys) -> None:
    credentials = Credentials(keys, WORDING, stamping=Stamping(CLOSED))
    with pytest.raises(Unavailable, match="withheld") as caught:
        credentials.sign(encode_png(picture()), PNG, statement())
    assert "whether http://127.0.0.1:9/ answers" in (caught.value.problem.hint or "")


def test_where_the_owner_allows_it_the_picture_leaves_without_and_the_log_says_so(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = Credentials(keys, WORDING, stamping=Stamping(CLOSED, optional=True))
    with caplog.at_level(logging.WARNING):
        data, _ = credentials.sign(encode_png(picture()), PNG, statement())
    report = credentials.read(data, PNG)
    assert (report.ours, report.time_stamp, credentials.stamps) == (True, None, True)
    assert "signed without a time stamp" in caplog.text


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Authority]]:
    """A time-stamp authority on this machine (RFC 3161), openssl behind a small server."""
    if OPENSSL is None:
        pytest.skip("the stand-in for the authority needs openssl")
    folder = tmp_path_factory.mktemp("tsa")
    root, key = Authority("Stamp Root"), KEYS["es256"]()
    chain = root.issue(key, uses=(ExtendedKeyUsageOID.TIME_STAMPING,), critical_use=True)
    (folder / "leaf.pem").write_bytes(chain.split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n")
    (folder / "ca.pem").write_text(root.pem)
    (folder / "key.pem").write_bytes(key_pem(key))
    (folder / "serial").write_text("01\n")
    (folder / "conf").write_text(
        f"[tsa]\ndefault_tsa = t\n[t]\nserial = {folder / 'serial'}\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\n"
        "digests = sha256, sha384, sha512\ness_cert_id_alg = sha256\n"
    )

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            words = "-config conf -queryfile query -signer leaf.pem -inkey key.pem -chain ca.pem -out reply"
            subprocess.run([OPENSSL or "", "ts", "-reply", *words.split()], cwd=folder, check=True, capture_output=True)
            body = (folder / "reply").read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", root
    server.shutdown()
    server.server_close()


def test_a_time_stamp_is_made_read_and_judged_by_the_trust_list(keys: Keys, authority: tuple[str, Authority]) -> None:
    url, root = authority
    credentials = Credentials(keys, WORDING, stamping=Stamping(url))
    data, _ = credentials.sign(encode_png(picture()), PNG, statement())
    report = credentials.read(data, PNG)
    assert (report.state, report.ours, report.time_stamp_trusted) == ("valid", True, False)
    assert (report.time_stamp or "").startswith("20")
    said = FileVerifier(credentials, [CornerMark()], History()).verify(data, PNG, picture(), None).summary
    assert "A time-stamp service, which is unknown here, says that it was signed at" in said
    listed = Credentials(keys, WORDING, trust=(root.pem,))
    assert listed.read(data, PNG).time_stamp_trusted


def test_a_time_stamp_of_another_picture_does_not_pass(keys: Keys, authority: tuple[str, Authority]) -> None:
    credentials = Credentials(keys, WORDING, stamping=Stamping(authority[0]))
    data = bytearray(credentials.sign(encode_png(picture()), PNG, statement())[0])
    at = data.index(b"sigTst")
    for place in range(at + 200, at + 3000, 97):
        data[place] ^= 1
    report = credentials.read(bytes(data), PNG)
    assert report.state == "invalid" or report.time_stamp is None


def test_secrets_of_an_expired_signer_do_not_come_back_with_a_stamp(keys: Keys) -> None:
    """The check of dates stands whatever else is asked for."""
    from datetime import UTC, datetime

    from safety.certificates import issue_chain

    chain_pem, key_pem_ = issue_chain(datetime(2001, 1, 1, tzinfo=UTC))
    expired = Credentials(
        replace(keys, chain_pem=chain_pem, key_pem=key_pem_), WORDING, stamping=Stamping(CLOSED, True)
    )
    with pytest.raises(Unavailable):
        expired.sign(encode_png(picture()), PNG, statement())
