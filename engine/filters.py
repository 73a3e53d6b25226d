"""Which photos a search may return: `where` over their metadata and `subset` of ids, as parameterised SQL. No torch.

    {"category": "shoe", "price": {"lt": 100}, "tag": {"in": ["new", "sale"]}}

All entries must hold. A key names an entry at the top of a photo's metadata. What stands beside it is a value, short
for {"eq": value}, or conditions of these, all of which must hold:

    eq        the value: a string, a number (1 is 1.0, but neither is true), true, false or null
    ne        whatever eq does not let through, photos without the key included
    lt le gt ge   a number below, ... or a string before, ... in the order of code points; never one kind by the other
    in        a list of values of which one is equal
    exists    true: the key is there, even with null; false: it isn't

A list in the metadata matches by membership: a condition holds where it holds for one of the items (`ne` where `eq`
holds for none), so each of several conditions may be met by another item. Objects in the metadata match nothing but
`exists`. Values reach SQLite as parameters only, written as JSON, so that it reads them as it reads the metadata.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import FilterError
from engine.schema import ID_IN_LIST, id_list

MAX_CONDITIONS = 100
_ORDER = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_OPERATORS = ("eq", "ne", *_ORDER, "in", "exists")
_NUMBER = "IN ('integer', 'real')"
_TEXT = "= 'text'"

Sql = tuple[str, tuple[str, ...]]
"""A condition, and the values of its parameters in their order."""


@dataclass(frozen=True)
class _Condition:
    key: str
    operator: str
    operand: Any


@dataclass(frozen=True)
class Filter:
    """A checked filter; made by :meth:`parse`."""

    conditions: tuple[_Condition, ...]
    subset: tuple[str, ...] | None

    @classmethod
    def parse(cls, where: Mapping[str, Any] | None, subset: Iterable[str] | None) -> Filter | None:
        """Check what a caller gave; None if that is nothing.

        Raises:
            FilterError: not of the form above; it says what was found and what was expected.
        """
        if where is None and subset is None:
            return None
        if where is not None and not isinstance(where, Mapping):
            raise FilterError(
                f"where is a {type(where).__name__}; expected a dict by metadata key: "
                '{"category": "shoe", "price": {"lt": 100}}'
            )
        conditions = tuple(condition for key, given in (where or {}).items() for condition in _conditions(key, given))
        if len(conditions) > MAX_CONDITIONS:
            raise FilterError(f"where has {len(conditions)} conditions; expected at most {MAX_CONDITIONS}")
        return cls(conditions, None if subset is None else _ids(subset))

    def sql(self, index_keys: Collection[str]) -> Sql:
        """The filter as a condition on the catalogue's table `photos`, by way of the indexes of some of its keys."""
        parts: list[Sql] = [] if self.subset is None else [(ID_IN_LIST, (id_list(self.subset),))]
        looked_up = self._looked_up(index_keys)
        parts += [_by_index(key, conditions) for key, conditions in looked_up.items()]
        parts += [_sql(one) for one in self.conditions if one not in looked_up.get(one.key, ())]
        return _joined(" AND ", parts) if parts else ("TRUE", ())

    def visits(self, index_keys: Collection[str]) -> dict[str, Sql]:
        """For each key whose index can answer some of the conditions: a select of the entries that are read for it."""
        return {key: _visited(key, conditions) for key, conditions in self._looked_up(index_keys).items()}

    def _looked_up(self, index_keys: Collection[str]) -> dict[str, list[_Condition]]:
        """The conditions that an index can answer, by key: those that say which values let a photo through."""
        found: dict[str, list[_Condition]] = {}
        for one in self.conditions:
            if one.key in index_keys and one.operator in ("eq", "in", *_ORDER):
                found.setdefault(one.key, []).append(one)
        return found


def parse_where(text: str) -> dict[str, Any]:
    """A `where` as people type it, in JSON; raises FilterError."""
    expected = 'expected JSON such as {"category": "shoe"}, in single quotes'
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FilterError(f"where is {text!r:.80}, which is no JSON ({error}); {expected}") from error
    if not isinstance(found, dict):
        raise FilterError(f"where is {text!r:.80}; {expected}")
    return found


def index_sql(name: str, key: str) -> tuple[str, str]:
    """The statements that index a metadata key: its values, and which photos have a list of them."""
    value, kind = _indexed(key)
    return (
        f'CREATE INDEX "{name}" ON photos ({value})',
        f"CREATE INDEX \"{name}_lists\" ON photos (id) WHERE {kind} = 'array'",
    )


def check_index_key(key: str) -> None:
    """Raise FilterError for a metadata key that can't be indexed.

    An index names its key in the SQL itself, where no parameter can stand, and the metadata as it is written in JSON.
    """
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable() or set(key) & set("\"\\'"):
        raise FilterError(
            f"can't index the metadata key {key!r}; expected printable ASCII without quotes and backslashes. Filters "
            "work without an index too"
        )


def _conditions(key: Any, given: Any) -> list[_Condition]:
    if not isinstance(key, str):
        raise FilterError(f"where holds the key {key!r}; expected a metadata key, a string")
    if not isinstance(given, Mapping):
        given = {"eq": given}
    if not given:
        raise FilterError(f'where[{key!r}] is empty; expected a value, or conditions such as {{"lt": 100}}')
    for operator, operand in given.items():
        place = f"where[{key!r}]"
        if operator not in _OPERATORS:
            raise FilterError(f"{place} has the condition {operator!r}; expected one of {', '.join(_OPERATORS)}")
        _check_operand(f"{place}[{operator!r}]", operator, operand)
    return [_Condition(key, operator, operand) for operator, operand in given.items()]


def _check_operand(place: str, operator: str, operand: Any) -> None:
    if operator == "exists":
        fits, expected = isinstance(operand, bool), "true or false"
    elif operator == "in":
        fits = isinstance(operand, (list, tuple, set, frozenset)) and all(map(_is_value, operand))
        expected = "a list of strings, finite numbers, true, false or null"
    elif operator in _ORDER:
        fits = _is_value(operand) and operand is not None and not isinstance(operand, bool)
        expected = "a finite number or a string"
    else:
        fits, expected = (
            _is_value(operand),
            'a string, a finite number, true, false or null (for several: {"in": [...]})',
        )
    if not fits:
        raise FilterError(f"{place} is {operand!r:.80}; expected {expected}")


def _is_value(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0  # neither NaN nor infinite
    return value is None or isinstance(value, (str, bool, int))


def _ids(subset: Any) -> tuple[str, ...]:
    if isinstance(subset, (str, Mapping)) or not isinstance(subset, Iterable):
        raise FilterError(f"subset is a {type(subset).__name__}; expected a list of photo ids")
    ids = tuple(subset)
    if other := [id_ for id_ in ids if not isinstance(id_, str)]:
        raise FilterError(f"subset holds {other[0]!r}; expected photo ids, which are strings")
    return ids


def _sql(condition: _Condition) -> Sql:
    """One condition, by reading the metadata of each photo. Never NULL."""
    key, operator, operand = condition.key, condition.operator, condition.operand
    if operator == "exists":
        there = "EXISTS (SELECT 1 FROM json_each(photos.metadata) WHERE key = ?)"
        return (there if operand else f"NOT {there}"), (key,)
    field, values = _test("field.value", "field.type", condition)
    item, _ = _test("item.value", "item.type", condition)
    there = (
        "EXISTS (SELECT 1 FROM json_each(photos.metadata) AS field WHERE field.key = ? AND ("
        f"{field} OR field.type = 'array' AND EXISTS (SELECT 1 FROM json_each(field.value) AS item WHERE {item})))"
    )
    return (f"NOT {there}" if operator == "ne" else there), (key, *values, *values)


def _by_index(key: str, conditions: list[_Condition]) -> Sql:
    """Some conditions on one key, by way of its indexes: one reading of them for all, as for a range."""
    value, kind = _indexed(key)
    # Two selects, because SQLite reads the whole table for an OR of these. The plus keeps it from the wrong index.
    scalar, values = _joined(" AND ", [_test(value, f"+{kind}", one) for one in conditions])
    tests = [_test("item.value", "item.type", one) for one in conditions]
    an_item = f"EXISTS (SELECT 1 FROM json_each(photos.metadata, {_path(key)}) AS item WHERE {{}})"
    items, _ = _joined(" AND ", [(an_item.format(test), of) for test, of in tests])
    return (
        f"photos.rowid IN (SELECT rowid FROM photos WHERE {scalar} UNION ALL "
        f"SELECT rowid FROM photos WHERE {kind} = 'array' AND {items})",
        (*values, *values),
    )


def _visited(key: str, conditions: list[_Condition]) -> Sql:
    """A select of what `_by_index` reads: the entries with these values, whatever their kind, and all lists."""
    value, kind = _indexed(key)
    scalar, values = _joined(" AND ", [_test(value, None, one) for one in conditions])
    return (
        f"SELECT rowid FROM photos WHERE {scalar} UNION ALL SELECT rowid FROM photos WHERE {kind} = 'array'",
        values,
    )


def _test(value: str, kind: str | None, condition: _Condition) -> Sql:
    """A test of one JSON value, given by SQL expressions: its value, and its kind as SQLite names it (None: of any).

    For `ne` what `eq` would be.
    """

    def of(name: str) -> str:
        return "" if kind is None else f" AND {kind} {name}"

    operator = condition.operator
    operand = [condition.operand] if operator in ("eq", "ne") else condition.operand
    if operator in _ORDER:
        of_kind = of(_TEXT if isinstance(operand, str) else _NUMBER)
        return f"({value} {_ORDER[operator]} json_extract(?, '$'){of_kind})", (json.dumps(operand),)
    texts = [one for one in operand if isinstance(one, str)]
    numbers = [one for one in operand if isinstance(one, (int, float)) and not isinstance(one, bool)]
    parts: list[Sql] = [
        (f"{value} IN (SELECT value FROM json_each(?)){of(of_kind)}", (json.dumps(some),))
        for some, of_kind in ((texts, _TEXT), (numbers, _NUMBER))
        if some
    ]
    # SQLite's values of these; by them an index finds the few photos that have one.
    constants = {True: ("= 1", "= 'true'"), False: ("= 0", "= 'false'"), None: ("IS NULL", "= 'null'")}
    parts += [
        (f"{value} {is_it}{of(of_kind)}", ())
        for constant, (is_it, of_kind) in constants.items()
        if any(one is constant for one in operand)
    ]
    return _joined(" OR ", parts) if parts else ("FALSE", ())


def _joined(word: str, parts: list[Sql]) -> Sql:
    return f"({word.join(text for text, _ in parts)})", tuple(value for _, values in parts for value in values)


def _indexed(key: str) -> tuple[str, str]:
    return f"json_extract(metadata, {_path(key)})", f"json_type(metadata, {_path(key)})"


def _path(key: str) -> str:
    return f"'$.\"{key}\"'"
