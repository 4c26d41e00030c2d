"""Results of several parts, each under its name, as in `torch.return_types`."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar


class Named(tuple[Any, ...]):
    """A tuple whose parts have names, made from a sequence of them."""

    __slots__ = ()
    fields: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:  # the parts are attributes

        def __getattr__(self, name: str) -> Any: ...

    def __init_subclass__(cls) -> None:
        for i, name in enumerate(cls.fields):
            setattr(cls, name, property(itemgetter(i)))
        cls.n_fields = cls.n_sequence_fields = len(cls.fields)  # type: ignore[attr-defined]

    def __new__(cls, parts: Iterable[Any]) -> Named:
        self = tuple.__new__(cls, parts)
        if len(self) != len(cls.fields):
            raise TypeError(
                f"kuai.return_types.{cls.__name__}() takes a sequence of {len(cls.fields)} parts, "
                f"got {len(self)}"
            )
        return self

    def __repr__(self) -> str:
        parts = ",\n".join(f"{name}={part!r}" for name, part in zip(self.fields, self, strict=True))
        return f"kuai.return_types.{type(self).__name__}(\n{parts})"


def _declare(fields: str, names: str) -> None:
    for name in names.split():
        namespace = {"__slots__": (), "__module__": __name__, "fields": tuple(fields.split())}
        globals()[name] = type(name, (Named,), namespace)


_declare("values indices", "max min median nanmedian mode kthvalue sort topk cummax cummin")
_declare("min max", "aminmax")
_declare("mantissa exponent", "frexp")
_declare("hist bin_edges", "histogram")
_declare("sign logabsdet", "slogdet linalg_slogdet")
_declare("Q R", "qr linalg_qr")
_declare("U S V", "svd")
_declare("U S Vh", "linalg_svd")
_declare("eigenvalues eigenvectors", "linalg_eigh linalg_eig")
_declare("solution cloned_coefficient", "triangular_solve")
_declare("solution residuals rank singular_values", "linalg_lstsq")
_declare("L info", "linalg_cholesky_ex")
_declare("inverse info", "linalg_inv_ex")
_declare("result info", "linalg_solve_ex")
_declare("LU pivots", "linalg_lu_factor")
_declare("LU pivots info", "linalg_lu_factor_ex")
_declare("P L U", "linalg_lu lu_unpack")
_declare("a tau", "geqrf")


if TYPE_CHECKING:

    def __getattr__(name: str) -> type[Named]: ...
