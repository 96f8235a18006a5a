"""A Flask application that emits an event in a request; its handler runs in the application's context.

    pip install "oxherd[embedded,flask]" sqlalchemy gunicorn
    flask --app examples.flask_app create-tables
    flask --app examples.flask_app run --debug
    oxherd worker examples.flask_app:herd --reload

With several processes, and PostgreSQL (psycopg):

    export DATABASE_URL=postgresql+psycopg://shop@db/shop OXHERD_URL=redis://redis
    gunicorn --preload --workers 4 examples.flask_app:app
    oxherd worker examples.flask_app:herd

Then:

    curl -X POST localhost:5000/orders -H "Authorization: Bearer adas-token"      # {"event":"019...","order":1}
    curl localhost:5000/orders/1 -H "Authorization: Bearer adas-token"
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, abort, current_app, request
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, scoped_session, sessionmaker

from oxherd import Context, Oxherd, Retry
from oxherd.flask import init_app

USERS = {"adas-token": "ada", "bobs-token": "bob"}  # in an application: its logins

herd = Oxherd()
app = Flask(__name__)
app.config["CURRENCY"] = "EUR"
init_app(herd, app)

# A connection that the database has closed is noticed before it is used.
engine = create_engine(os.environ.get("DATABASE_URL", "sqlite:///orders.db"), pool_pre_ping=True)
session = scoped_session(sessionmaker(engine))  # one for each thread


@app.teardown_appcontext
def close_session(_: BaseException | None) -> None:
    session.remove()  # after each request, and after each run of a handler, in its thread


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    charged: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0)


class Placed(BaseModel):
    order_id: int


@herd.event("order.placed", retry=Retry(attempts=5, delay=1))
def order_placed(placed: Placed, ctx: Context) -> None:
    order = session.get_one(Order, placed.order_id)
    order.charged = f"10 {current_app.config['CURRENCY']}"
    order.attempts = ctx.attempt
    session.commit()


@app.cli.command("create-tables")
def create_tables() -> None:
    """Create the tables; in an application, Alembic does."""
    Base.metadata.create_all(engine)


def user() -> str:
    found = USERS.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
    return found or abort(401)


@app.post("/orders")
def place_order() -> tuple[dict[str, Any], int]:
    order = Order(owner=user())
    session.add(order)
    session.commit()  # before the emit: a worker may be quick
    emitted = order_placed.emit_sync(Placed(order_id=order.id))
    return {"order": order.id, "event": str(emitted.id)}, 202


@app.get("/orders/<int:order_id>")
def show_order(order_id: int) -> dict[str, Any]:
    owner = user()  # first: strangers are told the same of every number
    order = session.get(Order, order_id)
    if order is None or order.owner != owner:
        abort(404)
    return {"order": order.id, "charged": order.charged}
