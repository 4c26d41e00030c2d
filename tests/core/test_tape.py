"""The tape: what is recorded, how gradients flow back, and what is refused."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import kuai
from kuai import autograd


def leaf(*values: float) -> Any:
    """A vector in float64 that wants its gradient."""
    return kuai.tensor(values, dtype=kuai.float64, requires_grad=True)


# -- walking back ------------------------------------------------------------------------------


def test_a_chain_of_100000_operations_differentiates() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad.tolist() == [1.0]


def test_a_chain_of_100000_operations_is_freed_without_recursion() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y * 1.0
    del y


def test_a_diamond_of_diamonds_visits_each_operation_once() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y  # 2 ** 60 paths
    y.backward()
    assert x.grad.item() == 2.0**60


def test_gradients_accumulate_until_they_are_cleared() -> None:
    x = leaf(3.0)
    (x * x).backward()
    (x * x).backward()
    assert x.grad.item() == 12.0
    x.grad = None
    (2 * x).backward()
    assert x.grad.item() == 2.0


def test_accumulation_changes_the_gradient_in_place() -> None:
    x = leaf(3.0)
    (x * x).backward()
    first = x.grad
    (x * x).backward()
    assert x.grad is first
    assert first.item() == 12.0


def test_the_gradient_is_not_the_memory_of_the_one_passed_in() -> None:
    x = leaf(1.0, 2.0)
    seed = kuai.ones(2, dtype=kuai.float64)
    (x + 0.0).backward(seed)
    x.grad.mul_(5)
    assert seed.tolist() == [1.0, 1.0]


def test_two_leaves_do_not_share_the_memory_of_their_gradient() -> None:
    x, y = leaf(1.0), leaf(2.0)
    (x + y).backward()
    x.grad.mul_(5)
    assert y.grad.item() == 1.0


def test_a_scalar_output_needs_no_gradient_and_a_vector_does() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar"):
        (x * 2).backward()
    (x * 2).backward(kuai.tensor([1.0, 10.0], dtype=kuai.float64))
    assert x.grad.tolist() == [2.0, 20.0]


def test_a_gradient_of_another_shape_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (leaf(1.0, 2.0) * 2).backward(kuai.ones(3))


def test_backward_from_what_needs_no_gradient_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        kuai.ones(1).backward()


def test_backward_of_a_leaf_itself() -> None:
    x = leaf(1.0)
    x.backward()
    assert x.grad.tolist() == [1.0]


def test_the_graph_is_freed_by_the_first_walk() -> None:
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.backward()


def test_a_graph_that_saved_nothing_can_be_walked_again() -> None:
    x = leaf(1.0, 2.0)
    y = (x + x).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_retain_graph_keeps_the_saved_values() -> None:
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]


def test_only_the_part_that_was_walked_is_freed() -> None:
    x = leaf(2.0)
    shared = x * x
    (shared * 3).backward(retain_graph=True)
    (shared * 4).backward()
    assert x.grad.item() == 28.0


def test_create_graph_leads_to_the_third_derivative() -> None:
    x = leaf(2.0)
    (first,) = autograd.grad(x**4, x, create_graph=True)
    (second,) = autograd.grad(first, x, create_graph=True)
    (third,) = autograd.grad(second, x)
    assert (first.item(), second.item(), third.item()) == (32.0, 48.0, 48.0)
    assert not third.requires_grad


def test_create_graph_in_backward_makes_the_gradient_differentiable() -> None:
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    grad = x.grad
    assert grad.requires_grad
    x.grad = None
    grad.backward()
    assert x.grad.item() == 12.0


def test_inputs_restrict_what_backward_accumulates() -> None:
    x, y = leaf(2.0), leaf(3.0)
    (x * y).backward(inputs=[x])
    assert x.grad.item() == 3.0
    assert y.grad is None


def test_inputs_may_name_what_is_no_leaf() -> None:
    x = leaf(2.0)
    y = x * 3
    (y * y).backward(inputs=[y])
    assert x.grad is None
    assert y._grad.item() == 12.0


# -- autograd.grad -----------------------------------------------------------------------------


def test_grad_leaves_the_leaves_alone() -> None:
    x = leaf(2.0)
    (g,) = autograd.grad(x * x, x)
    assert g.item() == 4.0
    assert x.grad is None


def test_grad_with_respect_to_an_intermediate_result() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * y
    gy, gx = autograd.grad(z, [y, x])
    assert (gy.item(), gx.item()) == (8.0, 32.0)


def test_grad_of_an_output_with_respect_to_itself() -> None:
    y = leaf(2.0) * 2
    (g,) = autograd.grad(y, y)
    assert g.item() == 1.0


def test_grad_of_an_input_named_twice() -> None:
    x = leaf(2.0)
    a, b = autograd.grad(x * x, [x, x])
    assert a.item() == b.item() == 4.0


def test_grad_sums_over_several_outputs() -> None:
    x = leaf(2.0)
    (g,) = autograd.grad([x * x, x * 3], x)
    assert g.item() == 7.0


def test_an_unused_input_is_an_error_unless_allowed() -> None:
    x, y = leaf(2.0), leaf(3.0)
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        autograd.grad(x * x, [x, y])
    gx, gy = autograd.grad(x * x, [x, y], allow_unused=True)
    assert gx.item() == 4.0
    assert gy is None
    gx, gy = autograd.grad(x * x, [x, y], materialize_grads=True)
    assert gy.tolist() == [0.0]


def test_an_input_that_needs_no_gradient_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        autograd.grad(leaf(1.0) * 2, kuai.ones(1))


def test_materialize_grads_contradicts_allow_unused_false() -> None:
    x = leaf(1.0)
    with pytest.raises(ValueError, match="materialize_grads"):
        autograd.grad(x * 2, x, allow_unused=False, materialize_grads=True)


def test_batched_gradients_go_through_one_by_one() -> None:
    x = leaf(1.0, 2.0)
    y = x * x
    (g,) = autograd.grad(y, x, kuai.eye(2, dtype=kuai.float64), is_grads_batched=True)
    assert g.tolist() == [[2.0, 0.0], [0.0, 4.0]]


# -- recording or not --------------------------------------------------------------------------


def test_no_grad_and_enable_grad_nest() -> None:
    x = leaf(1.0)
    with kuai.no_grad():
        assert not (x * 2).requires_grad
        with kuai.enable_grad():
            assert (x * 2).requires_grad
        assert not kuai.is_grad_enabled()
    assert kuai.is_grad_enabled()


@pytest.mark.parametrize("decorator", [kuai.no_grad(), kuai.no_grad, kuai.inference_mode()])
def test_a_decorated_function_does_not_record(decorator: Any) -> None:
    @decorator
    def double(x: Any) -> Any:
        """Twice."""
        return x * 2

    assert not double(leaf(1.0)).requires_grad
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice."
    assert kuai.is_grad_enabled()


def test_a_decorated_function_may_call_itself() -> None:
    @kuai.no_grad()
    def countdown(n: int) -> bool:
        return kuai.is_grad_enabled() if n == 0 else countdown(n - 1)

    assert not countdown(5)
    assert kuai.is_grad_enabled()


def test_a_decorated_generator_records_outside_and_not_inside() -> None:
    @kuai.no_grad()
    def modes() -> Iterator[bool]:
        yield kuai.is_grad_enabled()
        yield kuai.is_grad_enabled()

    seen = []
    for inside in modes():
        seen.append((inside, kuai.is_grad_enabled()))
    assert seen == [(False, True), (False, True)]


def test_an_exception_leaves_the_mode_as_it_was() -> None:
    with pytest.raises(ZeroDivisionError), kuai.no_grad():
        raise ZeroDivisionError
    assert kuai.is_grad_enabled()


def test_set_grad_enabled_as_a_function_a_context_and_a_decorator() -> None:
    kuai.set_grad_enabled(False)
    assert not kuai.is_grad_enabled()
    kuai.set_grad_enabled(True)
    with kuai.set_grad_enabled(False):
        assert not kuai.is_grad_enabled()
    assert kuai.is_grad_enabled()

    @kuai.set_grad_enabled(False)
    def mode() -> bool:
        return kuai.is_grad_enabled()

    assert kuai.is_grad_enabled()
    assert not mode()
    assert kuai.is_grad_enabled()


def test_inference_mode_can_be_asked_for_and_switched_off() -> None:
    with kuai.inference_mode():
        assert kuai.is_inference_mode_enabled()
        assert not kuai.is_grad_enabled()
    with kuai.inference_mode(False):
        assert not kuai.is_inference_mode_enabled()
        assert kuai.is_grad_enabled()
    assert not kuai.is_inference_mode_enabled()


def test_each_thread_has_its_own_mode() -> None:
    seen = []
    with kuai.no_grad():
        thread = threading.Thread(target=lambda: seen.append(kuai.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_threads_differentiate_at_the_same_time() -> None:
    results: dict[int, float] = {}

    def work(i: int) -> None:
        x = leaf(float(i))
        for _ in range(50):
            x.grad = None
            (x * x * x).backward()
        results[i] = x.grad.item()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {i: 3.0 * i * i for i in range(4)}


# -- leaving the tape --------------------------------------------------------------------------


def test_requires_grad_is_for_floating_leaves() -> None:
    with pytest.raises(RuntimeError, match="floating"):
        kuai.ones(2, dtype=kuai.int64).requires_grad_()
    y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad = False


def test_an_integer_result_needs_no_gradient() -> None:
    x = leaf(1.0, 2.0)
    assert not x.argmax().requires_grad
    assert not (x > 1).requires_grad
    assert not x.long().requires_grad


def test_detach_shares_memory_and_not_the_tape() -> None:
    x = leaf(1.0, 2.0)
    d = (x * 1).detach()
    assert not d.requires_grad
    assert d.is_leaf
    e = x.detach()
    e[0] = 9.0
    assert x.tolist() == [9.0, 2.0]


def test_detach_in_place_makes_a_leaf() -> None:
    x = leaf(2.0)
    y = x * x
    assert y.detach_() is y
    assert y.is_leaf
    assert y.grad_fn is None
    assert not y.requires_grad


def test_a_view_cannot_be_detached_in_place() -> None:
    y = (leaf(2.0, 3.0) * 1)[:1]
    with pytest.raises(RuntimeError, match="view"):
        y.detach_()


def test_data_changes_without_the_tape_noticing() -> None:
    x = leaf(2.0)
    y = x * x
    x.data[0] = 5.0
    y.backward()
    assert x.grad.item() == 10.0


# -- hooks -------------------------------------------------------------------------------------


def test_a_tensor_hook_sees_and_replaces_the_gradient() -> None:
    x = leaf(2.0)
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(g.item()))
    y.register_hook(lambda g: g * 10)
    y.backward()
    assert seen == [1.0]
    assert x.grad.item() == 30.0


def test_a_hook_of_a_leaf_sees_the_sum_of_all_uses() -> None:
    x = leaf(2.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * x + x).backward()
    assert seen == [5.0]


def test_a_removed_hook_is_not_called() -> None:
    x = leaf(2.0)
    seen: list[Any] = []
    handle = x.register_hook(seen.append)
    handle.remove()
    handle.remove()
    (x * 2).backward()
    assert seen == []


def test_a_hook_needs_a_gradient_to_see() -> None:
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        kuai.ones(1).register_hook(print)


def test_a_hook_runs_after_accumulation() -> None:
    x = leaf(2.0)
    seen = []
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.item()))
    (x * x).backward()
    (x * x).backward()
    assert seen == [4.0, 8.0]


def test_a_hook_of_a_node_sees_both_sides() -> None:
    x = leaf(2.0)
    y = x * 3
    seen = []
    y.grad_fn.register_hook(
        lambda inputs, outputs: seen.append((inputs[0].item(), outputs[0].item()))
    )
    (y * 2).backward()
    assert seen == [(6.0, 2.0)]


def test_a_prehook_of_a_node_replaces_its_gradient() -> None:
    x = leaf(2.0)
    y = x * 3
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 2,))
    y.backward()
    assert x.grad.item() == 6.0


def test_retain_grad_keeps_the_gradient_of_an_intermediate_result() -> None:
    x = leaf(2.0)
    y = x * x
    assert not y.retains_grad
    y.retain_grad()
    y.retain_grad()
    assert y.retains_grad
    (y * 3).backward()
    assert y.grad.item() == 3.0
    assert not x.retains_grad


def test_retain_grad_keeps_what_the_hooks_made_of_the_gradient() -> None:
    y = leaf(2.0) * 1
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    (y * 3).backward()
    assert y.grad.item() == 30.0


def test_retain_grad_needs_a_gradient() -> None:
    with pytest.raises(RuntimeError, match="can't retain_grad"):
        kuai.ones(1).retain_grad()


def test_the_tape_can_be_walked_by_hand() -> None:
    x = leaf(2.0)
    y = (x * 3).exp()
    assert y.grad_fn.name() == "ExpBackward0"
    ((before, _),) = y.grad_fn.next_functions
    assert before.name() == "MulBackward0"
    assert before.next_functions[0][0].variable is x
    assert x.grad_fn is None


# -- memory ------------------------------------------------------------------------------------


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Cyclic garbage is not collected, so that a cycle shows as growth."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_results_are_freed_at_once(without_collector: None) -> None:
    x = leaf(1.0)
    y = (x * 2).exp()
    z = y * y
    reference = weakref.ref(z._node)
    payload = weakref.ref(y)
    del z, y
    assert reference() is None
    assert payload() is None


def test_what_was_computed_is_freed_after_backward(without_collector: None) -> None:
    x = leaf(1.0)
    y = x.exp()
    z = (y * y).sum()
    payload = weakref.ref(y)
    z.backward()
    del y
    assert payload() is None


def growth(step: Any) -> float:
    """By how many bytes a call of `step` makes the memory grow, once NumPy's caches are full."""
    tracemalloc.start()
    for _ in range(120):
        step()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(60):
        step()
    assert gc.collect() == 0  # no cycles of references
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / 60


def test_memory_does_not_grow_in_a_training_loop(without_collector: None) -> None:
    net = kuai.nn.Sequential(kuai.nn.Linear(32, 64), kuai.nn.Tanh(), kuai.nn.Linear(64, 8))
    optimizer = kuai.optim.Adam(net.parameters())
    x, y = kuai.rand(16, 32), kuai.randint(0, 8, (16,))

    def step() -> None:
        optimizer.zero_grad()
        kuai.nn.functional.cross_entropy(net(x), y).backward()
        kuai.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    assert growth(step) < 100  # bytes: less than the smallest tensor


def test_memory_does_not_grow_with_views_and_changes_in_place(without_collector: None) -> None:
    w = kuai.rand(64, requires_grad=True)

    def step() -> None:
        x = w * 2
        part = x[:32]
        part.mul_(3)
        x.view(8, 8)[0] = 0.0
        a, b = x.split(32)
        (a.sum() + b.max()).backward()
        w.grad = None

    assert growth(step) < 100  # bytes: less than the smallest tensor


def test_memory_does_not_grow_with_second_derivatives(without_collector: None) -> None:
    w = kuai.rand(64, requires_grad=True)

    def step() -> None:
        (g,) = autograd.grad(w.tanh().pow(2).sum(), w, create_graph=True)
        (g * g).sum().backward()
        w.grad = None

    assert growth(step) < 100  # bytes: less than the smallest tensor


def test_memory_does_not_grow_with_hooks(without_collector: None) -> None:
    w = kuai.rand(64, requires_grad=True)

    def step() -> None:
        y = w.tanh()
        y.retain_grad()
        y.register_hook(lambda g: g * 2)
        (y * y).sum().backward()
        w.grad = None

    assert growth(step) < 100  # bytes: less than the smallest tensor
