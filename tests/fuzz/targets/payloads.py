"""Payload types of every kind, for the fuzz targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from pydantic import AfterValidator, AnyUrl, BaseModel, Discriminator, Field, Secret, SecretBytes, SecretStr
from typing_extensions import TypedDict

from oxherd import Mask, Oxherd, Retry
from oxherd.declaration import Declaration
from oxherd.privacy.shown_payload import Sanitizer


class Colour(Enum):
    RED = "red"
    BLUE = 2


def _refuse(value: str) -> str:
    if len(value) % 3 == 0:
        raise ValueError(f"{value} is refused, and quoted")
    if len(value) % 7 == 0:
        raise KeyError(value)
    return value


class Order(BaseModel):
    kind: Literal["order"] = "order"
    order_id: int = 0
    email: Annotated[str, Mask("email")] = ""
    card: SecretStr = SecretStr("")
    account: Annotated[int | str, Mask("last4")] = 0
    phone: Annotated[str, Mask("hash", key="0123456789abcdef")] = ""
    when: datetime | None = None
    tags: list[str] = []
    lines: dict[str, int] = {}
    note: Annotated[str, AfterValidator(_refuse)] = ""


class Strict(BaseModel, extra="forbid", strict=True):
    code: Annotated[str, Field(pattern=r"^(a+)+$", max_length=50)] = "a"
    amount: Annotated[Decimal, Field(max_digits=8, decimal_places=2)] = Decimal(0)
    count: Annotated[int, Field(gt=0, le=1_000_000)] = 1


class Tree(BaseModel):
    card: SecretStr = SecretStr("")
    children: list[Tree] = []


@dataclass
class Parcel:
    kind: Literal["parcel"]
    weight: float = 0.0
    address: Annotated[list[str], Mask()] = field(default_factory=list[str])
    token: SecretBytes | None = None


class Ticket(TypedDict, total=False):
    id: UUID
    colour: Colour
    pin: Secret[int]
    who: Annotated[dict[str, Any], Mask()]


class Point(NamedTuple):
    x: int
    y: float


_TYPES: dict[str, Any] = {
    "order": Order,
    "strict": Strict,
    "tree": Tree,
    "parcel": Parcel,
    "ticket": Ticket,
    "tagged": Annotated[Order | Parcel, Discriminator("kind")],
    "union": Order | Ticket | int | None,
    "orders": list[Order],
    "mapping": dict[int, SecretStr],
    "tuple": tuple[date, time, timedelta, *tuple[Colour, ...]],
    "set": set[UUID | IPv4Address],
    "point": Point,
    "url": AnyUrl,
    "path": Path,
    "bytes": bytes,
    "float": float,
    "any": Any,
    "text": Annotated[str, Mask()],
}


class Case:
    """A declared event, and what shows its payloads."""

    def __init__(self, herd: Oxherd, name: str, tp: Any) -> None:
        retry = Retry(attempts=3, delay=0.5) if len(name) % 2 else Retry()
        self.declaration: Declaration = herd.declare(name, tp, retry=retry, max_payload=50_000).declaration
        self.sanitizer: Sanitizer[Any] = Sanitizer(self.declaration.payload)


_HERD = Oxherd("unix:///nowhere")
CASES = [Case(_HERD, name, tp) for name, tp in _TYPES.items()]
NAMES = sorted({name for case in CASES for name in case.declaration.payload.field_names} | {"order", "parcel", "RED"})
