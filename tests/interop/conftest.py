"""Node scripts on the queues of a test's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.node_script import NodeScript, OnNode
from tests.node import node_packages, require_node


@pytest.fixture
def on_node(url: str, prefix: str) -> Iterator[OnNode]:
    """Starts Node scripts on a queue (default: that of `order.placed`), and ends them."""
    require_node()
    modules = node_packages()
    started: list[NodeScript] = []

    def start(script: str, queue: str = "{order.placed}") -> NodeScript:
        started.append(NodeScript("node", modules, url, prefix, queue, script))
        return started[-1]

    yield start
    for script in started:
        script.close()
