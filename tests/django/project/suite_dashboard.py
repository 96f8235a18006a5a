"""The dashboard in the admin, for users with and without its permissions, under WSGI and ASGI."""

import asyncio
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import TransactionTestCase
from warehouse.events import Stored, box_stored

from oxherd.django import herd
from oxherd.testing import own_server

ROOT = "/admin/oxherd/dashboard/"
PAUSE = f"{ROOT}actions/pause"
FORM = "event=box.stored"
FORM_TYPE: Any = {"content_type": "application/x-www-form-urlencoded"}
SAME: Any = {"HTTP_SEC_FETCH_SITE": "same-origin"}


def staff(name: str, *permissions: str, is_staff: bool = True) -> User:
    """A user with these permissions of the dashboard."""
    user = User.objects.create_user(name, password="secret", is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions, content_type__app_label="oxherd"))
    return user


def is_paused() -> bool:
    """Whether what waits is kept back."""
    status = box_stored.emit_sync(Stored(label="a")).status_sync()
    assert status is not None
    return status.paused


class Dashboard(TransactionTestCase):
    databases = {"default"}

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.enterClassContext(own_server())

    def setUp(self) -> None:
        self.operator = staff("ada", "view_dashboard", "operate_dashboard")
        self.viewer = staff("bob", "view_dashboard")
        self.stranger = staff("eve")
        self.customer = staff("mallory", "view_dashboard", "operate_dashboard", is_staff=False)

    def test_who_is_not_signed_in_is_sent_to_the_admins_page_and_back(self) -> None:
        for below in ("", "failed", "assets/app.css"):
            answer = self.client.get(ROOT + below)
            assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={ROOT}{below}")
        assert self.client.post(PAUSE, FORM, **FORM_TYPE, **SAME).status_code == 302

    def test_who_has_no_permission_or_is_not_staff_sees_nothing(self) -> None:
        self.client.force_login(self.stranger)
        for below in ("", "failed", "assets/app.css", "?live=1"):
            assert self.client.get(ROOT + below).status_code == 403
        assert ROOT not in self.client.get("/admin/").content.decode()
        self.client.force_login(self.customer)
        assert self.client.get(ROOT).status_code == 302

    def test_a_viewer_sees_all_and_changes_nothing(self) -> None:
        self.client.force_login(self.viewer)
        index = self.client.get("/admin/").content.decode()
        assert f'href="{ROOT}"' in index
        page = self.client.get(ROOT)
        assert page.status_code == 200
        assert "box.stored" in page.content.decode()
        assert "bob" in page.content.decode()
        assert f'href="{ROOT}failed"' in page.content.decode()
        assert "default-src 'none'" in page["Content-Security-Policy"]
        style = self.client.get(f"{ROOT}assets/app.css")
        assert (style.status_code, style["Content-Type"]) == (200, "text/css; charset=utf-8")
        assert self.client.get(f"{ROOT}nothing").status_code == 404
        assert self.client.post(PAUSE, FORM, **FORM_TYPE, **SAME).status_code == 403
        assert not is_paused()

    def test_an_operator_acts_and_the_audit_log_has_the_name(self) -> None:
        self.client.force_login(self.operator)
        answer = self.client.post(PAUSE, FORM, **FORM_TYPE, **SAME)
        assert answer.status_code == 303, answer.content
        assert answer["Location"].startswith(ROOT)
        assert is_paused()
        assert "ada" in self.client.get(f"{ROOT}audit").content.decode()
        box_stored.resume_sync()

    def test_another_site_changes_nothing(self) -> None:
        self.client.force_login(self.operator)
        foreign: tuple[Any, ...] = (
            {"HTTP_SEC_FETCH_SITE": "cross-site"},
            {"HTTP_ORIGIN": "https://evil.example"},
            {"HTTP_REFERER": "https://evil.example/admin/"},
            {"HTTP_ORIGIN": "null"},
            {},
        )
        for said in foreign:
            answer = self.client.post(PAUSE, FORM, **FORM_TYPE, **said)
            assert answer.status_code == 403
        assert not is_paused()

    def test_another_host_is_refused_by_django(self) -> None:
        self.client.force_login(self.operator)
        assert self.client.get(ROOT, HTTP_HOST="evil.example").status_code == 400

    def test_under_wsgi_a_live_part_comes_once_and_is_asked_for_again(self) -> None:
        self.client.force_login(self.viewer)
        answer = self.client.get(f"{ROOT}?live=1")
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.content.count(b"\n\ndata:") == 1
        assert answer.content.endswith(b"retry: 5000\n\n")

    async def test_under_asgi_a_live_part_is_a_stream(self) -> None:
        await self.async_client.aforce_login(self.viewer)
        answer: Any = await self.async_client.get(f"{ROOT}?live=1")
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream")
        seen = b""
        async with asyncio.timeout(20):
            async for chunk in answer.streaming_content:
                seen += chunk
                if b"box.stored" in seen and seen.endswith(b"\n\n"):
                    break
        await answer.streaming_content.aclose()
        assert seen.startswith(b"retry: 500\n\ndata:")
        await herd.close()

    async def test_under_asgi_pages_are_the_same(self) -> None:
        await self.async_client.aforce_login(self.viewer)
        answer = await self.async_client.get(ROOT)
        assert answer.status_code == 200
        assert "box.stored" in answer.content.decode()

    def test_the_story_of_an_event_is_shown_without_its_payload(self) -> None:
        emitted = box_stored.emit_sync(Stored(label="a private label"), delay=3600)
        self.client.force_login(self.viewer)
        page = self.client.get(f"{ROOT}stories/{emitted.id}")
        assert page.status_code == 200
        assert str(emitted.id) in page.content.decode()
        assert "a private label" not in page.content.decode()
