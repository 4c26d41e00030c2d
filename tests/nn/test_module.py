"""What blocks do beyond PyTorch's contract, and the places where it is easily broken."""

from __future__ import annotations

import copy
import gc
import pickle
import traceback
import warnings
import weakref

import pytest

import kuai
from kuai import nn
from kuai.nn.registry import epoch


class Scale(nn.Module):
    """The smallest block with a parameter."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = nn.Parameter(kuai.tensor(factor))

    def forward(self, x):
        return x * self.factor


class Nest(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32))
        self.linear = nn.Linear(32, 16)

    def forward(self, X):
        return self.linear(self.net(X))


def notes_of(error):
    return list(getattr(error, "__notes__", ()))


def caught(function, *args):
    """The warnings that a call gives."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function(*args)
    return [str(w.message) for w in found]


class TestErrorsCarryThePathOfBlocks:
    def test_each_enclosing_block_adds_a_line_innermost_first(self):
        net = nn.Sequential(Nest(), nn.Linear(16, 20))
        net[0].net[2] = nn.Linear(65, 32)
        with pytest.raises(RuntimeError) as failure:
            net(kuai.ones(2, 20))
        assert notes_of(failure.value) == [
            "in Sequential.0.net.2: Linear(in_features=65, out_features=32, bias=True)",
            "in Sequential.0.net: Sequential",
            "in Sequential.0: Nest",
            "in Sequential",
        ]

    def test_a_single_block_names_itself(self):
        with pytest.raises(RuntimeError) as failure:
            nn.Linear(3, 4)(kuai.ones(2, 2))
        assert notes_of(failure.value) == ["in Linear(in_features=3, out_features=4, bias=True)"]

    def test_a_block_in_a_module_list_has_the_list_in_its_path(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleList([nn.Linear(3, 4)])

            def forward(self, x):
                return self.layers[0](x)

        with pytest.raises(RuntimeError) as failure:
            Net()(kuai.ones(2, 2))
        assert notes_of(failure.value)[0].startswith("in Net.layers.0: Linear(")

    def test_an_unregistered_block_is_named_by_its_class(self):
        hidden = nn.Linear(3, 4)

        class Net(nn.Module):
            def forward(self, x):
                return hidden(x)

        with pytest.raises(RuntimeError) as failure:
            Net()(kuai.ones(2, 2))
        assert notes_of(failure.value)[0].startswith("in Net.(Linear): Linear(")

    def test_notes_of_the_user_stay(self):
        class Net(nn.Module):
            def forward(self, x):
                error = ValueError("no")
                error.add_note("look here")
                raise error

        with pytest.raises(ValueError) as failure:
            nn.Sequential(Net())(1)
        assert notes_of(failure.value) == ["look here", "in Sequential.0: Net()", "in Sequential"]

    def test_hooks_that_raise_are_located_too(self):
        def refuse(block, args):
            raise ValueError("no")

        net = nn.Sequential(Scale())
        net[0].register_forward_pre_hook(refuse)
        with pytest.raises(ValueError) as failure:
            net(kuai.ones(1))
        assert notes_of(failure.value) == ["in Sequential.0: Scale()", "in Sequential"]

    def test_an_endless_recursion_is_only_a_recursion_error(self):
        class Net(nn.Module):
            def forward(self, x):
                return self(x)

        with pytest.raises(RecursionError) as failure:
            Net()(1)
        assert notes_of(failure.value) == []

    def test_the_notes_are_part_of_the_printed_traceback(self):
        with pytest.raises(RuntimeError) as failure:
            nn.Sequential(nn.Linear(3, 4))(kuai.ones(2, 2))
        text = "".join(traceback.format_exception(failure.value))
        assert "\nin Sequential.0: Linear(in_features=3" in text

    def test_a_block_passed_for_a_tensor_is_pointed_out(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.out = Scale()

            def forward(self, x):
                return self.out(nn.ReLU)

        with pytest.raises(Exception) as failure:
            Net()(kuai.ones(1))
        assert "ReLU() makes a block" in notes_of(failure.value)[0]


class TestMistakes:
    def test_assigning_a_block_before_init_says_what_to_call(self):
        class Net(nn.Module):
            def __init__(self):
                self.fc = nn.Linear(1, 1)

        with pytest.raises(AttributeError, match="cannot assign module before Module"):
            Net()

    @pytest.mark.parametrize("make", [nn.Parameter, nn.Buffer])
    def test_assigning_a_tensor_of_its_own_before_init_says_what_to_call(self, make):
        class Net(nn.Module):
            def __init__(self):
                self.w = make(kuai.ones(1))

        with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
            Net()

    def test_calling_before_init_says_what_to_call(self):
        class Net(nn.Module):
            def __init__(self):
                self.size = 3

            def forward(self, x):
                return x

        with pytest.raises(AttributeError, match=r"Net.__init__ must begin with super\(\)"):
            Net()(1)

    def test_a_class_in_the_place_of_a_block_is_recognised(self):
        with pytest.raises(TypeError, match=r"ReLU is a class, not a block; ReLU\(\) makes"):
            nn.Sequential(nn.Linear(1, 1), nn.ReLU)

    def test_a_class_over_a_block_is_recognised(self):
        net = nn.Sequential(nn.ReLU())
        with pytest.raises(TypeError, match=r"ReLU\(\) makes a block"):
            net[0] = nn.ReLU

    def test_a_misspelt_attribute_gets_a_suggestion(self):
        with pytest.raises(AttributeError, match="Did you mean: 'linear'"):
            Nest().lineer

    def test_an_attribute_like_nothing_gets_none(self):
        with pytest.raises(AttributeError) as failure:
            Nest().qqq
        assert str(failure.value) == "'Nest' object has no attribute 'qqq'"

    def test_an_error_within_a_property_is_not_hidden(self):
        class Net(nn.Module):
            @property
            def width(self):
                return self.linear.width

        with pytest.raises(AttributeError, match="no attribute 'linear'"):
            Net().width

    def test_hasattr_and_getattr_with_default_see_a_missing_attribute(self):
        assert not hasattr(Nest(), "lineer")
        assert getattr(Nest(), "lineer", 5) == 5

    def test_a_parameter_of_something_else_says_what_makes_a_tensor(self):
        with pytest.raises(TypeError, match="made from a tensor, got list"):
            nn.Parameter([1.0])


class TestBlocksInPlainContainers:
    def listed(self, container):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = container

            def forward(self, x):
                return x

        return Net()

    @pytest.mark.parametrize(
        ("container", "kind", "remedy"),
        [
            ([Scale()], "list", "ModuleList"),
            ((Scale(), Scale()), "tuple", "ModuleList"),
            ({"a": Scale()}, "dict", "ModuleDict"),
            ([[Scale()]], "list", "ModuleList"),
            ({"a": [Scale()]}, "dict", "ModuleDict"),
        ],
    )
    def test_the_first_call_warns_once(self, container, kind, remedy):
        net = self.listed(container)
        (message,) = caught(net, 1)
        assert f"Net.layers is a plain {kind}" in message
        assert f"nn.{remedy}" in message
        assert caught(net, 1) == []

    @pytest.mark.parametrize(
        "ask",
        [
            lambda net: list(net.parameters()),
            lambda net: net.state_dict(),
            lambda net: list(net.modules()),
            lambda net: net.requires_grad_(False),
            lambda net: net.zero_grad(),
        ],
    )
    def test_asking_for_parts_warns_too(self, ask):
        assert len(caught(ask, self.listed([Scale()]))) == 1

    @pytest.mark.parametrize(
        "ask",
        [
            lambda net: net(1),
            lambda net: nn.Sequential(net)(1),
            lambda net: list(net.parameters()),
            lambda net: list(nn.Sequential(net).parameters()),
        ],
    )
    def test_the_warning_names_the_line_of_the_user(self, ask):
        with pytest.warns(UserWarning, match="is a plain list") as found:
            ask(self.listed([Scale()]))
        assert found[0].filename == __file__

    def test_blocks_appended_later_are_seen(self):
        net = self.listed([])
        assert caught(net, 1) == []
        net.layers.append(Scale())
        assert len(caught(lambda: list(net.parameters()))) == 1

    def test_blocks_that_are_registered_as_well_are_no_reason_to_warn(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [Scale(), Scale()]
                for i, layer in enumerate(self.layers):
                    self.add_module(f"layer{i}", layer)

            def forward(self, x):
                return x

        net = Net()
        assert caught(net, 1) == []
        assert caught(lambda: list(net.parameters())) == []

    def test_plain_numbers_are_no_reason_to_warn(self):
        assert caught(self.listed([1, 2, (3, 4)]), 1) == []

    def test_a_module_list_is_the_remedy(self):
        assert caught(self.listed(nn.ModuleList([Scale()])), 1) == []


class TestEpoch:
    @pytest.mark.parametrize(
        "change",
        [
            lambda net: setattr(net, "note", 1),
            lambda net: setattr(net[0], "factor", nn.Parameter(kuai.ones(1))),
            lambda net: net[0].register_buffer("b", kuai.ones(1)),
            lambda net: net.append(Scale()),
            lambda net: net.__delitem__(0),
            lambda net: delattr(net[0], "factor"),
            lambda net: net.eval(),
            lambda net: net.double(),
            lambda net: net.requires_grad_(False),
            lambda net: net[0].register_forward_hook(lambda *_: None),
            lambda net: net[0].register_forward_pre_hook(lambda *_: None).remove(),
            lambda net: net[0].register_full_backward_hook(lambda *_: None),
            lambda net: net._modules.__setitem__("x", Scale()),
            lambda net: net._modules.pop("0"),
            lambda net: net._modules.update(x=Scale()),
            lambda net: net._modules.clear(),
            lambda net: net[0]._parameters.__setitem__("factor", None),
        ],
    )
    def test_every_change_of_a_block_moves_it_on(self, change):
        net = nn.Sequential(Scale(), Scale())
        before = epoch[0]
        change(net)
        assert epoch[0] > before

    def test_calling_and_looking_leave_it(self):
        net = nn.Sequential(Scale(), Scale())
        net(kuai.ones(1))
        before = epoch[0]
        net(kuai.ones(1)).sum().backward()
        list(net.named_parameters())
        net.state_dict()
        net.train()
        repr(net)
        assert epoch[0] == before

    def test_global_hooks_move_it_on(self):
        before = epoch[0]
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
        between = epoch[0]
        handle.remove()
        assert before < between < epoch[0]


class TestPartsWrittenDirectly:
    def test_a_block_written_into_modules_is_an_attribute(self):
        net = nn.Module()
        net._modules["0"] = block = Scale()
        assert getattr(net, "0") is block
        assert list(net.parameters()) == [block.factor]

    def test_a_replaced_parameter_is_what_the_attribute_shows(self):
        block = Scale()
        block._parameters["factor"] = new = nn.Parameter(kuai.ones(1))
        assert block.factor is new
        del block._parameters["factor"]
        assert not hasattr(block, "factor")

    def test_a_part_does_not_hide_a_method_of_the_class(self):
        net = nn.Sequential()
        net._modules["forward"] = Scale()
        assert float(net(kuai.ones(1))) == 2.0

    def test_a_part_does_not_hide_an_attribute_of_another_origin(self):
        net = nn.Module()
        net.note = "mine"
        net._modules["note"] = Scale()
        assert net.note == "mine"

    def test_a_whole_dictionary_can_be_replaced(self):
        net = nn.Sequential(Scale(), Scale())
        first = net[0]
        net._modules = {"only": first}
        assert net.only is first
        assert not hasattr(net, "0")
        net._modules["more"] = second = Scale()
        assert net.more is second

    def test_hooks_written_into_the_dictionary_run(self):
        block = Scale()
        block(kuai.ones(1))
        block._forward_hooks[0] = lambda m, args, out: out + 1
        assert float(block(kuai.ones(1))) == 3.0
        block._forward_hooks.clear()
        assert float(block(kuai.ones(1))) == 2.0

    def test_state_set_by_a_subclass_that_forgets_super_works(self):
        class Odd(Scale):
            def __setstate__(self, state):
                self.__dict__.update(state)

        block = copy.deepcopy(Odd(3.0))
        assert float(block(kuai.ones(1))) == 3.0
        block.register_forward_hook(lambda m, args, out: out + 1)
        assert float(block(kuai.ones(1))) == 4.0
        block.factor = new = nn.Parameter(kuai.tensor(5.0))
        assert block.factor is new


class TestCopies:
    @pytest.mark.parametrize(
        "make", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
    )
    def test_a_copy_changes_apart(self, make):
        net = nn.Sequential(Scale(), Scale())
        net(kuai.ones(1))
        other = make(net)
        other.append(Scale())
        other._modules["0"] = replacement = Scale(5.0)
        other.register_forward_hook(lambda m, args, out: out + 1)
        assert getattr(other, "0") is replacement
        assert getattr(net, "0") is not replacement
        assert (len(net), len(other)) == (2, 3)
        assert float(net(kuai.ones(1))) == 4.0
        assert float(other(kuai.ones(1))) == 21.0

    def test_a_handle_that_was_copied_with_its_block_removes_the_copied_hook(self):
        block = Scale()
        block.handle = block.register_forward_hook(lambda m, args, out: out + 1)
        other = copy.deepcopy(block)
        other.handle.remove()
        assert float(other(kuai.ones(1))) == 2.0
        assert float(block(kuai.ones(1))) == 3.0

    def test_a_parameter_in_a_property_shadowing_class_attribute_survives(self):
        class Net(Scale):
            default = None

            def __init__(self):
                super().__init__()
                self.default = Scale()

        net = copy.deepcopy(Net())
        assert net.default is None
        assert "default" in net._modules


class TestMemory:
    def test_a_block_is_freed_without_the_garbage_collector(self):
        gc.disable()
        try:
            net = nn.Sequential(Scale(), nn.Sequential(Scale()))
            handle = net.register_full_backward_hook(lambda *_: None)
            net(kuai.ones(1, requires_grad=True)).sum().backward()
            handle.remove()
            gone = [weakref.ref(net), weakref.ref(net[1][0].factor)]
            del net
            assert [ref() for ref in gone] == [None, None]
        finally:
            gc.enable()


class TestLazyBlocks:
    class LazyScale(nn.modules.lazy.LazyModuleMixin, Scale):
        cls_to_become = Scale

        def __init__(self):
            super().__init__()
            self.factor = nn.UninitializedParameter()

        def initialize_parameters(self, x):
            self.factor.materialize(x.shape[-1:])
            with kuai.no_grad():
                self.factor.fill_(3.0)

    def test_the_first_call_gives_shape_and_class(self):
        block = self.LazyScale()
        assert block.has_uninitialized_params()
        assert block(kuai.ones(2, 4)).tolist() == [[3.0] * 4] * 2
        assert type(block) is Scale
        assert not block._forward_pre_hooks
        assert not block._load_state_dict_pre_hooks

    def test_loading_gives_shape_too(self):
        block = self.LazyScale()
        block.load_state_dict({"factor": kuai.ones(4)})
        assert block.factor.tolist() == [1.0] * 4

    def test_a_copy_of_a_lazy_block_is_lazy(self):
        block = copy.deepcopy(self.LazyScale())
        assert block(kuai.ones(4)).tolist() == [3.0] * 4
        assert type(block) is Scale

    def test_conversions_are_kept_for_later(self):
        block = self.LazyScale().double()
        block(kuai.ones(4, dtype=kuai.float64))
        assert block.factor.dtype is kuai.float64

    def test_using_it_too_early_says_what_to_do(self):
        with pytest.raises(ValueError, match="initialize"):
            self.LazyScale().factor + 1
