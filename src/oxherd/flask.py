"""Oxherd in a Flask application: handlers run in its context; needs `oxherd[flask]`."""

from __future__ import annotations

from oxherd.app import Oxherd
from oxherd.context import Context
from oxherd.errors import ConfigError, DeclarationError
from oxherd.resources.declared import CallNext
from oxherd.resources.sync_middleware import SyncCallNext

try:
    from flask import Flask
except ImportError:
    raise ConfigError("Flask is not installed; install oxherd[flask].") from None


def init_app(herd: Oxherd, app: Flask) -> None:
    """Run the herd's handlers in the application's context, a new one for each run, as each request has.

    A `def` handler has it in its own thread, or process, with its `def` dependencies; so functions of
    `@app.teardown_appcontext` are called there after each run, with what the handler raised. An `async def` handler has
    it in the event loop. The herd is `app.extensions["oxherd"]`. Of several applications the last one counts.

    Raises:
        DeclarationError: `herd` is no herd, or `app` no Flask application.
    """
    if not isinstance(herd, Oxherd):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError("init_app() takes a herd, then the application: init_app(herd, app).")
    if not isinstance(app, Flask):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(
            "init_app() takes a herd, then a Flask application; call it where the application is made."
        )
    app.extensions["oxherd"] = herd
    declared = next((each for each in herd.resources.sync_middleware if isinstance(each, _InContext)), None)
    if declared is not None:
        declared.app = app
        return
    in_context = _InContext(herd, app)
    herd.middleware(in_context.around_async)
    herd.sync_middleware(in_context)


class _InContext:
    """Middleware that opens the application's context: called around a `def` handler, in its thread."""

    def __init__(self, herd: Oxherd, app: Flask) -> None:
        self.app = app
        self._herd = herd

    def __call__(self, ctx: Context, call_next: SyncCallNext) -> object:
        with self.app.app_context():
            return call_next(ctx)

    async def around_async(self, ctx: Context, call_next: CallNext) -> object:
        """The same in the event loop; a `def` handler is left to the other."""
        handler = self._herd[ctx.event].handler
        if handler is None or handler.run_in != "loop":
            return await call_next(ctx)
        with self.app.app_context():
            return await call_next(ctx)
