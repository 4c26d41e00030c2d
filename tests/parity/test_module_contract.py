"""The same programs on PyTorch's blocks and on kuai's: what they print and return must agree."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import OrderedDict

import pytest

import kuai

torch = pytest.importorskip("torch")


ERRORS = (
    AssertionError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    RuntimeError,
)


def text(x):
    """`repr`, with the library's name taken out."""
    return (
        repr(x).replace("torch.nn.modules.", "nn.").replace("torch", "lib").replace("kuai", "lib")
    )


def agree(program):
    """Run `program(lib, nn)` on both libraries and compare what it returns."""
    assert text(program(kuai, kuai.nn)) == text(program(torch, torch.nn))


def outcome(function, *args, **kwargs):
    """The result's repr, or the kind of error; with the classes of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = text(function(*args, **kwargs))
        except Exception as error:
            result = next(k.__name__ for k in ERRORS if isinstance(error, k))
    return result, [w.category.__name__ for w in caught]


def nest(nn):
    class NestMLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32, bias=False), nn.ReLU()
            )
            self.linear = nn.Linear(32, 16)
            self.again = self.linear
            self.nothing = None
            self.register_module("gap", None)
            self.register_parameter("hole", None)
            self.register_buffer("scale", None)

        def forward(self, X):
            return self.linear(self.net(X))

        def extra_repr(self):
            return "one=1\ntwo=2"

    return NestMLP()


def test_a_nested_block_prints_as_in_pytorch():
    agree(lambda lib, nn: nn.Sequential(nest(nn), nn.Linear(16, 20), nn.Sequential()))


def test_module_lists_fold_equal_blocks_when_printed():
    def program(lib, nn):
        blocks = [nn.Linear(2, 2) for _ in range(3)] + [nn.ReLU(), nest(nn), nest(nn)]
        return (
            nn.ModuleList(blocks),
            nn.ModuleList(),
            nn.ModuleDict({"b": nn.ReLU(), "a": nest(nn)}),
        )

    agree(program)


def test_parameter_containers_print_as_in_pytorch():
    def program(lib, nn):
        values = [nn.Parameter(lib.ones(2, 3)), lib.ones(4), 5]
        listed = nn.ParameterList(values)
        named = nn.ParameterDict({"b": lib.ones(2), "a": nn.Parameter(lib.ones(1, 1))})
        return str(listed).replace("torch.", "").replace("kuai.", ""), list(named), len(listed)

    agree(program)


@pytest.mark.parametrize("recurse", [True, False])
@pytest.mark.parametrize("remove_duplicate", [True, False])
def test_named_traversals_give_the_same_names_in_the_same_order(recurse, remove_duplicate):
    def program(lib, nn):
        net = nn.Sequential(nest(nn), nest(nn))
        net.append(net[0])
        options = {"prefix": "p", "recurse": recurse, "remove_duplicate": remove_duplicate}
        return (
            [name for name, _ in net.named_parameters(**options)],
            [name for name, _ in net.named_buffers(**options)],
            [name for name, _ in net.named_modules(remove_duplicate=remove_duplicate)],
            [name for name, _ in net.named_children()],
            len(list(net.modules())),
            len(list(net.parameters(recurse))),
            len(list(net.children())),
        )

    agree(program)


def test_state_dicts_have_the_same_keys_and_metadata():
    def program(lib, nn):
        class Counter(nn.Module):
            _version = 3

            def __init__(self):
                super().__init__()
                self.register_buffer("kept", lib.zeros(2))
                self.register_buffer("temporary", lib.zeros(2), persistent=False)
                self.marked = nn.Buffer(lib.zeros(1))
                self.unmarked = nn.Buffer(lib.zeros(1), persistent=False)

            def get_extra_state(self):
                return {"calls": 7}

            def set_extra_state(self, state):
                self.state = state

        net = nn.Sequential(OrderedDict(counter=Counter(), nest=nest(nn)))
        state = net.state_dict(prefix="x.")
        plain = net.state_dict()
        answer = net.load_state_dict(plain)
        return (
            list(state),
            dict(state._metadata),
            list(plain._metadata),
            str(answer),
            net.counter.state,
            [
                x.requires_grad
                for x in net.state_dict(keep_vars=True).values()
                if hasattr(x, "shape")
            ],
        )

    agree(program)


def test_loading_reports_what_does_not_fit_in_the_same_words():
    def program(lib, nn):
        net = nest(nn)
        state = net.state_dict()
        del state["linear.bias"]
        state["net.0.weight"] = lib.zeros(3, 3)
        state["stranger"] = lib.zeros(1)
        state["net.9.weight"] = lib.zeros(1)
        state["net.2.weight"] = 5
        with pytest.raises(RuntimeError) as failure:
            net.load_state_dict(state)
        lines = str(failure.value).replace("torch.", "").replace("kuai.", "").split("\n")
        loose = net.load_state_dict({"stranger": lib.zeros(1)}, strict=False)
        return lines, loose

    agree(program)


def test_assigned_state_keeps_requires_grad():
    def program(lib, nn):
        net = nn.Linear(2, 2)
        net.weight.requires_grad_(False)
        state = {"weight": lib.ones(2, 2), "bias": lib.zeros(2)}
        net.load_state_dict(state, assign=True)
        return net.weight.requires_grad, net.bias.requires_grad, type(net.bias).__name__

    agree(program)


def test_state_dict_hooks_run_in_the_same_order():
    def program(lib, nn):
        seen = []
        net = nn.Sequential(nn.Linear(2, 2))
        net.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))
        net[0].register_state_dict_post_hook(lambda m, s, p, meta: seen.append(("post", p, meta)))
        net._register_state_dict_hook(lambda m, s, p, meta: dict.fromkeys(s, 1))
        net[0].register_load_state_dict_pre_hook(
            lambda m, s, prefix, *rest: seen.append(("load", type(m).__name__, prefix, rest[0]))
        )
        net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
        out = net.state_dict()
        answer = net.load_state_dict({"0.weight": lib.zeros(2, 2)})
        return seen, out, answer

    agree(program)


ATTRIBUTE_PROGRAMS = {
    "parameter over tensor": "m.x = lib.ones(2); m.x = nn.Parameter(lib.ones(2))",
    "tensor over parameter": "m.x = nn.Parameter(lib.ones(2)); m.x = lib.ones(2)",
    "none over parameter": "m.x = nn.Parameter(lib.ones(2)); m.x = None",
    "parameter over none": "m.x = None; m.x = nn.Parameter(lib.ones(2))",
    "block over parameter": "m.x = nn.Parameter(lib.ones(2)); m.x = nn.ReLU()",
    "parameter over block": "m.x = nn.ReLU(); m.x = nn.Parameter(lib.ones(2))",
    "number over block": "m.x = nn.ReLU(); m.x = 3",
    "none over block": "m.x = nn.ReLU(); m.x = None",
    "block over plain": "m.x = 3; m.x = nn.ReLU()",
    "block over buffer": "m.register_buffer('x', lib.ones(1)); m.x = nn.ReLU()",
    "tensor over buffer": "m.x = nn.Buffer(lib.ones(1), persistent=False); m.x = lib.ones(2)",
    "number over buffer": "m.register_buffer('x', lib.ones(1)); m.x = 3",
    "none over buffer": "m.register_buffer('x', lib.ones(1)); m.x = None",
    "parameter over buffer": "m.register_buffer('x', lib.ones(1)); m.x = nn.Parameter(lib.ones(1))",
    "buffer over plain": "m.x = 3; m.x = nn.Buffer(lib.ones(1))",
    "buffer object": "m.x = nn.Buffer(lib.ones(1), persistent=False)",
    "register buffer over plain": "m.x = 3; m.register_buffer('x', lib.ones(1))",
    "register parameter over plain": "m.x = 3; m.register_parameter('x', None)",
    "register twice": "m.register_parameter('x', None); m.register_parameter('x', None)",
    "add module over plain": "m.x = 3; m.add_module('x', nn.ReLU())",
    "add no module": "m.add_module('x', 3)",
    "add a class": "m.add_module('x', nn.ReLU)",
    "dotted parameter": "m.register_parameter('a.b', None)",
    "dotted buffer": "m.register_buffer('a.b', None)",
    "dotted module": "m.add_module('a.b', None)",
    "empty parameter": "m.register_parameter('', None)",
    "empty buffer": "m.register_buffer('', None)",
    "empty module": "m.add_module('', None)",
    "nameless parameter": "m.register_parameter(3, None)",
    "nameless buffer": "m.register_buffer(3, None)",
    "nameless module": "m.add_module(3, None)",
    "tensor as parameter": "m.register_parameter('x', lib.ones(1))",
    "number as buffer": "m.register_buffer('x', 3)",
    "computed parameter": "m.x = nn.Parameter(lib.ones(1)); m.register_parameter('y', m.x * 1)",
    "delete parameter": "m.x = nn.Parameter(lib.ones(1)); del m.x",
    "delete buffer": "m.register_buffer('x', lib.ones(1), persistent=False); del m.x",
    "delete block": "m.x = nn.ReLU(); del m.x",
    "delete plain": "m.x = 3; del m.x",
    "delete nothing": "del m.x",
    "direct block": "m._modules['x'] = nn.ReLU()",
    "direct parameter": "m._parameters['x'] = nn.Parameter(lib.ones(1))",
    "direct pop": "m.x = nn.ReLU(); m._modules.pop('x')",
    "direct replacement": "m.x = nn.ReLU(); m._modules = {'y': nn.ReLU()}",
    "submodule getter": "m.a = nn.Sequential(nn.ReLU()); m.x = str(m.get_submodule('a.0'))",
    "submodule of nothing": "m.get_submodule('a.0')",
    "submodule is plain": "m.a = 3; m.get_submodule('a')",
    "parameter getter": "m.a = nn.Linear(1, 1); m.x = m.get_parameter('a.weight').shape[0]",
    "parameter is a buffer": "m.register_buffer('a', lib.ones(1)); m.get_parameter('a')",
    "buffer is a tensor": "m.a = lib.ones(1); m.get_buffer('a')",
    "buffer getter": "m.register_buffer('a', lib.ones(1)); m.x = m.get_buffer('a').shape[0]",
    "set submodule": "m.a = nn.Sequential(nn.ReLU()); m.set_submodule('a.0', nn.Linear(1, 1))",
    "set new submodule": "m.a = nn.Sequential(nn.ReLU()); m.set_submodule('a.1', nn.ReLU())",
    "set strictly": "m.a = nn.Sequential(); m.set_submodule('a.1', nn.ReLU(), strict=True)",
    "set over plain": "m.a = 3; m.set_submodule('a', nn.ReLU())",
    "set nowhere": "m.set_submodule('', nn.ReLU())",
    "set no block": "m.set_submodule('a', 3)",
    "integer module": "m.to(lib.int64)",
    "train with a number": "m.train(1)",
    "missing forward": "m()",
    "unknown keyword": "nn.Module(x=1)",
    "unknown argument": "nn.Module(1)",
    "loading a list": "m.load_state_dict([])",
}


@pytest.mark.parametrize("name", ATTRIBUTE_PROGRAMS)
def test_attributes_end_up_in_the_same_registry(name):
    def program(lib, nn):
        m = nn.Module()
        result, caught = outcome(exec, ATTRIBUTE_PROGRAMS[name], {"m": m, "lib": lib, "nn": nn})
        x = getattr(m, "x", "none")
        return (
            result,
            caught,
            list(m._parameters),
            list(m._buffers),
            list(m._modules),
            sorted(m._non_persistent_buffers_set),
            list(m.state_dict()),
            type(x).__name__ if not isinstance(x, (str, int)) else x,
        )

    agree(program)


CONTAINER_PROGRAMS = [
    "nn.Sequential(a, b, c)[1:]",
    "nn.Sequential(a, b, c)[-1]",
    "nn.Sequential(a, b)[2]",
    "nn.Sequential(a, b)['0']",
    "nn.Sequential(a, b).append(c)",
    "nn.Sequential(a, b).insert(1, c)",
    "nn.Sequential(a, b).insert(-1, c)",
    "nn.Sequential(a, b).insert(5, c)",
    "nn.Sequential(a, b).insert(0, 3)",
    "nn.Sequential(a, b).extend([c, a])",
    "nn.Sequential(a, b).pop(0)",
    "nn.Sequential(a, b) + nn.Sequential(c)",
    "nn.Sequential(a, b) + [c]",
    "nn.Sequential(a, b) * 2",
    "2 * nn.Sequential(a, b)",
    "nn.Sequential(a, b) * 0",
    "nn.Sequential(a, b) * 'x'",
    "nn.Sequential(3)",
    "nn.Sequential(nn.ReLU)",
    "nn.Sequential(OrderedDict(x=a, y=b))[0:1]",
    "nn.Sequential(OrderedDict(x=a, y=b)).x",
    "[i for i in nn.Sequential(a, b)]",
    "len(nn.Sequential(a, b))",
    "[n for n in dir(nn.Sequential(a, b)) if n.isdigit()]",
    "nn.ModuleList([a, b, c])[::2]",
    "nn.ModuleList([a, b, c])[-3]",
    "nn.ModuleList([a, b, c])[3]",
    "nn.ModuleList([a, b]) + [c]",
    "nn.ModuleList([a, b]).append(c)",
    "nn.ModuleList([a, b]).extend(3)",
    "nn.ModuleList([a, b]).pop(0)",
    "nn.ModuleList([a, b]).insert(0, c)",
    "nn.ModuleList([a, b])(1)",
    "nn.ModuleList(a)",
    "nn.ModuleDict({'z': a, 'y': b})",
    "nn.ModuleDict([('z', a), ('y', b)])",
    "nn.ModuleDict([('z', a, b)])",
    "nn.ModuleDict([3])",
    "nn.ModuleDict(3)",
    "nn.ModuleDict({'z': a})['y']",
    "nn.ModuleDict({'keys': a})",
    "list(nn.ModuleDict({'z': a, 'y': b}).items())",
    "nn.ModuleDict({'z': a, 'y': b}).pop('z')",
    "'z' in nn.ModuleDict({'z': a})",
    "len(nn.ParameterList([p, p]))",
    "nn.ParameterList([p, t, 3])[2]",
    "type(nn.ParameterList([p, t])[1]).__name__",
    "len(nn.ParameterList([p, t, p])[1:])",
    "nn.ParameterList(t)",
    "nn.ParameterList(3)",
    "nn.ParameterList([p])()",
    "nn.ParameterList([p])[1]",
    "list(nn.ParameterDict({'b': p, 'a': t}))",
    "list(nn.ParameterDict(OrderedDict([('b', p), ('a', t)])))",
    "list(nn.ParameterDict([('b', p), ('a', t)]))",
    "list((nn.ParameterDict({'b': p}) | {'a': t}))",
    "nn.ParameterDict({'b': p}).popitem()[0]",
    "nn.ParameterDict({'b': p}).get('c', 4)",
    "nn.ParameterDict({'b': p}).setdefault('c')",
    "list(reversed(nn.ParameterDict({'b': p, 'a': t})))",
    "nn.ParameterDict({3: p})",
    "nn.ParameterDict([('a', p, p)])",
    "nn.ParameterDict({'b': p})({})",
    "[n for n, _ in nn.ParameterDict({'b': p, 'a': t, 'n': None}).named_parameters()]",
    "nn.ParameterDict().fromkeys(['a', 'b'], 1)['b']",
]


@pytest.mark.parametrize("expression", CONTAINER_PROGRAMS)
def test_containers_behave_as_in_pytorch(expression):
    def program(lib, nn):
        names = {
            "nn": nn,
            "OrderedDict": OrderedDict,
            "a": nn.Linear(1, 1),
            "b": nn.ReLU(),
            "c": nn.Linear(2, 2),
            "p": nn.Parameter(lib.ones(2)),
            "t": lib.ones(3),
        }
        return outcome(eval, expression, names)

    agree(program)


def test_items_of_containers_are_replaced_and_deleted_alike():
    def program(lib, nn):
        net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(2, 2), nn.ReLU())
        del net[1]
        net[0] = nn.Linear(5, 5)
        net += nn.Sequential(nn.ReLU())
        net *= 2
        listed = nn.ModuleList(list(net))
        del listed[1:3]
        listed[-1] = nn.Linear(9, 9)
        listed += [nn.ReLU()]
        named = nn.ModuleDict({"a": nn.ReLU(), "b": nn.ReLU()})
        del named["a"]
        named.update({"c": nn.Linear(1, 1)})
        return net, listed, named

    agree(program)


def test_forward_hooks_see_and_change_the_same_values():
    def program(lib, nn):
        seen = []

        class Add(nn.Module):
            def forward(self, x, y=0):
                return x + y

        block = Add()
        handles = [
            block.register_forward_pre_hook(lambda m, a: seen.append(("pre", len(a))) or a[0] + 1),
            block.register_forward_pre_hook(
                lambda m, a, k: (a, {"y": 10}), with_kwargs=True, prepend=True
            ),
            block.register_forward_hook(lambda m, a, out: out * 2),
            block.register_forward_hook(
                lambda m, a, k, out: seen.append((sorted(k), float(out))),
                with_kwargs=True,
                prepend=True,
            ),
        ]
        results = [float(block(lib.tensor(1.0)))]
        for handle in handles:
            handle.remove()
            results.append(float(block(lib.tensor(1.0), y=lib.tensor(3.0))))
        return seen, results

    agree(program)


def test_always_called_hooks_run_when_forward_raises():
    def program(lib, nn):
        class Fail(nn.Module):
            def forward(self, x):
                raise ValueError("no")

        seen = []
        block = Fail()
        block.register_forward_hook(lambda m, a, out: seen.append("never"))
        block.register_forward_hook(lambda m, a, out: seen.append(out), always_call=True)
        with pytest.raises(ValueError):
            block(lib.ones(1))
        return seen

    agree(program)


def test_backward_hooks_see_and_change_the_same_gradients():
    def program(lib, nn):
        seen = []

        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(lib.tensor([2.0, 3.0]))

            def forward(self, x, n, y):
                return x * self.w * n, y + 1

        def numbers(grads):
            return [None if g is None else g.tolist() for g in grads]

        block = Two()
        block.register_full_backward_hook(lambda m, gi, go: seen.append((numbers(gi), numbers(go))))
        block.register_full_backward_hook(
            lambda m, gi, go: tuple(None if g is None else g * 10 for g in gi)
        )
        block.register_full_backward_pre_hook(lambda m, go: (go[0] * 2, go[1]))
        x = lib.tensor([1.0, 1.0], requires_grad=True)
        y = lib.tensor([1.0, 1.0])
        a, b = block(x, 3, y)
        (a.sum() + b.sum()).backward()
        return seen, x.grad.tolist(), block.w.grad.tolist()

    agree(program)


def test_backward_hooks_fire_without_gradients_of_the_inputs():
    def program(lib, nn):
        seen = []
        block = nn.Linear(2, 1, bias=False)
        block.weight.data = lib.tensor([[1.0, 2.0]])
        block.register_full_backward_hook(
            lambda m, gi, go: seen.append((gi, [g.tolist() for g in go]))
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            block(lib.ones(3, 2)).sum().backward()
        return seen, len(caught), block.weight.grad.tolist()

    agree(program)


def test_global_hooks_see_every_block():
    def program(lib, nn):
        module = nn.modules.module
        seen = []
        net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))

        def name(m):
            return type(m).__name__

        handles = [
            module.register_module_forward_pre_hook(lambda m, a: seen.append("pre " + name(m))),
            module.register_module_forward_hook(lambda m, a, out: seen.append("post " + name(m))),
            module.register_module_full_backward_hook(
                lambda m, gi, go: seen.append("back " + name(m))
            ),
            module.register_module_full_backward_pre_hook(
                lambda m, go: seen.append("before " + name(m))
            ),
            module.register_module_module_registration_hook(
                lambda m, n, child: seen.append("child " + n)
            ),
            module.register_module_parameter_registration_hook(
                lambda m, n, p: seen.append("parameter " + n)
            ),
            module.register_module_buffer_registration_hook(
                lambda m, n, p: seen.append("buffer " + n)
            ),
        ]
        try:
            net(lib.ones(2, requires_grad=True)).sum().backward()
            net.append(nn.Linear(1, 1))
            net.register_buffer("b", None)
        finally:
            for handle in handles:
                handle.remove()
        net[0](lib.ones(2))
        return seen

    agree(program)


def test_old_and_full_backward_hooks_do_not_mix():
    def program(lib, nn):
        block = nn.ReLU()
        block.register_full_backward_hook(lambda m, gi, go: None)
        return outcome(block.register_backward_hook, lambda m, gi, go: None)

    agree(program)


def test_copies_and_pickles_keep_everything_but_identity():
    def program(lib, nn):
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        net.append(net[0])
        net[0].weight.requires_grad_(False)
        net.eval()
        net.note = "kept"
        result = []
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            result.append(
                (
                    other,
                    other.note,
                    other.training,
                    other[0] is other[2],
                    other[0].weight is net[0].weight,
                    other[0].weight.requires_grad,
                    other[0].weight is other[0]._parameters["weight"],
                    bool((other[0].weight == net[0].weight).all()),
                    type(other[0].weight).__name__,
                )
            )
        return result

    agree(program)


def test_conversions_change_floating_values_only():
    def program(lib, nn):
        net = nn.Sequential(nn.Linear(2, 2))
        net.register_buffer("count", lib.tensor([1]))
        weight = net[0].weight
        kinds = []
        for convert in ("double", "half", "float", "bfloat16"):
            getattr(net, convert)()
            kinds.append((net[0].weight.dtype, net.count.dtype))
        net.to(lib.float64)
        net.to("cpu", lib.float32)
        net.to(lib.ones(1, dtype=lib.float64))
        net.to(device="cpu", dtype=lib.float32)
        net.cpu()
        kinds.append((net[0].weight.dtype, net[0].weight is weight, weight.is_leaf))
        net.to_empty(device="cpu")
        return kinds, net[0].weight.shape[0], net[0].weight is weight

    agree(program)


def test_gradients_are_converted_and_forgotten_alike():
    def program(lib, nn):
        net = nn.Linear(2, 2)
        net(lib.ones(1, 2)).sum().backward()
        net.double()
        dtype = net.weight.grad.dtype
        net.zero_grad(set_to_none=False)
        zeros = net.weight.grad.tolist()
        net.zero_grad()
        net.requires_grad_(False)
        return dtype, zeros, net.weight.grad, [p.requires_grad for p in net.parameters()]

    agree(program)


def test_apply_visits_children_first():
    def program(lib, nn):
        seen = []
        nest(nn).apply(lambda m: seen.append(type(m).__name__))
        return seen

    agree(program)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_functional_call_replaces_parameters_for_one_call():
    def program(lib, nn):
        call = nn.utils.stateless.functional_call
        net = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
        with lib.no_grad():
            net[0].weight.fill_(1.0)
            net[0].bias.fill_(0.0)
        given = {"0.weight": lib.tensor([[2.0, 3.0]], requires_grad=True)}
        out = call(net, given, (lib.ones(1, 2),))
        out.sum().backward()
        strict = outcome(call, net, given, (lib.ones(1, 2),), strict=True)[0]
        return (
            out.tolist(),
            given["0.weight"].grad.tolist(),
            net[0].weight.grad,
            net[0].weight.tolist(),
            strict,
        )

    agree(program)


def test_parameters_share_memory_and_print_alike():
    def program(lib, nn):
        data = lib.tensor([1.0, 2.0])
        p = nn.Parameter(data)
        data += 1
        q = nn.Parameter(data, requires_grad=False)
        buffer = nn.Buffer(data)
        return (
            p,
            q,
            nn.Parameter(),
            buffer,
            isinstance(buffer, nn.Buffer),
            isinstance(data, nn.Buffer),
            p.is_leaf,
            copy.deepcopy(q),
            pickle.loads(pickle.dumps(p)),
            outcome(nn.Parameter, lib.tensor([1])),
        )

    agree(program)


def test_lazy_parameters_know_nothing_but_their_type():
    def program(lib, nn):
        p = nn.UninitializedParameter(dtype=lib.float64)
        b = nn.UninitializedBuffer()
        before = [repr(x) for x in (p, b, copy.deepcopy(p))]
        before += [p.requires_grad, p.dtype, nn.parameter.is_lazy(p)]
        with pytest.raises(RuntimeError, match="Can't access the shape"):
            p.shape
        with pytest.raises(ValueError, match="uninitialized parameter"):
            p.exp()
        p.materialize((2, 3))
        return before, type(p).__name__, tuple(p.shape), p.dtype, p.requires_grad

    agree(program)
