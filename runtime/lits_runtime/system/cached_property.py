"""A property that is computed once per instance, without a lock.

Up to Python 3.11 that of functools holds one lock for all instances of a class while it computes. A
process forked at that moment would wait for the lock for ever (python/cpython#87634).
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class cached_property(Generic[Value]):
    """Two threads at once may both compute the value; both must arrive at the same."""

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "cached_property[Value]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> "cached_property[Value] | Value":
        if instance is None:
            return self
        value = self._function(instance)
        instance.__dict__[self._name] = value  # from now on found before this descriptor
        return value
