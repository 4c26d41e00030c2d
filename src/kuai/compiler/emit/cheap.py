"""The elementwise primitives that take an instruction or two: for estimates of time only."""

CHEAP = frozenset(
    "plus minus mul quotient neg abs relu gate eq ne lt le gt ge logical_and logical_or "
    "logical_not select_where maximum minimum clamp clamp_below clamp_above cast square "
    "sign".split()
)
