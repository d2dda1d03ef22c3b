"""Simple expressions over a row's columns, such as `label != "other" and width >= 32`.

They are read with Python's grammar and nothing is evaluated by it: what is not listed here is
refused. `modelry.datasets.filtering` finds their values for whole batches.

    or, and, not          truth
    == != < <= > >=       of a column or a literal with another
    in, not in            a list of literals: `label in ["cat", "dog"]`
    is None, is not None  a missing value
    length(c)             characters of a text, bytes of an image, objects of boxes
    contains(c, "text"), starts_with(c, "text"), ends_with(c, "text")
    column("odd name")    a column whose name is no word
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modelry.domain.errors import InvalidInput

MAX_CHARS = 4000
MAX_DEPTH = 40
LITERALS = (str, int, float, bool)
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
TEXT_TESTS = ("contains", "starts_with", "ends_with")


@dataclass(frozen=True, slots=True)
class ColumnValue:
    """The value of a column."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in the expression."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Length:
    """How long a column's value is."""

    of: ColumnValue


Operand = ColumnValue | Literal | Length


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two values, compared."""

    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True, slots=True)
class OneOf:
    """Whether a value is in a list."""

    value: Operand
    among: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """Whether a value is missing."""

    of: ColumnValue


@dataclass(frozen=True, slots=True)
class TextTest:
    """Whether a text contains, begins or ends with another."""

    test: str
    of: ColumnValue
    text: str


@dataclass(frozen=True, slots=True)
class Truth:
    """A column of truth values."""

    of: ColumnValue


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    of: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every condition."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one condition."""

    parts: tuple[Condition, ...]


Condition = Comparison | OneOf | Missing | TextTest | Truth | Not | AllOf | AnyOf


def parse(text: str) -> Condition:
    """The condition that `text` tells.

    Raises:
        InvalidInput: it is none; says what was found and what can be written.
    """
    if len(text) > MAX_CHARS:
        raise InvalidInput(
            f"The expression has {len(text)} characters; {MAX_CHARS} are read.", param="filter"
        )
    try:
        return _condition(ast.parse(text.strip(), mode="eval").body, 0)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        said = getattr(error, "msg", None) or str(error) or "too deeply nested"
        raise InvalidInput(
            f"The expression {text[:200]!r} cannot be read: {said[:200]}. Write such as "
            "'label != \"other\" and width >= 32'.",
            param="filter",
        ) from None


def columns_of(condition: Condition) -> set[str]:
    """The names of all columns that a condition reads."""
    return {one.name for one in _values(condition)}


def _values(node: Any) -> Iterator[ColumnValue]:
    match node:
        case ColumnValue():
            yield node
        case Comparison(left=left, right=right):
            yield from _values(left)
            yield from _values(right)
        case OneOf(value=value):
            yield from _values(value)
        case AllOf(parts=parts) | AnyOf(parts=parts):
            for one in parts:
                yield from _values(one)
        case Length(of=of) | Missing(of=of) | TextTest(of=of) | Truth(of=of) | Not(of=of):
            yield from _values(of)


def _condition(node: ast.expr, depth: int) -> Condition:
    if depth > MAX_DEPTH:
        raise InvalidInput(f"The expression is nested more than {MAX_DEPTH} deep.", param="filter")
    match node:
        case ast.BoolOp(op=operator, values=values):
            parts = tuple(_condition(one, depth + 1) for one in values)
            return AllOf(parts) if isinstance(operator, ast.And) else AnyOf(parts)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return Not(_condition(inner, depth + 1))
        case ast.Compare():
            return _compared(node)
        case ast.Call(func=ast.Name(id=name), args=[of, text]) if name in TEXT_TESTS:
            return TextTest(name, _column(of), _text(text))
        case ast.Name() | ast.Call(func=ast.Name(id="column")):
            return Truth(_column(node))
    raise _refused(node)


def _compared(node: ast.Compare) -> Condition:
    """`a < b`, and chains such as `0 < a <= 9`."""
    operands = [node.left, *node.comparators]
    parts = tuple(
        _one_comparison(left, operator, right)
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False)
    )
    return parts[0] if len(parts) == 1 else AllOf(parts)


def _one_comparison(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Condition:
    match operator, right:
        case ((ast.In() | ast.NotIn()), (ast.List(elts=items) | ast.Tuple(elts=items))):
            among = tuple(_literal(one).value for one in items)
            found: Condition = OneOf(_operand(left), among)
            return Not(found) if isinstance(operator, ast.NotIn) else found
        case ((ast.Is() | ast.Eq()), ast.Constant(value=None)):
            return Missing(_column(left))
        case ((ast.IsNot() | ast.NotEq()), ast.Constant(value=None)):
            return Not(Missing(_column(left)))
    sign = _COMPARISONS.get(type(operator))
    if sign is None:
        raise _refused(right)
    return Comparison(_operand(left), sign, _operand(right))


def _operand(node: ast.expr) -> Operand:
    match node:
        case ast.Call(func=ast.Name(id="length"), args=[of], keywords=[]):
            return Length(_column(of))
        case ast.Constant() | ast.UnaryOp():
            return _literal(node)
    return _column(node)


def _column(node: ast.expr) -> ColumnValue:
    match node:
        case ast.Name(id=name):
            return ColumnValue(name)
        case ast.Call(
            func=ast.Name(id="column"), args=[ast.Constant(value=str(name))], keywords=[]
        ):
            return ColumnValue(name)
    raise _refused(node)


def _literal(node: ast.expr) -> Literal:
    match node:
        case ast.Constant(value=value) if isinstance(value, LITERALS):
            return Literal(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return Literal(-value)
    raise _refused(node)


def _text(node: ast.expr) -> str:
    value = _literal(node).value
    if not isinstance(value, str):
        raise _refused(node)
    return value


def _refused(node: ast.expr) -> InvalidInput:
    return InvalidInput(
        f"The expression has {ast.unparse(node)[:100]!r} where that cannot stand. Known are column "
        "names, literals, == != < <= > >=, in [...], is None, and, or, not, length(), contains(), "
        "starts_with(), ends_with() and column('odd name').",
        param="filter",
    )
