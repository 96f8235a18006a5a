"""The herd on which the events of task queues are declared: the project's."""

from __future__ import annotations

from oxherd.app import Oxherd


def project_herd() -> Oxherd:
    """The herd that the settings make."""
    from oxherd.django import herd

    return herd
