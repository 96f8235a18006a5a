"""What a function's annotations say: which of them mean a Context, and which function is called in the end."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import MethodType, NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from oxherd.context import Context


def is_context(annotation: Any) -> bool:
    """Whether an annotation means Context: also by another name, with None or with metadata."""
    if hasattr(annotation, "__value__"):  # a `type` statement's
        return is_context(annotation.__value__)
    if get_origin(annotation) in (Annotated, Union, UnionType):
        given = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
        return all(each is NoneType or is_context(each) for each in given)
    return annotation is Context


def inner(function: Callable[..., Any], *, wrapped: bool = False) -> Callable[..., Any]:
    """The function that is called in the end: by a partial, a method or an object; `wrapped`: by decorators as well."""
    called: Any = function
    while True:
        if isinstance(called, partial):
            called = cast("partial[Any]", called).func
        elif isinstance(called, MethodType | staticmethod):
            called = cast("MethodType", called).__func__
        elif wrapped and hasattr(called, "__wrapped__"):
            called = called.__wrapped__
        elif inspect.isroutine(called):
            return called
        else:
            called = type(called).__call__
