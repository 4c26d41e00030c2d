"""Work that several threads share is done once, whoever does it."""

import numpy as np
import pytest

import kuai


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(64, 256, 784), (256, 64, 784), (784, 64, 256), (785, 384, 49), (300, 500, 700)],
)
def test_each_element_of_a_product_is_stored_once(m, k, n, threads):
    rng = np.random.default_rng(0)
    w, a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, n), (k, m), (k, n)))
    weight = kuai.from_numpy(w.copy())

    @kuai.compile
    def descend(weight, a, b):
        weight -= 0.01 * (a.T @ b)

    before = kuai.get_num_threads()
    kuai.set_num_threads(threads)
    try:
        descend(weight, kuai.from_numpy(a), kuai.from_numpy(b))
    finally:
        kuai.set_num_threads(before)
    np.testing.assert_allclose(weight.numpy(), w - 0.01 * (a.T @ b), rtol=1e-4, atol=1e-4)


def test_the_result_is_the_same_on_any_number_of_threads():
    rng = np.random.default_rng(1)
    x = kuai.from_numpy(rng.standard_normal((700, 900)).astype(np.float32))
    y = kuai.from_numpy(rng.standard_normal((900, 300)).astype(np.float32))

    @kuai.compile
    def function(x, y):
        return (x @ y).relu().sum(0), x.exp().sum(1), x * 2 + 1, x.sum()

    before = kuai.get_num_threads()
    results = []
    for threads in (1, 2, 4):
        kuai.set_num_threads(threads)
        results.append([t.numpy() for t in function(x, y)])
    kuai.set_num_threads(before)
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            np.testing.assert_array_equal(one, other)
