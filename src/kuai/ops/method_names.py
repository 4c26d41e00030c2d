"""Which functions are methods of `Tensor`, under the same name, and which have in-place forms."""

from __future__ import annotations

METHODS: tuple[str, ...] = tuple(
    """
    abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr adjoint all allclose amax
    amin aminmax angle any arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin
    argsort argwhere as_strided as_strided_scatter asin asinh atan atan2 atanh baddbmm bernoulli
    bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor
    bmm broadcast_to bucketize ceil cholesky cholesky_inverse cholesky_solve chunk clamp clamp_max
    clamp_min clip clone conj conj_physical copysign corrcoef cos cosh count_nonzero cov cross
    cummax cummin cumprod cumsum deg2rad det diag diag_embed diagflat diagonal diagonal_scatter diff
    digamma dist div divide dot dsplit eq equal erf erfc erfinv exp exp2 expand expand_as expm1 fix
    flatten flip fliplr flipud float_power floor floor_divide fmax fmin fmod frac frexp gather gcd
    ge ger greater greater_equal gt hardshrink heaviside histc histogram hsplit hypot i0 igamma
    igammac index_add index_copy index_fill index_put index_reduce index_select inner inverse
    isclose isfinite isin isinf isnan isneginf isposinf isreal kron kthvalue lcm ldexp le lerp less
    less_equal lgamma log log10 log1p log2 log_softmax logaddexp logaddexp2 logcumsumexp logdet
    logical_and logical_not logical_or logical_xor logit logsumexp lu lu_solve lt masked_fill
    masked_scatter masked_select matmul matrix_exp matrix_power max maximum mean median min minimum
    mm mode moveaxis movedim msort mul multinomial multiply mv mvlgamma nan_to_num nanmean nanmedian
    nanquantile nansum narrow narrow_copy ne neg negative nextafter nonzero norm not_equal numel
    orgqr outer permute pinverse polygamma positive pow prelu prod put qr quantile rad2deg ravel
    reciprocal relu remainder renorm repeat repeat_interleave resolve_conj resolve_neg reshape
    reshape_as roll rot90 round rsqrt scatter scatter_add scatter_reduce select select_scatter sgn
    sigmoid sign signbit sin sinc sinh slice_scatter slogdet softmax sort split split_with_sizes
    sqrt square squeeze std sub subtract sum sum_to_size svd swapaxes swapdims t take take_along_dim
    tan tanh tensor_split tile topk trace transpose triangular_solve tril triu true_divide trunc
    type_as unbind unflatten unfold unique unique_consecutive unsafe_chunk unsafe_split
    unsafe_split_with_sizes unsqueeze var vdot view view_as vsplit xlogy
    """.split()
)

IN_PLACE: tuple[str, ...] = tuple(
    """
    abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr arccos arccosh arcsin
    arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh baddbmm bitwise_and
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil clamp clamp_max
    clamp_min clip conj_physical copysign cos cosh cumprod cumsum deg2rad digamma div divide eq erf
    erfc erfinv exp exp2 expm1 fix float_power floor floor_divide fmod frac gcd ge greater
    greater_equal gt heaviside hypot i0 igamma igammac index_add index_copy index_fill index_put
    index_reduce lcm ldexp le lerp less less_equal lgamma log log10 log1p log2 logical_and
    logical_not logical_or logical_xor logit lt masked_fill masked_scatter mul multiply mvlgamma
    nan_to_num ne neg negative nextafter not_equal polygamma pow put rad2deg reciprocal relu
    remainder renorm round rsqrt scatter scatter_add scatter_reduce sgn sigmoid sign sin sinc sinh
    sqrt square sub subtract tan tanh tril triu true_divide trunc xlogy
    """.split()
)

IN_PLACE_VIEWS: tuple[str, ...] = (
    "as_strided",
    "squeeze",
    "swapaxes",
    "swapdims",
    "t",
    "transpose",
    "unsqueeze",
)

IN_PLACE_OPERATORS: dict[str, str] = {
    "__iadd__": "plus",
    "__isub__": "sub",
    "__imul__": "mul",
    "__itruediv__": "quotient",
    "__ifloordiv__": "floor_divide",
    "__imod__": "remainder",
    "__ipow__": "pow",
    "__iand__": "bitwise_and",
    "__ior__": "bitwise_or",
    "__ixor__": "bitwise_xor",
    "__ilshift__": "bitwise_left_shift",
    "__irshift__": "bitwise_right_shift",
}
