"""The small breaks of a module."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SAME: dict[str, dict[tuple[str, str], str]] = {
    "qbitsim/bits/bits.py": {
        ("if last < 0 and (limit == cut or base + limit == stop):", "0 -> (-1)"): "the quick way is left out",
        ("if last < 0 and (limit == cut or base + limit == stop):", "0 -> 1"): "0 is in front of the first bit",
        (
            "first = self._find(1, start, stop) if first < 0 else base + first",
            "first < 0 -> (first <= 0)",
        ): "what was found is found once more",
        ("if chunk is None or stop - start != 1:", "stop - start -> (stop + start)"): "the quick way is left out",
        ("run_start = run_stop = -1", "1 -> 2"): "no run begins there",
        (
            "if stop - first > len(self._chunks):",
            "stop - first > len(self._chunks) -> (stop - first >= len(self._chunks))",
        ): "one of two ways of the same length",
        ("if first < last:", "first < last -> (first <= last)"): "there is no chunk between them",
    },
    "qbitsim/bits/chunks.py": {
        (
            "self._owned[number] = chunk",
            "self._owned[number] = chunk -> pass",
        ): "the chunk is copied before its first change, as if others had it too",
        ("self._counted = True", "True -> False"): "they are counted when somebody asks",
    },
    "qbitsim/bits/iterator.py": {
        ("levels = 1", "1 -> 2"): "a word of one bit more at the top",
        ("end = limit if clear < 0 else clear", "clear < 0 -> (clear <= 0)"): "the bit in front of it is set",
        ("end = limit if clear < 0 else clear", "0 -> 1"): "the bit in front of it is set",
        (
            "while first < stop and (found := bits.next_set(first, stop)) >= 0:",
            "first < stop -> (first <= stop)",
        ): "an empty range has no bit",
        (
            "self._left = [0] * levels  # what is still to be visited of a word at each level, the lowest first",
            "0 -> 1",
        ): "written anew at once",
        (
            "self._left = [0] * levels  # what is still to be visited of a word at each level, the lowest first",
            "0 -> (-1)",
        ): "written anew at once",
    },
    "qbitsim/block/bitmap.py": {
        ("MINIMUM_GRANULARITY = 512", "512 -> (511)"): "it is compared with powers of two",
    },
    "qbitsim/block/node.py": {
        ("self._blocked_at = 0", "0 -> 1"): "read only after it was written",
        ("self._blocked_at = 0", "0 -> (-1)"): "read only after it was written",
        ("longest, left = 0, [self]", "0 -> (-1)"): "no outage is shorter than none",
        ("if len(roots) == 1 and (single := _single_file(roots[0])):", "0 -> (-1)"): "the only one",
    },
    "qbitsim/copying/ratelimit.py": {
        (
            "self._slice_start = self._dispatched = 0",
            "self._slice_start = self._dispatched = 0 -> pass",
        ): "read only after it was written",
        ("self._slice_start = self._dispatched = 0", "0 -> 1"): "read only after it was written",
        ("self._slice_start = self._dispatched = 0", "0 -> (-1)"): "read only after it was written",
    },
    "qbitsim/copying/block_copy.py": {
        (
            "status = self.source.skip_filters().status(position, self.length - position)",
            "self.length - position -> (self.length + position)",
        ): "a status ends where its node does",
    },
    "qbitsim/copying/copy_call.py": {
        ("self._position = 0", "0 -> 1"): "the first byte is in the same cluster",
        ("self._position = task.end", "self._position = task.end -> pass"): "nothing is left to copy in front of it",
    },
    "qbitsim/engine/events.py": {
        ("if cursor > self._trimmed:", "cursor > self._trimmed -> (cursor >= self._trimmed)"): "nothing is forgotten",
    },
    "qbitsim/engine/scheduler.py": {
        ("del self._ready[chosen]", "del self._ready[chosen] -> pass"): "what has run is left out at the next look",
        (
            "if self.policy is not first_in_first_out and any(not task.pending for task in ready):",
            (
                "self.policy is not first_in_first_out and any(not task.pending for task in ready) -> "
                "(self.policy is not first_in_first_out or any((not task.pending for task in ready)))"
            ),
        ): "tasks that were cancelled are left out sooner",
    },
    "qbitsim/jobs/backup.py": {
        ("min_cluster_size: int = 0", "0 -> 1"): "a cluster is larger in any case",
        ("self.state.skip_unallocated = False", "False -> True"): "what it skips is no work any more",
        (
            "self.state.skip_unallocated = False",
            "self.state.skip_unallocated = False -> pass",
        ): "what it skips is no work any more",
    },
    "qbitsim/jobs/foreign.py": {
        ("self.user_cancel(force=True)", "True -> False"): "it ends either way",
    },
    "qbitsim/jobs/known_chunks.py": {
        ("if first < stop:", "first < stop -> (first <= stop)"): "an empty range has no bit",
    },
    "qbitsim/jobs/mirror_dirty.py": {
        ("if first < last:", "first < last -> (first <= last)"): "an empty range has no bit",
        ("source, offset = self._source, 0", "0 -> 1"): "the first byte is in the same chunk",
    },
    "qbitsim/jobs/commit.py": {
        (
            "delay = self.limit.delay(self.jobs.scheduler.now, length) if copied else 0",
            "0 -> (-1)",
        ): "no sleep is shorter than none",
    },
    "qbitsim/jobs/stream.py": {
        ("delay = self.limit.delay(now, length) if copied else 0", "0 -> (-1)"): "no sleep is shorter than none",
        ("drop_filter(self.jobs.graph, filter_, filter_.children[0].node)", "0 -> (-1)"): "the only child",
    },
    "qbitsim/jobs/txn.py": {
        (
            "member.cancel_async(force=True)",
            "True -> False",
        ): "only backups have others beside them, and end either way",
    },
}
"""What does the same: by path, a line as it stands there and a change of it; with the reason. None is in doubt."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
UNTOUCHED = (ast.Assert, ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)
UNTOUCHED_NAMES = ("__repr__", "__slots__", "TYPE_CHECKING")
DECLARED = ("annotation", "returns", "decorator_list")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Mutation:
    """One break of a module.

    :ivar start: where it begins: the line, from 1, and the byte in the line, from 0.
    :ivar end: just behind it, likewise.
    :ivar before: the source that is there.
    :ivar after: the source that takes its place.
    :ivar statement: the line of the statement of a function that it is in, None if that runs when it is imported.
    """

    start: tuple[int, int]
    end: tuple[int, int]
    before: str
    after: str
    statement: int | None = None

    def __str__(self) -> str:
        return f"{self.start[0]}: {self.change}"

    @property
    def change(self) -> str:
        """What it was and what it becomes, in one line."""
        return " -> ".join(" ".join(text.split()) for text in (self.before, self.after))

    def applied(self, source: str) -> str:
        """The source with the break in it."""
        lines = source.encode().splitlines(keepends=True)
        (first, begin), (last, stop) = self.start, self.end
        lines[first - 1 : last] = [lines[first - 1][:begin] + self.after.encode() + lines[last - 1][stop:]]
        return b"".join(lines).decode()


def mutations(source: str) -> list[Mutation]:
    """All the breaks of a module, from its first line to its last."""
    found, lines = [], source.encode().splitlines(keepends=True)
    for node, statement in _behaviour(ast.parse(source), None):
        for changed, after in _changes(node):
            assert changed.end_lineno is not None
            assert changed.end_col_offset is not None
            start, end = (changed.lineno, changed.col_offset), (changed.end_lineno, changed.end_col_offset)
            text = b"".join(lines[start[0] - 1 : end[0]])
            before = text[start[1] : len(text) - len(lines[end[0] - 1]) + end[1]].decode()
            found.append(Mutation(start, end, before, after, statement))
    return sorted(found, key=lambda mutation: mutation.start)


def _behaviour(node: ast.AST, statement: int | None) -> Iterator[tuple[ast.AST, int | None]]:
    """What is below a node and changes what the module does, with the statement of a function that it is in."""
    for field, value in ast.iter_fields(node):
        runs_later = statement is not None or (field == "body" and isinstance(node, FUNCTIONS))
        for child in value if isinstance(value, list) and field not in DECLARED else [value]:
            if field not in DECLARED and isinstance(child, ast.AST) and not _is_untouched(child):
                own = child.lineno if runs_later and isinstance(child, ast.stmt) else statement
                yield child, own
                yield from _behaviour(child, own)


def _is_untouched(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True  # a docstring
        case ast.keyword(arg="strict"):
            return True  # as good as an assert
        case ast.FunctionDef(name=name):
            return name in UNTOUCHED_NAMES
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.If(test=ast.Name(id=name)):
            return name in UNTOUCHED_NAMES
    return isinstance(node, UNTOUCHED)


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """What of the node is replaced, and by what."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                yield node, _with(node, ops=[*node.ops[:place], COMPARISONS[type(operator)](), *node.ops[place + 1 :]])
        case ast.Constant(value=bool(truth)):
            yield node, repr(not truth)
        case ast.Constant(value=int(number)):
            yield node, repr(number + 1)
            yield node, f"({number - 1})"
        case ast.BoolOp():
            yield node, _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield node, _with(node, op=ast.Sub() if isinstance(node.op, ast.Add) else ast.Add())
        case ast.UnaryOp(op=ast.Not()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.If(test=ast.Name() | ast.Attribute() | ast.Call() | ast.NamedExpr() as test):
            yield test, f"not ({ast.unparse(test)})"
        case ast.IfExp(test=ast.Name() | ast.Attribute() | ast.Call() as test):
            yield test, f"(not {ast.unparse(test)})"
    if isinstance(node, ast.stmt) and _is_removable(node):
        yield node, "pass"


def _is_removable(node: ast.stmt) -> bool:
    """Whether the module is still whole without the statement, so that only a look at what it does can tell."""
    match node:
        case ast.Expr() | ast.AugAssign() | ast.Continue() | ast.Break() | ast.Return(value=None):
            return True
        case ast.Assign() | ast.Delete():
            return all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
    return False


def _with(node: ast.expr, **fields: object) -> str:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return f"({ast.unparse(other)})"


def draw(path: str, limit: int | None, seed: int) -> list[Mutation]:
    """So many mutations of a module, None for all: the same ones for the same seed."""
    source = Path(path).read_text()
    lines, same = source.splitlines(), SAME.get(path, {})
    found = [each for each in mutations(source) if (lines[each.start[0] - 1].strip(), each.change) not in same]
    if limit is None or limit >= len(found):
        return found
    return sorted(random.Random(f"{seed} {path}").sample(found, limit), key=lambda mutation: mutation.start)
