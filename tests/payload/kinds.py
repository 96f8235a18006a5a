"""Payload types of many kinds, and what a handler is given of their values."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path
from re import Pattern
from threading import Lock
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    Tag,
    WrapSerializer,
    computed_field,
    field_serializer,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")
MOMENT = datetime(2026, 3, 1, 12, 30, 5, 123456, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


class Size(Enum):
    SMALL = 1
    SMALL_AS_TEXT = "1"
    LARGE = 2.5


class Level(IntEnum):
    LOW = 1


class Colour(StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


class Ref(str):
    __slots__ = ()


class Moment(datetime):
    pass


class Dog(BaseModel):
    name: str


class Cat(BaseModel):
    name: str


class Puppy(Dog):
    age: int = 0


class Renamed(Dog):
    pass


class Tagged(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class TaggedCat(BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class Box(BaseModel, Generic[T]):
    value: T


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 1


class OpenInts(Open):
    __pydantic_extra__: dict[str, int] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]


class Area(BaseModel):
    side: int

    @computed_field
    @property
    def area(self) -> int:
        return self.side**2


class Private(BaseModel):
    a: int = 1
    _note: str = PrivateAttr("none")
    _lock: Any = PrivateAttr(default_factory=Lock)
    _began: float = PrivateAttr(default_factory=time.monotonic)
    _total: int = PrivateAttr(0)

    def model_post_init(self, context: Any, /) -> None:
        self._total = self.a * 2


class NoEquality(BaseModel):
    a: int = 1
    inner: Dog = Dog(name="x")

    def __eq__(self, other: object) -> bool:
        raise AssertionError

    __hash__ = None  # pyright: ignore[reportAssignmentType]


@dataclass(eq=False)
class Plain:
    a: int
    b: list[int] = dataclass_field(default_factory=list[int])


@dataclass(eq=False, frozen=True)
class Hashed:
    a: int


@dataclass
class LateField:
    a: int
    b: int = dataclass_field(default=3, init=False)


@dataclass
class Initial:
    a: int
    factor: InitVar[int] = 1

    def __post_init__(self, factor: int) -> None:
        self.a *= factor


@dataclass
class Needy:
    a: int
    factor: InitVar[int]


@pydantic_dataclass(config=ConfigDict(extra="allow"))
class OpenData:
    a: int


@dataclass(slots=True, kw_only=True, frozen=True)
class Slotted:
    a: int
    b: tuple[int, ...] = (1,)


class Custom:
    """A class of one's own, without equality."""

    def __init__(self, value: int) -> None:
        self.value = value

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.no_info_after_validator_function(cls, core_schema.int_schema())
        return core_schema.json_or_python_schema(
            schema,
            core_schema.union_schema([core_schema.is_instance_schema(cls), schema]),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.written),
        )

    def written(self) -> int:
        return self.value


class Vague(Custom):
    """One whose equality answers with something else than a bool, as an array's does."""

    def __eq__(self, other: object) -> Any:
        return [True]

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class Lossy(Custom):
    def written(self) -> int:
        return 0


class Renaming(BaseModel):
    a: int = Field(validation_alias="in", serialization_alias="out")
    b: int = Field(5, alias="B")
    c: int = Field(5, validation_alias=AliasChoices("C1", AliasPath("deep", 0), "C2"))


class Deep(BaseModel):
    a: int = Field(5, validation_alias=AliasPath("deep", 0))


class Loose(BaseModel):
    price: Decimal = 0  # pyright: ignore[reportAssignmentType]
    ratio: float = 1
    tags: tuple[str, ...] = []  # pyright: ignore[reportAssignmentType]


class Excluded(BaseModel):
    token: str = Field(default="none", exclude=True)
    count: int = Field(default=7, exclude_if=lambda count: count == 0)


class Counted(BaseModel):
    id: UUID = Field(default_factory=uuid4)
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    tags: list[str] = Field(default_factory=list)


class Touched(BaseModel):
    at: float = 0.0

    @model_validator(mode="after")
    def touch(self) -> Touched:
        self.at = time.monotonic()
        return self


def _cents(euros: int) -> int:
    return euros * 100


class Written(BaseModel):
    at: datetime

    @field_serializer("at")
    def write(self, at: datetime) -> str:
        return at.date().isoformat()


class WrittenWhole(BaseModel):
    a: int
    b: int = 2

    @model_serializer
    def write(self) -> dict[str, int]:
        return {"a": self.a}


class Kept(BaseModel):
    inner: SerializeAsAny[Dog]


def _kind(value: Any) -> str:
    return value["name"] if isinstance(value, dict) else value.name  # pyright: ignore[reportUnknownVariableType]


ByName = Annotated[Annotated[Dog, Tag("dog")] | Annotated[Cat, Tag("cat")], Discriminator(_kind)]
NEITHER = Private()
NEITHER._note = "changed"  # pyright: ignore[reportPrivateUsage]
CHANGED = LateField(1)
CHANGED.b = 9
ASSIGNED = Dog(name="x")
ASSIGNED.name = Ref("y")
TWICE = Annotated[int, AfterValidator(_cents)]

# Types without a usable equality: their values are told apart by their texts.
IDENTITY: list[Any] = [NoEquality, Private, Plain, list[Custom], list[Vague], set[Hashed]]

ARRIVES: list[tuple[Any, Any]] = [
    *((float, value) for value in (0.0, -0.0, 0.1, 1e-320, 1.7976931348623157e308, 5, 2**53 + 1.0)),
    *((int, value) for value in (0, -1, 2**64, 10**400, True)),
    (int | float, 1),
    (int | float, 1.0),
    (float | int, 1),
    (bool | int, True),
    (bool | int, 1),
    (int | bool, False),
    (int | str, "1"),
    (Decimal, Decimal("1.50")),
    (Decimal, Decimal("1E+2")),
    (Decimal, Decimal("-0")),
    (Fraction, Fraction(1, 3)),
    (datetime, MOMENT),
    (datetime, MOMENT.replace(tzinfo=None)),
    (datetime, datetime(2026, 7, 1, 12, tzinfo=PARIS)),
    (datetime, datetime(2026, 10, 25, 2, 30, tzinfo=PARIS, fold=1)),
    (datetime, datetime.max),
    (datetime, Moment(2026, 1, 1)),
    (timedelta, timedelta.max),
    (timedelta, timedelta.min),
    (timedelta, timedelta(microseconds=-1)),
    (time_of_day, time_of_day(23, 59, 59, 999999)),
    (bytes, b"abc"),
    (Path, Path("a/b")),
    (UUID, UUID(int=5)),
    (IPv4Address, IPv4Address("10.0.0.1")),
    (Pattern, __import__("re").compile("a+")),
    (Size, Size.SMALL),
    (Size, Size.LARGE),
    (list[Size], [Size.SMALL, Size.SMALL]),
    (Level, Level.LOW),
    (Colour, Colour.RED),
    (Literal[1, "1"], "1"),
    (Literal["a"], "a"),
    (set[int], {3, 1, 2}),
    (frozenset[str], frozenset({"a", "b"})),
    (set[Hashed], {Hashed(1), Hashed(2)}),
    (frozenset[SecretStr], frozenset({SecretStr("a")})),
    (tuple[int, ...], (1, 2)),
    (tuple[int, str], (1, "a")),
    (Point, Point(1, 2.0)),
    (deque[int], deque([1, 2])),
    (Counter[str], Counter("aab")),
    (dict[int, str], {1: "a"}),
    (dict[UUID, int], {UUID(int=1): 1}),
    (dict[Level, int], {Level.LOW: 1}),
    (dict[date, int], {date(2026, 1, 1): 1}),
    (dict[float, int], {1.5: 1}),
    (dict[tuple[int, int], int], {}),
    (defaultdict[str, list[int]], defaultdict(list, a=[1])),
    (OrderedDict[str, int], OrderedDict(b=1, a=2)),
    (Any, {"a": [1, 1.5, None, True, "x", {}]}),
    (Any, OrderedDict(a=1)),
    (dict[str, Any], {"a": Ref("x")}),
    (dict[str, object], {"a": [1]}),
    (Dog, Dog(name="x")),
    (Dog, ASSIGNED),
    (Dog | Cat, Dog(name="x")),
    (Dog | Puppy, Puppy(name="x")),
    (UUID | str, UUID(int=1)),
    (str | UUID, "x"),
    (SecretStr | str, SecretStr("x")),
    (float | Decimal, Decimal("1.5")),
    (Tagged | TaggedCat, TaggedCat(name="x")),
    (ByName, Cat(name="cat")),
    (list[Dog], [Dog(name="a"), Dog(name="b")]),
    (dict[str, Dog | None], {"a": Dog(name="a"), "b": None}),
    (Box[int], Box[int](value=1)),
    (Box[Dog], Box[Dog](value=Dog(name="x"))),
    (Box[list[Box[bytes]]], Box[list[Box[bytes]]](value=[Box[bytes](value=b"x")])),
    (Box[Any], Box[Any](value=1)),
    (RootModel[list[Dog]], RootModel[list[Dog]]([Dog(name="x")])),
    (Open, Open.model_validate({"b": [1]})),
    (OpenInts, OpenInts.model_validate({"b": 2})),
    (Area, Area(side=3)),
    (Private, Private(a=4)),
    (NoEquality, NoEquality(a=2)),
    (Plain, Plain(1, [2])),
    (OpenData, {"a": 1}),
    (LateField, LateField(4)),
    (Initial, Initial(4, 3)),
    (Slotted, Slotted(a=1, b=(2, 3))),
    (list[Custom], [Custom(4)]),
    (list[Vague], [Vague(4)]),
    (Renaming, Renaming.model_validate({"in": 1, "B": 2, "C1": 3})),
    (Deep, Deep.model_validate({})),
    (Excluded, Excluded()),
    (Counted, Counted(tags=["a"])),
    (Written, Written(at=datetime(2026, 1, 1))),
    (SecretStr, SecretStr("a")),
    (SecretBytes, SecretBytes(b"a")),
    (Secret[Dog], Secret[Dog](Dog(name="x"))),
    (list[SecretStr | None], [None, SecretStr("x")]),
    (Kept, Kept(inner=Dog(name="x"))),
    (Annotated[str, BeforeValidator(str.strip)], " a "),
    (Annotated[int, PlainSerializer(str)], 5),
    (str | None, None),
    (list[int | None], [None, 1]),
    (list[list[float]], [[0.5], []]),
]

# The payload, and the part that would differ.
REFUSED: list[tuple[Any, Any, str]] = [
    (list[Dog | Cat], [Dog(name="a"), Cat(name="x")], "1: "),
    (dict[str, Cat | Dog], {"a": Dog(name="x")}, "*: "),
    (Dog, Puppy(name="x", age=1), ""),
    (Dog, Renamed(name="x"), ""),
    (list[Dog], [Puppy(name="x")], "0: "),
    (Kept, Kept(inner=Puppy(name="x")), "inner: "),
    (Box[Any], Box[Any](value=Dog(name="x")), "value: "),
    (Box[Dog], Box[Dog](value=Puppy(name="x")), "value: "),
    (RootModel[list[Dog]], RootModel[list[Dog]]([Puppy(name="x")]), "0: "),
    *(
        (tp, value, "")
        for tp, value in (
            (str | datetime, MOMENT),
            (UUID | str, str(UUID(int=1))),
            (str | UUID, str(UUID(int=1))),
            (Decimal | str, "1.5"),
            (str | bytes, b"a"),
            (bytes | str, "a"),
            (Path | str, "a"),
            (Level | int, Level.LOW),
            (int | Level, Level.LOW),
            (Colour | str, Colour.RED),
            (date | str, "2026-01-01"),
            (timedelta | str, "P1D"),
            (list[int] | set[int], {1}),
            (list[int] | tuple[int, ...], (1,)),
            (set[int] | frozenset[int], frozenset({1})),
            (deque[int], deque([1], maxlen=3)),
            (dict[int | str, int], {1: 1, "1": 2}),
            (datetime, datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))),
            (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=30)))),
            (time_of_day, time_of_day(1, tzinfo=PARIS)),
            (Lossy, Lossy(1)),
        )
    ),
    *(
        (dict[str, Any], {"a": value}, "*: ")
        for value in (
            (1, 2),
            {1},
            frozenset({1}),
            b"x",
            MOMENT,
            UUID(int=1),
            Decimal(1),
            Point(1, 2.0),
            Level.LOW,
            Colour.RED,
            Dog(name="x"),
            Plain(1),
            timedelta(1),
            Path("a"),
        )
    ),
    (dict[Any, int], {1: 1}, "*: "),
    (dict[str | bytes, int], {b"a": 1}, "*: "),
    (dict[str, Any], {"a": {1: 2}}, "*.*: "),
    (Private, NEITHER, "_note: "),
    (LateField, CHANGED, "b: "),
    (Needy, Needy(4, 2), "factor: "),
    (Deep, Deep.model_validate({"deep": [1]}), "a: "),
    (Excluded, Excluded(token="x"), "token: "),
    (OpenData, {"a": 1, "z": 2}, ""),
    (Loose, Loose(), "tags: "),
    (Sequence[int], (1, 2), ""),
    (Excluded, Excluded(count=0), "count: "),
    (Touched, Touched(), "at: "),
    (Written, Written(at=MOMENT), "at: "),
    (WrittenWhole, WrittenWhole(a=1, b=3), "b: "),
    (TWICE, 5, ""),
    (list[TWICE], [1, 5], "0: "),
    (Box[TWICE], Box[TWICE](value=5), "value: "),
    (Annotated[str, AfterValidator(lambda text: text + "!")], "a", ""),
    (Annotated[float, PlainSerializer(lambda number: round(number, 2))], 0.125, ""),
    (Annotated[Decimal, PlainSerializer(float)], Decimal("1.50"), ""),
    (Annotated[str, WrapSerializer(lambda text, write: write(text)[:3])], "abcd", ""),
]
