"""Tells mypy what `@primitive` does, since mypy does not follow decorators of classes.

The decorator turns a class into its one instance. Where the class's name is called, that instance
is: it takes any tensors and parameters, and returns a Tensor if its `infer` is declared to return a
`Meta`, a tuple of Tensors if it is declared to return a tuple, and anything otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mypy.nodes import ARG_STAR, ARG_STAR2, FuncDef, TypeInfo
from mypy.plugin import FunctionSigContext, Plugin
from mypy.types import (
    AnyType,
    CallableType,
    FunctionLike,
    Instance,
    TupleType,
    Type,
    TypeOfAny,
    get_proper_type,
)

BASE = "kuai.core.primitive.Primitive"
META = "kuai.core.primitive.Meta"
TENSOR = "kuai.tensor.Tensor"

ANYTHING = AnyType(TypeOfAny.explicit)


def signature_of_the_instance(result: Type, context: FunctionSigContext) -> FunctionLike:
    """`(*inputs: Any, **parameters: Any) -> result`."""
    signature: CallableType = context.default_signature
    return signature.copy_modified(
        arg_types=[ANYTHING, ANYTHING],
        arg_kinds=[ARG_STAR, ARG_STAR2],
        arg_names=[None, None],
        ret_type=result,
    )


class Primitives(Plugin):
    """The plugin: it answers for the subclasses of `Primitive`, told by their base classes."""

    def get_function_signature_hook(
        self, fullname: str
    ) -> Callable[[FunctionSigContext], FunctionLike] | None:
        symbol = self.lookup_fully_qualified(fullname)
        if symbol and isinstance(symbol.node, TypeInfo) and symbol.node.has_base(BASE):
            return partial(signature_of_the_instance, self.result_of(symbol.node))
        return None

    def result_of(self, primitive: TypeInfo) -> Type:
        """The type of the primitive's result, told by what its `infer` is declared to return."""
        infer = primitive.get_method("infer")
        if not isinstance(infer, FuncDef) or not isinstance(infer.type, CallableType):
            return ANYTHING
        return self.with_tensors(infer.type.ret_type)

    def with_tensors(self, declared: Type) -> Type:
        """The type with `Tensor` for `Meta`, alone or in a tuple; anything for other types."""
        declared = get_proper_type(declared)
        if isinstance(declared, TupleType):
            items = [self.with_tensors(item) for item in declared.items]
            return declared.copy_modified(items=items)
        if isinstance(declared, Instance):
            if declared.type.fullname == "builtins.tuple":
                return Instance(declared.type, [self.with_tensors(x) for x in declared.args])
            tensor = self.lookup_fully_qualified(TENSOR)
            if declared.type.fullname == META and tensor and isinstance(tensor.node, TypeInfo):
                return Instance(tensor.node, [])
        return ANYTHING


def plugin(version: str) -> type[Plugin]:
    """What mypy asks for, with its version."""
    return Primitives
