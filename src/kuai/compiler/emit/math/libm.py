"""The C library's functions, lane by lane, for what is rare."""

from __future__ import annotations

from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.math.number import Number, where


def call_by_lane(f: Function, name: str, *arguments: Ref) -> Ref:
    """The C library's function of each lane; `name` is that of the function of doubles."""
    element = arguments[0].element
    name = name if element == "double" else name + "f"
    f.module.declare(name, element, [element] * len(arguments))
    lanes = arguments[0].lanes
    if not lanes:
        return f.call(name, element, *arguments)
    result = Ref("poison", arguments[0].type)
    for lane in range(lanes):
        value = f.call(name, element, *[f.extract(a, lane) for a in arguments])
        result = f.insert(result, value, lane)
    return result


def in_rare_lanes(name: str, x: Number, rare: Number, usual: Number) -> Number:
    """`usual`, and where it is `rare` what the C library says, behind a branch."""
    f = x.f
    result = f.variable(usual.ref)
    with f.when(rare.any()):
        shared = f"kuai_libm_{name}_{x.ref.element}_{x.ref.lanes}"
        if all(function.name != shared for function in f.module.functions):
            type = x.ref.type
            helper = f.module.function(shared, type, [(type, "x")], attributes=f.attributes)
            helper.ret(call_by_lane(helper, name, helper.arguments[0]))
        slow = Number(f, f.call(shared, x.ref.type, x.ref))
        result.set(where(rare, slow, usual).ref)
    return Number(f, result.get())
