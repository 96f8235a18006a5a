"""One event's story: its attempts as a timeline, what caused it, and what it caused."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

from oxherd.admin import Effects, Story
from oxherd.dashboard.graph import MOST_EFFECTS, Node, graph
from oxherd.dashboard.page import Page, Request
from oxherd.dashboard.reading import Reading

# How many causes are followed.
_MOST_CAUSES = 4


async def load(read: Reading, request: Request) -> Page:
    """The page of an event's story; 404 where nothing of it is stored."""
    event_id = request.path["id"]
    story = await _story(read, event_id)
    if story is None:
        return Page("story_gone.html", "Not stored", {"id": event_id[:64]}, status=404)
    effects, causes = await asyncio.gather(_effects(read, str(story.id)), _causes(read, story))
    here = Node(story.event or story.queue, story.state, str(story.id), here=True)
    effect_nodes = [Node(each.event or each.queue, each.state, str(each.id)) for each in effects.events]
    return Page(
        "story.html",
        f"{story.event or story.queue} {str(story.id)[-12:]}",
        {
            "story": story,
            "payload": None if story.payload is None else json.dumps(story.payload, indent=2, ensure_ascii=False),
            "graph": graph(causes, here, effect_nodes) if causes or effect_nodes else None,
            "more_effects": max(0, len(effect_nodes) - MOST_EFFECTS),
            "effects": effects,
            "actions": _actions(story),
        },
        nav="failed" if story.state == "failed" else "overview",
    )


async def _story(read: Reading, event_id: str) -> Story | None:
    async def load_story() -> Story | None:
        return await read.admin.show(event_id)

    return await read(f"story {event_id}", load_story)


async def _effects(read: Reading, event_id: str) -> Effects:
    async def load_effects() -> Effects:
        return await read.admin.effects(event_id)

    return await read(f"effects {event_id}", load_effects, fresh=5.0)


async def _causes(read: Reading, story: Story) -> list[Node]:
    """The causes, the first on the left, as far as they are stored; others are named by their ids."""
    nodes: list[Node] = []
    cause: UUID | None = story.caused_by
    for _ in range(_MOST_CAUSES):
        if cause is None:
            break
        known = await _story(read, str(cause))
        nodes.insert(0, _node(cause, known))
        cause = None if known is None else known.caused_by
    return nodes


def _node(event_id: UUID, story: Story | None) -> Node:
    if story is None:
        return Node(f"…{str(event_id)[-12:]}", "not stored", str(event_id))
    return Node(story.event or story.queue, story.state, str(event_id))


def _actions(story: Story) -> list[tuple[str, str, str]]:
    """(label, action, class) of what can be done to an event in its state."""
    by_state: dict[str, list[tuple[str, str, str]]] = {
        "failed": [("Retry", "retry", "primary"), ("Discard", "discard", "")],
        "delayed": [("Begin now", "promote", "primary"), ("Cancel", "cancel", "")],
        "waiting": [("Cancel", "cancel", "")],
        "running": [("Cancel", "cancel", "")],
        "completed": [("Discard", "discard", "")],
    }
    return by_state.get(story.state, [])
