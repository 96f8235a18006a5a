"""The table through Django's connections."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime

from django.conf import settings
from django.db import close_old_connections, connections, transaction
from django.db.models import Count, Min, Q, QuerySet
from django.utils.timezone import make_naive

from oxherd.outbox.django.models import OutboxRow
from oxherd.outbox.rows import (
    BATCH,
    Delivered,
    Given,
    OutboxBacklog,
    Page,
    Results,
    Row,
    Selection,
    Send,
    Store,
    aware,
    ids_of,
)

_MOST_UNKNOWN = 16


class DjangoStore(Store):
    """Through the connection that the calling thread has to the database `using`."""

    def __init__(self, using: str) -> None:
        self._using = using

    def deliver(self, selection: Selection, send: Send) -> Delivered:
        """As `Store.deliver`; a page is locked meanwhile, where the database can skip what others have locked."""
        unknown = list[str]()
        features = connections[self._using].features
        if isinstance(selection, Page) and features.has_select_for_update_skip_locked:
            with transaction.atomic(self._using):
                unknown = self._unknown(selection)
                rows = self._read(self._rows(selection).select_for_update(skip_locked=True))
                results = send(rows) if rows else Results()
                self._write(results)
            return Delivered(ids_of(rows), results, unknown)
        if isinstance(selection, Page):
            unknown = self._unknown(selection)
        rows = self._read(self._rows(selection))
        results = send(rows) if rows else Results()
        self._write(results)
        return Delivered(ids_of(rows), results, unknown)

    def backlog(self) -> OutboxBacklog:
        """As `Store.backlog`."""
        waits = Q(error=None)
        found = self._all().aggregate(
            waiting=Count("id", filter=waits),
            refused=Count("id", filter=~waits),
            oldest=Min("emitted_at", filter=waits),
        )
        return OutboxBacklog(found["waiting"], found["refused"], aware(found["oldest"]))

    def _all(self) -> QuerySet[OutboxRow]:
        return OutboxRow.objects.using(self._using)

    def _rows(self, selection: Selection) -> QuerySet[OutboxRow]:
        rows = self._all().filter(error=None).order_by("id")
        if isinstance(selection, Given):
            return rows.filter(id__in=selection.ids)
        rows = rows.filter(emitted_at__lt=stored(selection.before), event__in=selection.events)
        return (rows if selection.after is None else rows.filter(id__gt=selection.after))[:BATCH]

    def _read(self, rows: QuerySet[OutboxRow]) -> list[Row]:
        return [Row(*each) for each in rows.values_list(*Row._fields)]

    def _unknown(self, page: Page) -> list[str]:
        if page.after is not None:
            return []
        old = self._all().filter(error=None, emitted_at__lt=stored(page.before)).exclude(event__in=page.events)
        return sorted(old.order_by("event").values_list("event", flat=True).distinct()[:_MOST_UNKNOWN])

    def _write(self, results: Results) -> None:
        if results.sent:
            self._all().filter(id__in=results.sent).delete()
        for refused, error in results.refused.items():
            self._all().filter(id=refused).update(error=error)


class BackgroundStore(DjangoStore):
    """For a thread in which nobody else cares for Django's connections: they are checked before each use and after."""

    def deliver(self, selection: Selection, send: Send) -> Delivered:
        """As `Store.deliver`."""
        with _clean_connection(self._using):
            return super().deliver(selection, send)

    def backlog(self) -> OutboxBacklog:
        """As `Store.backlog`."""
        with _clean_connection(self._using):
            return super().backlog()


@contextmanager
def _clean_connection(using: str) -> Generator[None]:
    close_old_connections()
    connection = connections[using]
    # Whatever CONN_HEALTH_CHECKS says: what the database has ended meanwhile is no fault to be reported.
    if connection.connection is not None and not connection.is_usable():
        connection.close()
    try:
        yield
    finally:
        close_old_connections()


def stored(moment: datetime) -> datetime:
    """A moment as the table has it: without time zones, Django stores naive ones, here of UTC."""
    return moment if settings.USE_TZ else make_naive(moment, UTC)
