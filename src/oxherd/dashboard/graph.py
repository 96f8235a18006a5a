"""The graph of what caused an event, and of what it caused: where a template draws its nodes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# In units of the picture.
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 172, 46, 44, 12
# So many effects are drawn; the rest is counted.
MOST_EFFECTS = 12


@dataclass(frozen=True, slots=True)
class Node:
    """A box: an event's name, its state, and the story that it leads to (None for the event of the page itself)."""

    name: str
    state: str
    id: str
    here: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A node and its corner."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Graph:
    """What is drawn: boxes, and the paths between them."""

    nodes: tuple[Placed, ...]
    edges: tuple[str, ...]
    width: float
    height: float


def graph(causes: Sequence[Node], here: Node, effects: Sequence[Node]) -> Graph:
    """The causes in a row, the first on the left; the event; its effects in a column on the right of it."""
    shown = effects[:MOST_EFFECTS]
    rows = max(1, len(shown))
    middle = (rows - 1) * (_HEIGHT + _GAP_Y) / 2
    step = _WIDTH + _GAP_X
    chain = [Placed(node, number * step, middle) for number, node in enumerate([*causes, here])]
    right = len(chain) * step
    top = (rows - len(shown)) * (_HEIGHT + _GAP_Y) / 2
    column = [Placed(node, right, top + number * (_HEIGHT + _GAP_Y)) for number, node in enumerate(shown)]
    edges = [_edge(*pair) for pair in pairwise(chain)] + [_edge(chain[-1], each) for each in column]
    width = right + _WIDTH if column else right - _GAP_X
    return Graph((*chain, *column), tuple(edges), width, rows * (_HEIGHT + _GAP_Y) - _GAP_Y)


def _edge(left: Placed, right: Placed) -> str:
    x1, y1, x2, y2 = left.x + _WIDTH, left.y + _HEIGHT / 2, right.x, right.y + _HEIGHT / 2
    bend = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{bend:g} {y1:g} {bend:g} {y2:g} {x2:g} {y2:g}"
