"""The mechanism of lazy blocks: parameters whose shapes follow from the first input."""

from __future__ import annotations

import itertools
from typing import Any

from kuai.core.tape import no_grad
from kuai.nn.parameter import is_lazy


class LazyModuleMixin:
    """Makes a block lazy; stands before the block's class in the list of bases.

    A lazy block is made with `UninitializedParameter`s. Its first call hands the arguments to
    `initialize_parameters`, which materialises them; then the block becomes an ordinary one, of
    the class `cls_to_become` where that is given.
    """

    cls_to_become: type[Any] | None = None

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(
            self._infer_parameters, with_kwargs=True
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialise the parameters for these arguments of `forward`.

        Raises:
            NotImplementedError: the class does not define it.
        """
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self: Any) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(map(is_lazy, itertools.chain(self._parameters.values(), self._buffers.values())))

    def _infer_parameters(
        self: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> None:
        """Before the first forward: materialise, and be lazy no more."""
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook
        del module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _lazy_load_hook(
        self: Any, state_dict: dict[str, Any], prefix: str, *_: Any, **__: Any
    ) -> None:
        """Before loading: materialise what the state dict has values for."""
        for name, x in itertools.chain(self._parameters.items(), self._buffers.items()):
            value = state_dict.get(prefix + name)
            if value is not None and is_lazy(x) and not is_lazy(value):
                with no_grad():
                    x.materialize(value.shape)


__all__ = ["LazyModuleMixin"]
