"""A FastAPI application that emits an event in a request and tells how it goes; requests and events share a session.

    pip install "oxherd[embedded,fastapi]" "sqlalchemy[asyncio]" aiosqlite uvicorn
    python -m examples.fastapi_app               # creates the tables

In development, with a worker in the same process:

    WORKER=1 uvicorn examples.fastapi_app:app --reload

Apart, with as many of each as you like, and with PostgreSQL (psycopg):

    export DATABASE_URL=postgresql+psycopg://shop@db/shop OXHERD_URL=redis://redis
    uvicorn examples.fastapi_app:app --workers 4
    oxherd worker examples.fastapi_app:herd

Then:

    curl -X POST localhost:8000/orders -H "Authorization: Bearer adas-token"      # {"id":"019..."}
    curl localhost:8000/events/019... -H "Authorization: Bearer adas-token"
    curl -N localhost:8000/events/019.../stream -H "Authorization: Bearer adas-token"
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from oxherd import Context, Oxherd, Retry
from oxherd.fastapi import events_router, lifespan

USERS = {"adas-token": "ada", "bobs-token": "bob"}  # in an application: its logins

herd = Oxherd()
# A connection that the database has closed is noticed before it is used.
engine = create_async_engine(os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///orders.db"), pool_pre_ping=True)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)  # in which it was charged; 0: not yet


class Placed(BaseModel):
    order_id: UUID


# The same dependency in requests and in handlers, marked once.


async def get_session() -> AsyncGenerator[AsyncSession]:
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


@herd.event("order.placed", retry=Retry(attempts=5, delay=1))
async def order_placed(placed: Placed, ctx: Context, session: Session) -> str:
    order = await session.get_one(Order, placed.order_id)
    await ctx.progress({"done": 1, "of": 2})
    order.attempts = ctx.attempt
    await session.commit()
    return f"receipt for {order.owner}"


@herd.worker_lifespan
async def database(_: Oxherd) -> AsyncGenerator[None]:
    yield
    await engine.dispose()


@asynccontextmanager
async def own(_: FastAPI) -> AsyncGenerator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan(herd, worker=os.environ.get("WORKER") == "1", then=own))


def user_of(request: Request) -> str:
    user = USERS.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
    if user is None:
        raise HTTPException(401, "log in")
    return user


@app.post("/orders", status_code=202)
async def place_order(user: Annotated[str, Depends(user_of)], session: Session) -> dict[str, UUID]:
    order = Order(id=uuid4(), owner=user)
    session.add(order)
    await session.commit()  # before the emit: a worker may be quick
    await order_placed.emit(Placed(order_id=order.id), id=order.id)
    return {"id": order.id}


async def may_ask(request: Request, event_id: UUID) -> bool:
    user = user_of(request)  # first: strangers are told the same of every id
    async with sessions() as session:
        order = await session.get(Order, event_id)
    return order is not None and order.owner == user


app.include_router(events_router(herd, authorize=may_ask, results=True))


async def create_tables() -> None:
    async with engine.begin() as connection:  # in an application, Alembic does
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create_tables())
