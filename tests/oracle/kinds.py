"""The kinds of examples: what they begin with, and what draws their steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from chain_draws import ChainDrawer, chain_world
from draws import Drawer, world
from graph_draws import FilteredDrawer, GraphDrawer, filtered_world, graph_world

World = Callable[[random.Random], list[dict[str, Any]]]

KINDS: dict[str, tuple[World, type[Drawer]]] = {
    "plain": (world, Drawer),
    "chain": (chain_world, ChainDrawer),
    "graph": (graph_world, GraphDrawer),
    "filtered": (filtered_world, FilteredDrawer),
}
