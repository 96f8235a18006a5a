"""The dashboard in Django's admin: a link on its index, and the pages below `admin/oxherd/dashboard/`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.views.decorators.csrf import csrf_exempt

from oxherd.django.models import Dashboard

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Dashboard]
else:
    _Base = admin.ModelAdmin

_VIEW = "oxherd.view_dashboard"


class DashboardAdmin(_Base):
    """Shows the dashboard to staff with `oxherd.view_dashboard`; `oxherd.operate_dashboard` lets them act."""

    def get_urls(self) -> list[URLPattern]:
        """The dashboard's own pages, in place of those of a model."""

        @csrf_exempt  # its forms have no token; it refuses what comes from another origin by itself
        def view(request: HttpRequest, below: str = "") -> HttpResponseBase:
            return self._answer(request, below)

        guarded: Any = self.admin_site.admin_view(view, cacheable=True)
        return [path("", guarded, name="oxherd_dashboard_changelist"), path("<path:below>", guarded)]

    def _answer(self, request: HttpRequest, below: str) -> HttpResponseBase:
        if not _may_view(request):
            raise PermissionDenied
        from oxherd.django.dashboard import answer

        root = reverse("admin:oxherd_dashboard_changelist", current_app=self.admin_site.name)
        return answer(request, root, below)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the index has it."""
        return _may_view(request)

    def has_view_permission(self, request: HttpRequest, obj: Dashboard | None = None) -> bool:
        """Whether the index links to it."""
        del obj
        return _may_view(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: there is one."""
        del request
        return False

    def has_change_permission(self, request: HttpRequest, obj: Dashboard | None = None) -> bool:
        """Never."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Dashboard | None = None) -> bool:
        """Never."""
        del request, obj
        return False


def _may_view(request: HttpRequest) -> bool:
    user: Any = request.user  # the project's own model
    return user.has_perm(_VIEW)


# Without oxherd[dashboard] there is nothing to link to.
if find_spec("starlette") is not None and find_spec("jinja2") is not None:
    admin.site.register(Dashboard, DashboardAdmin)
