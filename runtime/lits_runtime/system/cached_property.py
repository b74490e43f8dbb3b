"""A property computed once for each instance, without a lock that a fork could leave locked.

functools' own holds, up to Python 3.11, one lock for all instances of a class while it computes:
a process that is forked in that moment waits for it for ever (python/cpython#87634).
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class cached_property(Generic[Value]):
    """Two threads that ask at once may both compute the value, which must then be the same."""

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
        instance.__dict__[self._name] = value  # found there from now on, before this descriptor
        return value
