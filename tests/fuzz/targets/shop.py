"""The app for fuzzing the command line; its server does not exist."""

from __future__ import annotations

from oxherd import Oxherd
from tests.fuzz.targets.payloads import Order, Parcel, Tree

herd = Oxherd("unix:///nowhere/valkey.sock", emit_timeout=0.01)
order = herd.declare("order", Order, max_payload=2_000)
parcel = herd.declare("parcel", Parcel)
tree = herd.declare("tree", list[Tree])
nothing = None
