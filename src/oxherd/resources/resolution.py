"""One run's dependencies: each value made once, and closed after the run in reverse order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from inspect import isawaitable, iscoroutine
from typing import Any

from oxherd.context import Context
from oxherd.errors import UsageError
from oxherd.resources.dependency import Dependency, Kind, Needs

Overrides = Mapping[Callable[..., Any], Dependency]
LifespanValues = Mapping[Callable[..., Any], Any]


class Resolution:
    """Makes the values that one run of a handler needs, with `overrides` in the place of what they override.

    What is async, with all that it needs, is made in the event loop; the rest where the handler runs.
    """

    def __init__(self, needs: Needs, context: Context, lifespans: LifespanValues, overrides: Overrides) -> None:
        self._needs = needs
        self._context = context
        self._lifespans = lifespans
        self._overrides = overrides
        self._values: dict[object, Any] = {}

    @property
    def needs_loop(self) -> bool:
        """Whether anything of it is async."""
        return self._is_async(self._needs)

    async def in_loop(self, stack: AsyncExitStack) -> dict[str, Any]:
        """Make all of it here, in the event loop."""
        return {name: await self._value_in_loop(each, stack) for name, each in self._needs}

    async def before(self, stack: AsyncExitStack) -> None:
        """Make what is async, and what that needs, before a `def` handler begins elsewhere."""
        await self._async_of(self._needs, stack)

    def here(self, stack: ExitStack) -> dict[str, Any]:
        """Make the rest, in this thread."""
        return {name: self._value(each, stack) for name, each in self._needs}

    def _is_async(self, needs: Needs) -> bool:
        found = [self._overrides.get(each.function, each) for _, each in needs]
        return any(each.is_async or self._is_async(each.needs) for each in found)

    async def _async_of(self, needs: Needs, stack: AsyncExitStack) -> None:
        for _, each in needs:
            found = self._overrides.get(each.function, each)
            if found.is_async:
                await self._value_in_loop(each, stack)
            else:
                await self._async_of(found.needs, stack)

    async def _value_in_loop(self, wanted: Dependency, stack: AsyncExitStack) -> Any:
        if wanted.key in self._values:
            return self._values[wanted.key]
        found = self._overrides.get(wanted.function, wanted)
        arguments = self._contexts(found)
        for name, each in found.needs:
            arguments[name] = await self._value_in_loop(each, stack)
        if found.kind is Kind.ASYNC_GENERATOR:
            value = await stack.enter_async_context(found.make(**arguments))
        elif found.kind is Kind.GENERATOR:
            value = stack.enter_context(found.make(**arguments))
        elif found.kind is Kind.LIFESPAN:
            value = self._of_lifespan(found)
        else:
            value = found.make(**arguments)
            if iscoroutine(value):
                value = await value
        self._values[wanted.key] = value
        return value

    def _value(self, wanted: Dependency, stack: ExitStack) -> Any:
        if wanted.key in self._values:
            return self._values[wanted.key]
        found = self._overrides.get(wanted.function, wanted)
        if found.is_async:
            raise UsageError(f"The dependency {found.name} is async; call the event by `await event(payload)`.")
        arguments = self._contexts(found)
        for name, each in found.needs:
            arguments[name] = self._value(each, stack)
        if found.kind is Kind.GENERATOR:
            value = stack.enter_context(found.make(**arguments))
        else:
            value = self._of_lifespan(found) if found.kind is Kind.LIFESPAN else found.make(**arguments)
        self._values[wanted.key] = value
        return value

    def _contexts(self, found: Dependency) -> dict[str, Any]:
        return dict.fromkeys(found.contexts, self._context)

    def _of_lifespan(self, found: Dependency) -> Any:
        if found.function in self._lifespans:
            return self._lifespans[found.function]
        raise UsageError(
            f"The worker lifespan {found.name} is not open here; start its herd, or in a test "
            f"`with herd.override({found.name}, ...)`."
        )


Call = Callable[..., Any]


async def call_in_loop(call: Call, payload: Any, context: Context, resolution: Resolution) -> Any:
    """Run an `async def` handler with its dependencies, in the event loop."""
    async with AsyncExitStack() as stack:
        value = call(payload, context, **await resolution.in_loop(stack))
        while isawaitable(value):
            value = await value
        return value
    return None  # a dependency has taken the error


def call_here(call: Call, payload: Any, context: Context, resolution: Resolution) -> Any:
    """Run a `def` handler with its dependencies, in this thread."""
    with ExitStack() as stack:
        value = call(payload, context, **resolution.here(stack))
        if isawaitable(value):
            if iscoroutine(value):
                value.close()  # else it warns that nobody awaited it
            raise UsageError("A def handler with dependencies returned an awaitable; make it an async def.")
        return value
    return None  # a dependency has taken the error
