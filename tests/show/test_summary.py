"""`kuai.summary`: what the table tells of each block."""

from __future__ import annotations

import kuai
from kuai import nn

from .networks import FixedHiddenMLP, chimera


def rows(net, X):
    return {row.path: row for row in kuai.summary(net, X).rows}


def test_the_mission_network_in_a_table():
    table = kuai.summary(chimera(), kuai.rand(2, 20))
    lines = str(table).splitlines()
    assert next(line for line in lines if "Sequential" in line).split()[0] == "Sequential"
    assert "4,712" in str(table)
    assert table.parameters == 4712
    assert table.trainable == 4712
    assert table.constant == 400
    assert table.multiply_adds == 2 * (20 * 64 + 64 * 32 + 32 * 16 + 16 * 20 + 3 * 20 * 20)
    assert table.seconds > 0


def test_rows_follow_the_nesting():
    table = kuai.summary(chimera(), kuai.rand(2, 20))
    assert [(r.depth, r.path, r.type) for r in table.rows] == [
        (0, "", "Sequential"),
        (1, "0", "NestMLP"),
        (2, "0.net", "Sequential"),
        (3, "0.net.0", "Linear"),
        (3, "0.net.1", "ReLU"),
        (3, "0.net.2", "Linear"),
        (3, "0.net.3", "ReLU"),
        (2, "0.linear", "Linear"),
        (1, "1", "Linear"),
        (1, "2", "FixedHiddenMLP"),
        (2, "2.linear", "Linear"),
    ]


def test_output_shapes():
    found = rows(chimera(), kuai.rand(2, 20))
    assert found["0.net.0"].output == [(2, 64)]
    assert found["0"].output == [(2, 16)]
    assert found["2"].output == [()]


def test_a_layer_used_twice_holds_its_parameters_once_and_computes_twice():
    row = rows(FixedHiddenMLP(), kuai.rand(2, 20))["linear"]
    assert row.calls == 2
    assert row.parameters == 420
    assert row.multiply_adds == 2 * 2 * 20 * 20


def test_a_block_in_two_places_counts_once():
    shared = nn.Linear(8, 8)
    table = kuai.summary(nn.Sequential(shared, nn.ReLU(), shared), kuai.rand(1, 8))
    assert table.parameters == 72
    assert [r.shared for r in table.rows] == ["", "", "", "0"]
    assert "as 0" in str(table)


def test_frozen_parameters_are_not_trainable():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    table = kuai.summary(net, kuai.rand(1, 4))
    assert (table.parameters, table.trainable) == (30, 10)
    assert table.rows[1].cells()[2] == "no"
    assert table.rows[2].cells()[2] == "yes"


def test_a_block_that_was_not_called_says_so():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    table = kuai.summary(Half(), kuai.rand(1, 2))
    assert table.rows[2].calls == 0
    assert "not called" in str(table)


def test_several_results_are_all_shown():
    class Two(nn.Module):
        def forward(self, x):
            return x, {"sum": x.sum()}

    assert kuai.summary(Two(), kuai.rand(3)).rows[0].output == [(3,), ()]


def test_a_batched_product_counts_every_matrix():
    class Product(nn.Module):
        def forward(self, x, y):
            return x @ y

    X = (kuai.rand(5, 2, 3), kuai.rand(5, 3, 4))
    assert kuai.summary(Product(), X).multiply_adds == 5 * 2 * 3 * 4


def test_a_lazy_network_is_counted_as_it_will_be():
    net = nn.LazyLinear(3)
    assert kuai.summary(net, kuai.rand(2, 7)).parameters == 24
    assert isinstance(net, nn.LazyLinear)


def test_nothing_is_printed(capsys):
    kuai.summary(chimera(), kuai.rand(2, 20))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_notebook_shows_a_table():
    html = kuai.summary(chimera(), kuai.rand(2, 20))._repr_html_()
    assert html.count("<tr>") == 13
    assert "FixedHiddenMLP" in html


def test_the_products_of_convolutions_are_counted() -> None:
    net = kuai.nn.Conv2d(4, 6, 3, groups=2)
    assert kuai.summary(net, kuai.rand(2, 4, 5, 7)).multiply_adds == 2 * 6 * 3 * 5 * 2 * 9
    transposed = kuai.nn.ConvTranspose2d(4, 6, 3, stride=2)
    assert kuai.summary(transposed, kuai.rand(2, 4, 5, 7)).multiply_adds == 2 * 4 * 5 * 7 * 6 * 9
