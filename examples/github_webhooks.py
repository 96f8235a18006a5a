"""Receive GitHub webhooks, answer at once, and process them in the background.

    pip install oxherd starlette uvicorn
    export GITHUB_WEBHOOK_SECRET=...      # the webhook's secret; its content type is application/json

In one process:

    uvicorn examples.github_webhooks:app

Apart, with as many workers as you like (compose.yaml runs it so, on a Redis Cluster, with a dashboard):

    OXHERD_PROCESS=0 uvicorn examples.github_webhooks:app
    oxherd worker examples.github_webhooks:herd --log-format json

A delivery's UUID is its event's id: when GitHub delivers again what still waits, runs or has failed, no second event is
made. One that was completed is removed and so can be delivered, and processed, again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from oxherd import Context, EmitError, InvalidPayload, Oxherd, PayloadTooLarge, Retry

LARGEST = 25 * 1024 * 1024  # GitHub's own cap

herd = Oxherd()


class Delivery(BaseModel):
    event: str
    action: str | None = None
    delivery: UUID | None = None
    repository: str | None = None
    sender: str | None = None
    payload: dict[str, Any]


def public(delivery: Delivery) -> dict[str, Any]:
    """What the log may show; the payload itself holds e-mail addresses, tokens and private URLs."""
    shown = delivery.model_dump(mode="json", include={"event", "action", "delivery", "repository", "sender"})
    return {**shown, "summary": summarise(delivery)}


@herd.event("github.delivery", retry=Retry(attempts=5), timeout=60, max_payload=LARGEST, sanitize=public)
async def github_delivery(delivery: Delivery, ctx: Context) -> str:
    summary = summarise(delivery)
    ctx.log.info("processed: %s", summary)
    return summary


def summarise(delivery: Delivery) -> str:
    payload = delivery.payload
    match delivery.event:
        case "push":
            return f"push of {len(payload.get('commits') or [])} commits"
        case "issues" | "issue_comment" if "issue" in payload:
            return f"{delivery.event} {delivery.action} on #{payload['issue']['number']}"
        case "pull_request" | "pull_request_review" if "pull_request" in payload:
            return f"{delivery.event} {delivery.action} on #{payload['pull_request']['number']}"
        case _:
            return f"{delivery.event} {delivery.action or 'received'}"


async def receive(request: Request) -> JSONResponse:
    body = await read(request)
    if not is_signed(body, request.headers.get("X-Hub-Signature-256", "")):
        raise HTTPException(401, "X-Hub-Signature-256 is missing or wrong")
    delivery = parse(body, request.headers.get("X-GitHub-Event"), request.headers.get("X-GitHub-Delivery", ""))
    try:
        emitted = await github_delivery.emit(delivery, id=delivery.delivery)
    except EmitError as error:
        raise HTTPException(503, "not stored, deliver again", {"Retry-After": "5"}) from error
    except PayloadTooLarge as error:
        raise HTTPException(413, str(error)) from error
    except InvalidPayload as error:
        raise HTTPException(422, str(error)) from error
    return JSONResponse({"id": str(emitted.id)}, status_code=202)


async def live(_request: Request) -> PlainTextResponse:
    """For a container's healthcheck: 503 where a restart of this process would help."""
    return PlainTextResponse("ok\n") if herd.health().live else PlainTextResponse("not live\n", 503)


async def read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise HTTPException(413, f"a delivery has at most {LARGEST} bytes")
    return bytes(body)


def is_signed(body: bytes, signature: str) -> bool:
    secret = os.environ["GITHUB_WEBHOOK_SECRET"].encode()
    expected = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
    return hmac.compare_digest(expected.encode(), signature.encode())


def parse(body: bytes, event: str | None, delivery: str) -> Delivery:
    if not event:
        raise HTTPException(400, "X-GitHub-Event is missing")
    try:
        payload: Any = from_json(body, allow_inf_nan=False)
        return Delivery(
            event=event,
            action=payload.get("action"),
            delivery=as_uuid(delivery),
            repository=inside(payload.get("repository"), "full_name"),
            sender=inside(payload.get("sender"), "login"),
            payload=payload,
        )
    except (ValueError, AttributeError):
        raise HTTPException(400, "the body is not a delivery as JSON") from None


def inside(part: Any, name: str) -> Any:
    return part.get(name) if part else None


def as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
    if not os.environ.get("GITHUB_WEBHOOK_SECRET"):
        raise RuntimeError("Set GITHUB_WEBHOOK_SECRET to the secret of the webhook.")
    processes_here = os.environ.get("OXHERD_PROCESS") != "0"
    async with herd:
        if processes_here:
            await herd.start()
        try:
            yield
        finally:
            if processes_here:
                await herd.stop()


app = Starlette(routes=[Route("/webhooks", receive, methods=["POST"]), Route("/live", live)], lifespan=lifespan)
