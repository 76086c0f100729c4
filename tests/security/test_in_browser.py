"""In a real browser: text of strangers stays text, nothing is fetched from elsewhere, other origins have no effect."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser

from backend.errors import UnreadableModel
from backend.settings import Settings
from tests.unit.webui.fakes import FakeDesk, picture
from tests.unit.webui.live import Watch, chromium, serving, tab
from webui.app import create_app

pytestmark = pytest.mark.e2e

PAYLOADS = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "javascript:alert(1)",
    "</textarea><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'>",
    "<math><mi xlink:href='javascript:alert(1)'>",
    "<a href=javascript:alert(1)>x</a>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<img src=//evil.example/x.png>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css'</style>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<form action=//evil.example><button>x</button></form>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<body onload=alert(1)>",
    "&lt;img src=x onerror=alert(1)&gt;",
    "\u202eevil\u202c <b onmouseover=alert(1)>x</b>",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FakeDesk]]:
    folder: Path = tmp_path_factory.mktemp("studio")
    desk = FakeDesk(folder, Settings(data=folder))
    with serving(create_app(desk)) as address:
        yield address, desk


def test_text_of_strangers_stays_text_on_every_page(browser: Browser, studio: tuple[str, FakeDesk]) -> None:
    address, desk = studio
    for number, payload in enumerate(PAYLOADS):
        desk.keep(desk.request(payload, negative=payload, seed=number), state="flagged" if number % 7 == 3 else "clean")
    desk.refused.update({payload: UnreadableModel(payload, payload, payload) for payload in PAYLOADS[:3]})
    watch = Watch(browser.new_context(), address)
    page = watch.open()
    for payload in (PAYLOADS[0], "![x](http://evil.example/x.png)"):
        page.fill("#f-prompt textarea", payload)
        page.fill("#f-negative textarea", "<img src=x onerror=alert(2)>")
        page.keyboard.press("Control+Enter")
        page.get_by_alt_text(f"Picture for: {payload}").first.wait_for()
        page.wait_for_selector("#signet-canvas .passport")
        page.locator("#signet-canvas .passport-box > .more > summary").click()
        assert payload in page.locator("#signet-canvas .facts").inner_text()
        page.locator("#signet-canvas .passport-box > .more > summary").click()
    tab(page, "History")
    tiles = page.locator(".tile")
    tiles.first.wait_for()
    assert tiles.count() == len(PAYLOADS) + 2
    for number in range(0, tiles.count(), 3):
        tiles.nth(number).click()
        page.wait_for_selector("dialog .infotext pre")
        page.keyboard.press("Escape")
    page.fill("#history-search", PAYLOADS[0] + "nothing")
    page.wait_for_selector(".empty-state")
    tab(page, "Verify")
    page.set_input_files("#verify-file", {"name": PAYLOADS[0], "mimeType": "image/png", "buffer": picture(1)})
    page.wait_for_selector(".findings")
    page.set_input_files(
        "#verify-file", {"name": PAYLOADS[1], "mimeType": "image/png", "buffer": b"<svg onload=alert(1)>"}
    )
    page.wait_for_selector("#signet-verify .problem")
    tab(page, "Settings")
    page.wait_for_selector("#settings-table table")
    assert page.locator("#signet-refused dt").all_inner_texts() == PAYLOADS[:3]
    watch.clean()


def test_a_refusal_that_quotes_a_prompt_stays_text(browser: Browser, studio: tuple[str, FakeDesk]) -> None:
    address, _ = studio
    watch = Watch(browser.new_context(), address)
    page = watch.open()
    page.fill("#f-prompt textarea", "x" * 5000)
    page.click("#generate")
    page.wait_for_selector("#signet-problem .problem")
    assert "5,000 characters" in page.inner_text("#signet-problem")
    assert page.input_value("#f-prompt textarea") == "x" * 5000
    assert page.locator("#f-prompt.field-wrong").count() == 1
    watch.clean()


ATTACK = """<!doctype html><title>elsewhere</title><script>
const base = "{address}";
const paths = ["jobs", "records/{record}", "verify"].map((path) => "/api/v1/" + path);
paths.push("/ui/gradio_api/queue/join", "/ui/gradio_api/run/predict");
const kinds = ["application/json", "text/plain", "application/x-www-form-urlencoded"];
const body = '{{"prompt": "stolen", "rating": 5}}';
const seen = (text) => (text ? "READ " + text : null);
const done = [];
for (const path of paths) for (const method of ["POST", "DELETE", "PATCH", "PUT"])
  for (const mode of ["cors", "no-cors"]) for (const kind of kinds) {{
    const asked = {{ method, mode, credentials: "include", headers: {{ "content-type": kind }}, body }};
    done.push(fetch(base + path, asked).then((reply) => reply.text()).then(seen).catch(() => null));
  }}
const form = new FormData();
form.append("file", new Blob(["x"]), "x.png");
const sent = {{ method: "POST", mode: "no-cors", body: form }};
done.push(fetch(base + "/api/v1/verify", sent).then(() => null).catch(() => null));
done.push(fetch(base + "/api/v1/records").then((reply) => reply.text()).then(seen).catch(() => null));
done.push(new Promise((ok) => {{
  const image = new Image();
  image.onload = () => ok("SAW a picture");
  image.onerror = () => ok(null);
  image.src = base + "/api/v1/records/{record}/file";
}}));
Promise.all(done).then((all) => {{ document.title = JSON.stringify(all.filter(Boolean)); }});
</script>
<iframe sandbox="allow-scripts allow-forms" srcdoc='
  <form id=f method=post enctype="text/plain" action="{address}/api/v1/jobs">
  <input name="{{&quot;prompt&quot;:&quot;stolen" value="&quot;}}"></form><script>f.submit()</script>'></iframe>
<iframe name=inner></iframe>
<form id=g method=post enctype="multipart/form-data" target=inner action="{address}/api/v1/verify">
<input name=file value=x></form><script>g.submit()</script>
"""


@pytest.fixture
def elsewhere(studio: tuple[str, FakeDesk]) -> Iterator[str]:
    address, desk = studio
    record = desk.keep(desk.request("precious")).id
    page = ATTACK.format(address=address, record=record).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_a_page_of_another_origin_has_no_effect(browser: Browser, studio: tuple[str, FakeDesk], elsewhere: str) -> None:
    _, desk = studio
    before = (len(desk.all_jobs), dict(desk.history), list(desk.verified))
    page = browser.new_context().new_page()
    for address in (elsewhere, elsewhere.replace("localhost", "127.0.0.1")):
        page.goto(address)
        page.wait_for_function("document.title.startsWith('[')")
        page.wait_for_timeout(300)
        assert page.title() == "[]"
    assert (len(desk.all_jobs), dict(desk.history), list(desk.verified)) == before


def test_scripts_run_only_with_the_nonce(browser: Browser, studio: tuple[str, FakeDesk]) -> None:
    address, _ = studio
    watch = Watch(browser.new_context(), address)
    page = watch.open()
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.canary = 1'}))"
    )
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.canary = 2\">')")
    page.wait_for_timeout(300)
    assert page.evaluate("window.canary") is None
    policy = page.request.get(address + "/ui/").headers["content-security-policy"]
    assert (
        "unsafe-eval" not in policy
        and "http" not in policy.replace("https", "http")
        and "script-src 'self' 'nonce-" in policy
    )


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/upload",
        "gradio_api/file=/etc/passwd",
        "gradio_api/file/etc/passwd",
        "gradio_api/proxy=http://evil.example/",
        "gradio_api/stream/a/b/c/playlist.m3u8",
        "gradio_api/component_server",
        "gradio_api/custom_component/a/b/c/d",
        "gradio_api/info",
        "gradio_api/openapi.json",
        "gradio_api/runs",
        "monitoring",
        "monitoring/summary",
        "login",
        "logout",
        "docs",
        "openapi.json",
        "static/../../app.py",
        "assets/..%2f..%2f..%2fapp.py",
    ],
)
def test_what_gradio_could_do_and_we_do_not_need_is_shut(
    browser: Browser, studio: tuple[str, FakeDesk], path: str
) -> None:
    address, _ = studio
    request = browser.new_context().request
    assert request.get(f"{address}/ui/{path}").status in (403, 404)
    assert request.post(f"{address}/ui/{path}", data={}).status in (403, 404, 405)
