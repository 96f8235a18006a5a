"""Who may look and who may act: hosts, origins, tokens, sessions, roles, headers; as an attacker would try them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount, Route

from oxherd import ConfigError, Oxherd
from oxherd.dashboard import Role, User, dashboard
from oxherd.dashboard.access.access import COOKIE, Access
from oxherd.dashboard.access.hosts import Hosts
from oxherd.dashboard.access.keyring import SESSION_SECONDS, Keyring
from oxherd.dashboard.actions.routes import ACTIONS
from oxherd.dashboard.application import application
from oxherd.dashboard.mounted import guarded
from tests.dashboard.visitor import OURS, visitor

TOKEN = "a-token-of-more-than-twenty-characters"
OTHER = "another-token-of-more-than-twenty-characters"
VIEWER = User("Vera", Role.VIEWER)


@pytest.fixture
def shop(local_herd: Oxherd) -> Oxherd:
    local_herd.declare("order.placed", dict[str, int])
    return local_herd


@pytest.mark.parametrize(
    ("host", "peer", "headers"),
    [
        ("http://evil.example", "127.0.0.1", {}),
        ("http://127.0.0.1.evil.example", "127.0.0.1", {}),
        ("http://localhost.", "127.0.0.1", {}),
        ("http://127.0.0.1", "192.0.2.7", {}),
        ("http://127.0.0.1", "127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}),
        ("http://127.0.0.1", "127.0.0.1", {"Forwarded": "for=192.0.2.7"}),
        ("http://127.0.0.1", "127.0.0.1", {"X-Real-IP": "192.0.2.7"}),
        ("http://127.0.0.1", "127.0.0.1", {"Via": "1.1 proxy"}),
        ("http://127.0.0.1", "127.0.0.1", {"X-Forwarded-Server": "proxy"}),
    ],
)
async def test_without_authentication_only_who_sits_at_the_machine_gets_in(
    shop: Oxherd, host: str, peer: str, headers: dict[str, str]
) -> None:
    async with shop, visitor(dashboard(shop), host=host, peer=peer, **headers) as client:
        for path in ("/", "/events/order.placed", "/?live=1", "/audit"):
            answer = await client.get(path)
            assert (answer.status_code, "authenticate=" in answer.text) == (403, True)


@pytest.mark.parametrize("host", ["http://127.0.0.1", "http://localhost:8765", "http://[::1]", "http://LOCALHOST"])
async def test_who_sits_at_the_machine_is_an_operator(shop: Oxherd, host: str) -> None:
    async with shop, visitor(dashboard(shop), host=host) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/actions/pause?event=order.placed")).status_code == 200


def scope_of(path: str, headers: Iterable[tuple[str, str]], **changed: Any) -> dict[str, Any]:
    """A request as a server would hand it on."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    return {**scope, **changed}


async def status_of(app: Callable[..., Any], path: str, hosts: list[str], **changed: Any) -> int:
    """The status of a request as no client of ours would send it."""
    sent: list[dict[str, Any]] = []
    asked = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return asked.pop() if asked else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope_of(path, [("host", host) for host in hosts], **changed), receive, send)
    return sent[0]["status"]


async def test_a_client_without_an_address_or_of_http_1_0_is_not_at_the_machine(shop: Oxherd) -> None:
    async with shop:
        app = dashboard(shop)
        assert await status_of(app, "/", ["127.0.0.1"]) == 200
        assert await status_of(app, "/", ["127.0.0.1"], client=None) == 403
        assert await status_of(app, "/", ["127.0.0.1"], http_version="1.0") == 403


@pytest.mark.parametrize(
    ("named", "status"),
    [
        (["queues.example.com"], 200),
        (["QUEUES.example.com"], 200),
        (["queues.example.com:443"], 200),
        (["evil.example"], 421),
        (["queues.example.com.evil.example"], 421),
        (["queues.example.com."], 421),
        (["queues.example.com:x"], 421),
        (["127.0.0.1"], 421),
        (["queues.example.com", "evil.example"], 421),
        ([], 421),
    ],
)
async def test_a_host_that_is_not_allowed_gets_nothing(shop: Oxherd, named: list[str], status: int) -> None:
    def anybody(request: Request) -> User:
        return VIEWER

    app = dashboard(shop, authenticate=anybody, allowed_hosts=["queues.example.com"])
    async with shop:
        for path in ("/", "/assets/app.css"):
            assert await status_of(app, path, named) == status


CROSS_SITE = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
    {"Authorization": "Basic b2xnYTpzZWNyZXQ="},
    {"Origin": "null"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:8080"},
    {"Origin": "http://127.0.0.1@evil.example"},
    {"Origin": "file://127.0.0.1"},
    {"Origin": "http://[::1"},
    {"Referer": "http://evil.example/http://127.0.0.1"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
async def test_nothing_is_done_for_a_page_of_another_site(shop: Oxherd, headers: dict[str, str]) -> None:
    async with shop, visitor(dashboard(shop)) as client:
        answer = await client.post("/actions/pause", data={"event": "order.placed"}, headers=headers)
        assert answer.status_code == 403
        assert not (await shop.admin.events())[0].paused


@pytest.mark.parametrize(
    "headers",
    [
        OURS,
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1"},
        {"Referer": "http://127.0.0.1/actions/pause?event=order.placed"},
    ],
)
async def test_a_form_of_our_own_page_is_obeyed(shop: Oxherd, headers: dict[str, str]) -> None:
    async with shop, visitor(dashboard(shop)) as client:
        answer = await client.post("/actions/pause", data={"event": "order.placed"}, headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/events/order.placed?done=pause")
        assert (await shop.admin.events())[0].paused


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
async def test_other_methods_are_refused(shop: Oxherd, method: str) -> None:
    async with shop, visitor(dashboard(shop), **OURS) as client:
        assert (await client.request(method, "/actions/pause?event=order.placed")).status_code == 405
        overriding = {"X-HTTP-Method-Override": "POST", **OURS}
        assert (await client.get("/actions/pause?event=order.placed", headers=overriding)).status_code == 200
        assert not (await shop.admin.events())[0].paused


def posts(app: Starlette) -> list[str]:
    """Every address that takes a POST, filled in."""
    paths = [route.path for route in app.routes if isinstance(route, Route) and "POST" in (route.methods or ())]
    filled = {"{step}": "stop", "{id}": "0" * 32}
    found: list[str] = []
    for path in paths:
        for part, value in filled.items():
            path = path.replace(part, value)
        found += [path.replace("{name}", name) for name in ACTIONS] if "{name}" in path else [path]
    return found


async def test_a_viewer_changes_nothing_by_any_request(shop: Oxherd) -> None:
    def vera(request: Request) -> User:
        return VIEWER

    inner = application(shop)
    everything = posts(inner)
    assert len(everything) > len(ACTIONS)
    for app in (guarded(shop, Access(authenticate=vera)), dashboard(shop, read_only=True)):
        async with shop, visitor(app, **OURS) as client:
            before = await shop.admin.events()
            for path in everything:
                fields = {"event": "order.placed", "state": "failed", "max_running": "1", "queue": "q", "schedule": "s"}
                answer = await client.post(path, data=fields)
                assert answer.status_code == 403, path
                assert "viewer" in answer.text.lower()
            for name in ACTIONS:
                assert (await client.get(f"/actions/{name}?event=order.placed&queue=q&schedule=s")).status_code == 403
            page = (await client.get("/events/order.placed")).text
            assert "/actions/" not in page
            assert await shop.admin.audit() == []
            assert [row.limits for row in await shop.admin.events()] == [row.limits for row in before]


async def test_every_answer_says_what_a_page_may_load_and_that_nobody_may_frame_it(shop: Oxherd) -> None:
    async with shop, visitor(dashboard(shop), **OURS) as client:
        for path in ("/", "/events/none", "/assets/app.css", "/assets/none", "/nowhere", "/stories/x"):
            answer = await client.get(path)
            policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == "'self'"
            assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            if path != "/assets/app.css":
                assert answer.headers["cache-control"] == "no-store"
    async with shop, visitor(dashboard(shop), peer="192.0.2.7") as client:
        refused = await client.get("/")
        assert (refused.status_code, refused.headers["x-frame-options"]) == (403, "DENY")


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../board.py",
        "/assets/%2e%2e/board.py",
        "/assets/..%2fboard.py",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/....//board.py",
        "/assets/app.css%00",
        "/templates/layout.html",
        "/assets/",
    ],
)
async def test_no_path_leads_out_of_the_assets(shop: Oxherd, path: str) -> None:
    async with shop, visitor(dashboard(shop)) as client:
        answer = await client.get(path)
        assert answer.status_code in (404, 307, 400)
        assert "import" not in answer.text
        assert "root:" not in answer.text


# -- tokens


async def sign_in(client: httpx2.AsyncClient, token: str, leads_to: str = "/") -> httpx2.Response:
    return await client.post("/login", data={"token": token, "next": leads_to}, headers=OURS)


async def test_a_token_opens_the_pages_and_is_in_no_cookie(shop: Oxherd) -> None:
    async with shop, visitor(dashboard(shop, token=TOKEN), host="http://queues.example", peer="192.0.2.7") as client:
        sent_away = await client.get("/events/order.placed?state=failed")
        assert sent_away.headers["location"] == "/login?next=%2Fevents%2Forder.placed%3Fstate%3Dfailed"
        assert (await client.get("/?live=1")).status_code == 401
        assert (await client.get("/login")).status_code == 200
        signed_in = await sign_in(client, TOKEN, "/events/order.placed?state=failed")
        assert signed_in.headers["location"] == "/events/order.placed?state=failed"
        cookie = signed_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Path=/" in cookie
        assert TOKEN not in cookie
        assert (await client.get("/")).status_code == 200
        assert (await client.post("/actions/pause", data={"event": "order.placed"}, headers=OURS)).status_code == 303
        assert (await shop.admin.audit())[0].entry.who == "operator"
        await client.post("/logout", headers=OURS)
        assert (await client.get("/")).status_code == 303


async def test_over_tls_the_cookie_is_for_tls_only(shop: Oxherd) -> None:
    async with shop, visitor(dashboard(shop, token=TOKEN), host="https://queues.example") as client:
        assert "Secure" in (await sign_in(client, TOKEN)).headers["set-cookie"]


async def test_a_token_is_taken_as_bearer_and_from_no_address(shop: Oxherd) -> None:
    async with shop, visitor(dashboard(shop, token=TOKEN), host="http://queues.example") as client:
        for scheme in ("Bearer", "bearer"):
            assert (await client.get("/", headers={"Authorization": f"{scheme} {TOKEN}"})).status_code == 200
        done = await client.post(
            "/actions/pause", data={"event": "order.placed"}, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert done.status_code == 303
        for query in ("token", "access_token", "authorization", COOKIE):
            assert (await client.get(f"/?{query}={TOKEN}")).status_code == 303
        for wrong in (OTHER, TOKEN + "x", TOKEN[:-1], "", "é" * 30):
            header = f"Bearer {wrong}".encode()
            assert (await client.get("/", headers={"Authorization": header})).status_code == 303  # pyright: ignore[reportArgumentType]


async def test_a_wrong_token_is_told_and_logged_without_it(shop: Oxherd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with shop, visitor(dashboard(shop, token=TOKEN), host="http://queues.example") as client:
        answer = await sign_in(client, OTHER)
        assert (answer.status_code, "not known" in answer.text) == (403, True)
        assert "set-cookie" not in answer.headers
        assert OTHER not in answer.text
        await sign_in(client, TOKEN)
    said = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("oxherd"))
    assert "a token was wrong" in said
    assert TOKEN not in said
    assert OTHER not in said


def test_a_session_is_nobodys_once_it_is_over_changed_or_its_token_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring.of_token(TOKEN)
    session = keyring.session(TOKEN)
    assert keyring.session_user(session) is not None
    until, nonce, signature = session.split(".")
    forged = [
        f"{int(until) + 1}.{nonce}.{signature}",
        f"{until}.{nonce}x.{signature}",
        f"{until}.{nonce}.{signature[:-1]}",
        f"{until}.{nonce}.",
        f"{until}.{nonce}",
        "",
        "...",
        "é.é.é",
        Keyring.of_token(OTHER).session(OTHER),
    ]
    assert [keyring.session_user(each) for each in forged] == [None] * len(forged)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SESSION_SECONDS + 1)
    assert keyring.session_user(session) is None


@pytest.mark.parametrize(
    ("asked", "leads_to"),
    [
        ("/events/a?b=c", "/events/a?b=c"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\/evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
async def test_signing_in_leads_to_no_other_site(shop: Oxherd, asked: str, leads_to: str) -> None:
    async with shop, visitor(dashboard(shop, token=TOKEN), host="http://queues.example") as client:
        answer = await sign_in(client, TOKEN, asked)
        assert (answer.headers["location"], "a=b" in str(answer.headers)) == (leads_to, False)


async def test_a_form_is_read_within_bounds(shop: Oxherd) -> None:
    async with shop, visitor(dashboard(shop), **OURS) as client:
        assert (await client.post("/actions/pause", content=b"{}")).status_code == 415
        assert (await client.post("/actions/pause", data={"event": "x" * 70_000})).status_code == 413
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await client.post("/actions/pause", content=b"&" * 5_000, headers=form)).status_code in (400, 404)
        assert (await client.post("/actions/pause", content=b"event=\xff\xfe", headers=form)).status_code == 400
        twice = await client.post("/actions/pause", content=b"event=none&event=order.placed", headers=form)
        assert twice.status_code == 400


# -- the host application's function


@pytest.mark.parametrize("answer", [True, "operator", {"name": "eve"}, 1])
async def test_only_a_user_is_a_user(shop: Oxherd, answer: Any) -> None:
    async with shop, visitor(dashboard(shop, authenticate=lambda request: answer)) as client:
        assert (await client.get("/")).status_code == 403


async def test_the_host_applications_function_decides_and_its_user_is_in_the_audit_log(shop: Oxherd) -> None:
    async def by_header(request: Request) -> User | None:
        name = request.headers.get("x-user")
        return None if name is None else User(name, Role.OPERATOR if name == "olga" else Role.VIEWER)

    app = Starlette(routes=[Mount("/queues", dashboard(shop, authenticate=by_header))])
    async with shop, visitor(app, host="https://shop.example", peer="192.0.2.7", **OURS) as client:
        assert (await client.get("/queues/")).status_code == 403
        page = await client.get("/queues/", headers={"x-user": "vera"})
        assert page.status_code == 200
        assert 'href="/queues/events/order.placed"' in page.text
        fields = {"event": "order.placed"}
        assert (await client.post("/queues/actions/pause", data=fields, headers={"x-user": "vera"})).status_code == 403
        done = await client.post("/queues/actions/pause", data=fields, headers={"x-user": "olga"})
        assert done.headers["location"] == "/queues/events/order.placed?done=pause"
        assert (await shop.admin.audit())[0].entry.who == "olga"
        assert (await client.get("/queues/assets/app.css", headers={"x-user": "vera"})).status_code == 200


# -- what cannot be configured


@pytest.mark.parametrize("token", ["", "short", "x" * 19, "x" * 501, "é" * 30])
def test_a_token_that_could_be_guessed_is_refused(shop: Oxherd, token: str) -> None:
    with pytest.raises(ConfigError, match="20 to 500") as caught:
        dashboard(shop, token=token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("host", ["", "*", "http://a", "a/b", "a b", "a@b"])
def test_a_host_that_is_no_name_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"queues\.example\.com"):
        Hosts([host])


def test_a_token_file_has_a_token_a_line_with_or_without_a_name_and_a_role(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# who may look\n\n{TOKEN}\nvera viewer {OTHER}\n")
    file.chmod(0o600)
    keyring = Keyring.of_file(file)
    first, second = keyring.user(TOKEN), keyring.user(OTHER)
    assert first is not None
    assert second is not None
    assert (first.name, first.may_act, second.name, second.may_act) == ("operator", True, "vera", False)
    assert keyring.user(TOKEN + OTHER) is None
    assert TOKEN not in repr(keyring)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("", 0o600, "holds no token"),
        ("# nothing\n", 0o600, "holds no token"),
        ("short\n", 0o600, "line 1"),
        (f"vera admin {TOKEN}\n", 0o600, "viewer or operator"),
        (f"vera {TOKEN}\n", 0o600, "NAME ROLE TOKEN"),
        (f"{TOKEN}\nvera viewer {TOKEN}\n", 0o600, "twice"),
        (f"{TOKEN}\n", 0o644, "chmod 600"),
        (f"{TOKEN}\n", 0o640, "chmod 600"),
    ],
)
def test_a_token_file_that_is_wrong_is_refused_without_its_tokens(
    tmp_path: Path, text: str, mode: int, said: str
) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=said) as caught:
        Keyring.of_file(file)
    assert TOKEN not in str(caught.value)


def test_a_token_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Keyring.of_file(tmp_path / "none")


async def test_a_form_that_comes_too_slowly_is_given_up(shop: Oxherd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oxherd.dashboard.access.form._MOST_SECONDS", 0.05)

    sent: list[int] = []
    answered: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(5 if sent else 0)
        sent.append(1)
        return {"type": "http.request", "body": b"event=", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        answered.append(message)

    headers = {
        "host": "127.0.0.1",
        "sec-fetch-site": "same-origin",
        "content-type": "application/x-www-form-urlencoded",
    }
    app: Callable[..., Any] = dashboard(shop)
    async with shop:
        await app(scope_of("/actions/pause", headers.items(), method="POST"), receive, send)
    assert answered[0]["status"] == 408
