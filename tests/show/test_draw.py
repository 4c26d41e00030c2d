"""`kuai.draw`: what the picture shows, and that looking changes nothing."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest

import kuai
from kuai import nn
from kuai.nn import functional as F

from .networks import CrossAttention, FixedHiddenMLP, NestMLP, Residual, chimera

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing):
    """Everything that can be read in a picture, in its order."""
    root = ET.fromstring(drawing.svg)
    return ["".join(t.itertext()) for t in root.iter(SVG + "text")]


def boxes(drawing):
    """The rectangles of a picture as (left, top, right, bottom), the page left out."""
    found = []
    for rect in ET.fromstring(drawing.svg).iter(SVG + "rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        found.append((x, y, x + float(rect.get("width")), y + float(rect.get("height"))))
    return found[1:]


def test_blocks_are_drawn_as_they_nest():
    names = " | ".join(texts(kuai.draw(chimera(), kuai.rand(2, 20))))
    order = ["Sequential", "NestMLP0", "Sequentialnet", "Linear0", "ReLU1", "Linear2", "ReLU3"]
    order += ["Linearlinear", "Linear1", "FixedHiddenMLP2", "Linearlinear", "Linearlinear"]
    positions, at = [], 0
    for name in order:
        at = names.index(name, at) + 1
        positions.append(at)
    assert positions == sorted(positions)


def test_arrows_carry_the_shapes_of_the_data():
    shown = texts(kuai.draw(nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10)),
                            kuai.rand(2, 20)))  # fmt: skip
    assert [t for t in shown if t.startswith("2 ×")] == ["2 × 256", "2 × 256", "2 × 20", "2 × 10"]


def test_an_unusual_data_type_is_told_with_the_shape():
    shown = texts(kuai.draw(nn.Embedding(5, 3), kuai.tensor([1, 2])))
    assert "2 int64" in shown
    assert "2 × 3" in shown


def test_parameters_and_constants_are_marked():
    shown = texts(kuai.draw(FixedHiddenMLP(), kuai.rand(2, 20)))
    assert "weight  20 × 20" in shown
    assert "bias  20" in shown
    assert "rand_weight  20 × 20 constant" in shown


def test_a_frozen_parameter_is_marked():
    net = nn.Linear(3, 2)
    net.weight.requires_grad_(False)
    shown = texts(kuai.draw(net, kuai.rand(1, 3)))
    assert "weight  2 × 3 frozen" in shown
    assert "bias  2" in shown


def test_a_shared_block_bears_the_same_letter_at_each_use():
    shown = texts(kuai.draw(FixedHiddenMLP(), kuai.rand(2, 20)))
    assert shown.count("A  shared, 2 uses") == 2


def test_what_is_inside_a_shared_block_is_not_marked_again():
    block = NestMLP()
    net = nn.Sequential(block, nn.Linear(16, 20), block)
    shown = texts(kuai.draw(net, kuai.rand(2, 20)))
    assert [t for t in shown if "shared," in t] == ["A  shared, 2 uses"] * 2


def test_a_block_without_parameters_used_twice_is_not_called_shared():
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 3), relu)
    assert not [t for t in texts(kuai.draw(net, kuai.rand(2, 4))) if "shared" in t]


def test_tied_parameters_bear_the_same_letter():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    shown = texts(kuai.draw(net, kuai.rand(2, 4)))
    assert shown.count("weight  4 × 4  shared A") == 2


def test_operations_between_blocks_are_named_with_their_constants():
    shown = texts(kuai.draw(FixedHiddenMLP(), kuai.rand(2, 20)))
    assert "mm rand_weight → + 1 → relu" in shown
    assert [t for t in shown if re.fullmatch(r"÷ 2( \(\d+ times\))? → sum", t)]


def test_a_sign_without_its_number_is_not_drawn():
    class Square(nn.Module):
        def forward(self, x):
            return 1 - x**2

    shown = texts(kuai.draw(Square(), kuai.rand(3)))
    assert [t for t in shown if re.fullmatch(r"(pow|\^ 2) → 1 −", t)]


def test_what_only_steers_python_is_not_drawn():
    assert not [t for t in texts(kuai.draw(FixedHiddenMLP(), kuai.rand(2, 20))) if "abs" in t]


def test_thirty_six_equal_blocks_are_one_box():
    net = nn.Sequential(nn.Linear(20, 8), *(Residual(8) for _ in range(36)), nn.Linear(8, 1))
    shown = texts(kuai.draw(net, kuai.rand(2, 20)))
    assert "× 36" in shown
    assert [t for t in shown if t.startswith("Residual")] == ["Residual1 … 36"]


def test_repetition_is_drawn_in_full_on_demand():
    net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(20)))
    shown = texts(kuai.draw(net, kuai.rand(2, 8), fold=False))
    assert [t for t in shown if t.startswith("Linear")] == [f"Linear{i}" for i in range(20)]


def test_a_group_of_blocks_that_repeats_is_folded():
    layers = [layer for _ in range(5) for layer in (nn.Linear(8, 8), nn.ReLU())]
    shown = texts(kuai.draw(nn.Sequential(*layers), kuai.rand(2, 8)))
    assert "× 5" in shown
    assert "Linear0 … 8" in shown
    assert "ReLU1 … 9" in shown


def test_a_loop_over_blocks_with_shortcuts_is_folded():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(12))

        def forward(self, x):
            for layer in self.layers:
                x = x + F.relu(layer(x))
            return x

    shown = texts(kuai.draw(Stack(), kuai.rand(2, 8)))
    assert "× 12" in shown
    assert shown.count("+") == 1


def test_blocks_that_differ_in_shape_are_not_folded():
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 7), nn.Linear(7, 8))
    assert not [t for t in texts(kuai.draw(net, kuai.rand(2, 4))) if t.startswith("× ")]


def test_a_result_used_again_later_ends_a_repetition():
    class Tapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(9))

        def forward(self, x):
            middle = x
            for i, layer in enumerate(self.layers):
                x = layer(x)
                if i == 4:
                    middle = x
            return x + middle

    shown = texts(kuai.draw(Tapped(), kuai.rand(2, 8)))
    assert [t for t in shown if re.fullmatch(r"× \d+", t)] == ["× 5", "× 4"]


def test_a_block_that_returns_its_input_is_still_a_station():
    net = nn.Sequential(nn.Linear(4, 4), nn.Identity(), nn.Dropout(0.5), nn.Linear(4, 2))
    drawing = kuai.draw(net, kuai.rand(1, 4))
    assert drawing.svg.count("<polygon") == 6  # input, four blocks, output


def test_each_argument_has_an_arrow_of_its_own():
    shown = texts(kuai.draw(CrossAttention(8), (kuai.rand(2, 8), kuai.rand(5, 8))))
    assert shown.index("x") < shown.index("output")
    assert "memory" in shown
    assert "5 × 8" in shown
    assert "softmax" in " ".join(shown)


def test_keyword_arguments_can_be_given():
    X = {"x": kuai.rand(2, 8), "memory": kuai.rand(5, 8)}
    assert "memory" in texts(kuai.draw(CrossAttention(8), X))


def test_a_block_that_was_not_called_is_shown_as_such():
    net = Residual(4)
    net.spare = nn.Linear(4, 4)
    shown = texts(kuai.draw(net, kuai.rand(1, 4)))
    assert "Linearspare" in shown
    assert "not called" in shown


def test_without_an_input_the_structure_is_drawn():
    shown = texts(kuai.draw(chimera()))
    assert "FixedHiddenMLP2" in shown
    assert not [t for t in shown if t.startswith("2 ×")]


def test_no_box_cuts_another():
    net = nn.Sequential(chimera()[0], nn.Linear(16, 8), *(Residual(8) for _ in range(2)))
    net.append(nn.Sequential(nn.Linear(8, 8), Residual(8)))
    placed = boxes(kuai.draw(net, kuai.rand(2, 20)))
    for i, (a, b, c, d) in enumerate(placed):
        for e, f, g, h in placed[i + 1 :]:
            apart = c <= e or g <= a or d <= f or h <= b
            within = (a <= e and b <= f and g <= c and h <= d) or (
                e <= a and f <= b and c <= g and d <= h
            )
            assert apart or within


def test_everything_lies_on_the_page():
    drawing = kuai.draw(CrossAttention(8), (kuai.rand(2, 8), kuai.rand(5, 8)))
    root = ET.fromstring(drawing.svg)
    width, height = float(root.get("width")), float(root.get("height"))
    for left, top, right, bottom in boxes(drawing):
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height


def test_names_are_escaped():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module('<b> & "c"', nn.ReLU())

        def forward(self, x):
            return next(self.children())(x)

        def extra_repr(self):
            return "a < b & c"

    shown = texts(kuai.draw(Odd(), kuai.rand(1)))
    assert 'ReLU<b> & "c"' in shown
    assert "a < b & c" in shown


def test_it_says_what_it_is_to_who_cannot_see_it():
    root = ET.fromstring(kuai.draw(chimera(), kuai.rand(2, 20)).svg)
    assert root.get("role") == "img"
    assert root.find(SVG + "title").text == "Sequential: blocks within blocks"
    assert "4,712 parameters" in root.find(SVG + "desc").text


def test_looking_leaves_the_network_as_it_was():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    net[2].eval()
    kuai.manual_seed(3)
    state = kuai.get_rng_state()
    X = kuai.rand(2, 4)
    kuai.set_rng_state(state)
    kuai.draw(net, X)
    kuai.summary(net, X)
    assert [m.training for m in net] == [True, True, False]
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    assert not [m for m in net.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert kuai.equal(kuai.get_rng_state(), state)


def test_an_input_that_the_network_changes_in_place_is_not_changed():
    class Halve(nn.Module):
        def forward(self, x):
            x /= 2
            return x

    X = kuai.ones(3)
    drawing = kuai.draw(Halve(), X)
    assert X.tolist() == [1, 1, 1]
    assert "÷ 2" in texts(drawing)


def test_buffers_that_a_run_changes_are_put_back():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", kuai.zeros(()))
            self.register_buffer("last", kuai.zeros(3))

        def forward(self, x):
            self.count += 1
            self.last = x
            return x + self.count

    net = Counter()
    count, last = net.count, net.last
    kuai.draw(net, kuai.ones(3))
    assert net.count is count
    assert net.last is last
    assert count.item() == 0
    assert net._buffers["last"] is last


def test_a_failing_network_is_left_as_it_was_too():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 2))
    with pytest.raises(RuntimeError):
        kuai.draw(net, kuai.rand(1, 4))
    assert net.training
    assert not net[0]._forward_hooks


def test_a_lazy_network_is_drawn_and_stays_lazy():
    net = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    assert "weight  3 × 7" in texts(kuai.draw(net, kuai.rand(2, 7)))
    assert isinstance(net[0], nn.LazyLinear)
    assert "weight  lazy" in texts(kuai.draw(net))


def test_an_in_place_operation_on_a_part_is_followed():
    class Patch(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            y = self.linear(x)
            y[:, 0] = 0
            return y * 2

    drawing = kuai.draw(Patch(), kuai.rand(2, 4))
    shown = texts(drawing)
    assert [t for t in shown if t.endswith("× 2")]
    assert drawing.svg.count("<polygon") >= 3, "the chain from input to output is not broken"


def test_saving_writes_the_picture(tmp_path):
    path = tmp_path / "net.svg"
    drawing = kuai.draw(nn.Linear(2, 1), kuai.rand(1, 2), path)
    assert path.read_text(encoding="utf-8") == drawing.svg


def test_an_unknown_ending_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        kuai.draw(nn.Linear(2, 1)).save(tmp_path / "net.jpeg")


def test_png_without_a_converter_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(ImportError, match="pip install cairosvg"):
        kuai.draw(nn.Linear(2, 1)).save(tmp_path / "net.png")


def test_png_is_made_by_the_converter_where_there_is_one(tmp_path, monkeypatch):
    given = {}

    def svg2png(**arguments):
        given.update(arguments)
        return b"a picture"

    monkeypatch.setitem(sys.modules, "cairosvg", SimpleNamespace(svg2png=svg2png))
    drawing = kuai.draw(nn.Linear(2, 1))
    assert drawing.save(tmp_path / "net.png").read_bytes() == b"a picture"
    assert given["bytestring"].decode() == drawing.svg


def test_a_notebook_shows_a_block_as_its_picture():
    net = nn.Linear(2, 1)
    assert net._repr_html_().startswith("<svg")
    assert kuai.draw(net)._repr_svg_() == kuai.draw(net).svg
