"""The operators and blocks of PyTorch's sample data bases that kuai claims to have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FAMILIES: dict[str, tuple[str, ...]] = {
    "creation": tuple(
        """
        arange linspace logspace eye zeros ones full empty empty_like zeros_like ones_like
        full_like new_zeros new_ones new_full new_empty new_empty_strided empty_strided
        empty_permuted scalar_tensor randn randn_like rand_like randint randint_like normal
        bernoulli multinomial uniform exponential geometric cauchy log_normal zero_ fill clone
        contiguous to bfloat16 half float double char short int long byte bool item
        tril_indices triu_indices
        signal.windows.bartlett signal.windows.blackman signal.windows.cosine
        signal.windows.exponential signal.windows.gaussian signal.windows.general_cosine
        signal.windows.general_hamming signal.windows.hamming signal.windows.hann
        signal.windows.kaiser signal.windows.nuttall
        """.split()
    ),
    "elementwise": tuple(
        """
        abs neg positive sign sgn exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal square
        pow float_power sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh sinc
        sigmoid logit erf erfc erfinv floor ceil round trunc frac clamp clamp_min clamp_max
        maximum minimum fmax fmin fmod remainder floor_divide div true_divide add sub rsub mul
        lerp where addcmul addcdiv logaddexp logaddexp2 hypot copysign isnan isinf isposinf
        isneginf isfinite isreal isclose nan_to_num logical_and logical_or logical_xor logical_not
        bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift
        eq ne lt le gt ge equal allclose signbit heaviside deg2rad rad2deg xlogy lgamma digamma
        ldexp nextafter gcd lcm angle real conj conj_physical resolve_conj resolve_neg
        __radd__ __rsub__ __rmul__ __rdiv__ __rmod__ __rpow__ __rand__ __ror__ __rxor__
        special.entr special.erfcx special.ndtr special.ndtri special.log_ndtr special.xlog1py
        special.i0e special.i1 special.i1e i0 polygamma mvlgamma igamma igammac frexp
        special.chebyshev_polynomial_t special.chebyshev_polynomial_u
        special.chebyshev_polynomial_v special.chebyshev_polynomial_w
        special.shifted_chebyshev_polynomial_t special.shifted_chebyshev_polynomial_u
        special.shifted_chebyshev_polynomial_v special.shifted_chebyshev_polynomial_w
        special.hermite_polynomial_h special.hermite_polynomial_he special.laguerre_polynomial_l
        special.legendre_polynomial_p
        """.split()
    ),
    "reductions": tuple(
        """
        sum mean prod max min amax amin aminmax argmax argmin all any var std var_mean std_mean
        logsumexp norm median nanmedian nansum nanmean count_nonzero cumsum cumprod cummax cummin
        logcumsumexp mode quantile nanquantile dist trace diff sum_to_size trapezoid trapz
        cumulative_trapezoid renorm cov corrcoef gradient
        """.split()
    ),
    "movement": tuple(
        """
        reshape reshape_as view view_as flatten unflatten ravel squeeze unsqueeze transpose t
        permute movedim T mT H mH expand expand_as broadcast_to broadcast_tensors broadcast_shapes
        repeat repeat_interleave tile cat stack hstack vstack dstack column_stack block_diag split
        split_with_sizes unsafe_split chunk unsafe_chunk tensor_split hsplit vsplit dsplit unbind
        flip fliplr flipud roll rot90 narrow narrow_copy select diagonal diag diag_embed diagflat
        tril triu meshgrid atleast_1d atleast_2d atleast_3d as_strided unfold combinations
        cartesian_prod select_scatter slice_scatter diagonal_scatter as_strided_scatter
        alias_copy as_strided_copy diagonal_copy expand_copy permute_copy split_with_sizes_copy
        squeeze_copy t_copy transpose_copy unbind_copy unfold_copy unsqueeze_copy view_copy
        """.split()
    ),
    "indexing": tuple(
        """
        __getitem__ gather scatter scatter_add scatter_reduce index_select index_add index_copy
        index_fill index_put index_reduce masked_fill masked_select masked_scatter take_along_dim
        take put nonzero argwhere unravel_index
        """.split()
    ),
    "products": tuple(
        """
        matmul __rmatmul__ mm bmm mv dot vdot inner outer einsum tensordot addmm addmv addbmm
        baddbmm addr kron cross cdist matrix_exp cholesky cholesky_inverse cholesky_solve
        triangular_solve qr svd pinverse logdet
        linalg.norm linalg.vector_norm linalg.matrix_norm linalg.vecdot linalg.solve linalg.inv
        linalg.det linalg.slogdet linalg.cholesky linalg.qr linalg.svd linalg.svdvals linalg.eigh
        linalg.eigvalsh linalg.cross linalg.diagonal linalg.matrix_power linalg.multi_dot
        linalg.pinv linalg.matrix_rank linalg.solve_triangular linalg.cond linalg.lstsq
        linalg.inv_ex linalg.cholesky_ex linalg.solve_ex linalg.vander linalg.tensorinv
        linalg.tensorsolve linalg.lu linalg.lu_factor linalg.lu_factor_ex linalg.lu_solve lu
        lu_unpack lu_solve
        """.split()
    ),
    "ordering": tuple(
        """
        sort argsort msort topk kthvalue unique unique_consecutive bincount searchsorted bucketize
        isin histc
        """.split()
    ),
    "functional": tuple(
        """
        nn.functional.linear nn.functional.bilinear nn.functional.embedding nn.functional.dropout
        nn.functional.dropout2d nn.functional.dropout3d nn.functional.alpha_dropout
        nn.functional.feature_alpha_dropout nn.functional.layer_norm nn.functional.rms_norm
        nn.functional.normalize nn.functional.one_hot nn.functional.relu nn.functional.relu6
        nn.functional.leaky_relu nn.functional.prelu nn.functional.rrelu nn.functional.elu
        nn.functional.celu nn.functional.selu nn.functional.gelu nn.functional.glu
        nn.functional.silu nn.functional.mish nn.functional.hardshrink nn.functional.hardsigmoid
        nn.functional.hardswish nn.functional.hardtanh nn.functional.logsigmoid
        nn.functional.softmin nn.functional.softplus nn.functional.softshrink
        nn.functional.softsign nn.functional.tanhshrink nn.functional.threshold
        softmax log_softmax nn.functional.cosine_similarity nn.functional.pairwise_distance
        nn.functional.pdist
        """.split()
    ),
    "layers": tuple(
        """
        nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d
        nn.functional.conv_transpose1d nn.functional.conv_transpose2d
        nn.functional.conv_transpose3d nn.functional.max_pool1d nn.functional.max_pool2d
        nn.functional.max_pool3d nn.functional.avg_pool1d nn.functional.avg_pool2d
        nn.functional.avg_pool3d nn.functional.adaptive_avg_pool1d
        nn.functional.adaptive_avg_pool2d nn.functional.adaptive_avg_pool3d
        nn.functional.adaptive_max_pool1d nn.functional.adaptive_max_pool2d
        nn.functional.adaptive_max_pool3d nn.functional.batch_norm nn.functional.instance_norm
        nn.functional.group_norm nn.functional.scaled_dot_product_attention
        nn.functional.multi_head_attention_forward nn.functional.interpolate
        nn.functional.upsample_nearest nn.functional.upsample_bilinear nn.functional.unfold
        nn.functional.grid_sample grid_sampler_2d grid_sampler_3d nn.functional.max_unpool1d
        nn.functional.max_unpool2d nn.functional.max_unpool3d nn.functional.fractional_max_pool2d
        nn.functional.fractional_max_pool3d
        """.split()
    ),
    "losses": tuple(
        """
        nn.functional.mse_loss nn.functional.l1_loss nn.functional.smooth_l1_loss
        nn.functional.huber_loss nn.functional.cross_entropy nn.functional.nll_loss
        nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits
        nn.functional.kl_div nn.functional.gaussian_nll_loss nn.functional.poisson_nll_loss
        nn.functional.cosine_embedding_loss nn.functional.margin_ranking_loss
        nn.functional.hinge_embedding_loss nn.functional.triplet_margin_loss
        nn.functional.triplet_margin_with_distance_loss nn.functional.soft_margin_loss
        nn.functional.multi_margin_loss nn.functional.multilabel_margin_loss
        nn.functional.multilabel_soft_margin_loss nn.functional.ctc_loss
        """.split()
    ),
}

OPERATORS: tuple[str, ...] = tuple(name for family in FAMILIES.values() for name in family)

MODULES: tuple[str, ...] = tuple(
    """
    nn.Linear nn.Bilinear nn.Embedding nn.LayerNorm nn.RMSNorm nn.CELU nn.ELU nn.GELU nn.GLU
    nn.Hardshrink nn.Hardswish nn.Hardtanh nn.ReLU nn.LeakyReLU nn.ReLU6 nn.PReLU nn.SELU nn.SiLU
    nn.Sigmoid nn.LogSigmoid nn.Softmax nn.Softmax2d nn.LogSoftmax nn.Softmin nn.Softplus
    nn.Softshrink nn.Softsign nn.Tanh nn.Tanhshrink nn.Threshold nn.Mish
    nn.MSELoss nn.L1Loss nn.SmoothL1Loss nn.HuberLoss nn.CrossEntropyLoss nn.NLLLoss nn.BCELoss
    nn.BCEWithLogitsLoss nn.KLDivLoss nn.GaussianNLLLoss nn.PoissonNLLLoss nn.CosineEmbeddingLoss
    nn.MarginRankingLoss nn.HingeEmbeddingLoss nn.SoftMarginLoss nn.MultiMarginLoss
    nn.MultiLabelMarginLoss nn.MultiLabelSoftMarginLoss
    nn.Conv1d nn.Conv2d nn.Conv3d nn.ConvTranspose1d nn.ConvTranspose2d nn.ConvTranspose3d
    nn.LazyConv1d nn.LazyConv2d nn.LazyConv3d nn.LazyConvTranspose1d nn.LazyConvTranspose2d
    nn.LazyConvTranspose3d nn.MaxPool1d nn.MaxPool2d nn.MaxPool3d nn.AvgPool1d nn.AvgPool2d
    nn.AvgPool3d nn.AdaptiveAvgPool1d nn.AdaptiveAvgPool2d nn.AdaptiveAvgPool3d
    nn.AdaptiveMaxPool1d nn.AdaptiveMaxPool2d nn.AdaptiveMaxPool3d nn.BatchNorm1d nn.BatchNorm2d
    nn.BatchNorm3d nn.InstanceNorm1d nn.InstanceNorm2d nn.InstanceNorm3d nn.GroupNorm
    nn.MultiheadAttention nn.RNNCell nn.LSTMCell nn.GRUCell nn.RNN nn.LSTM nn.GRU
    nn.TransformerEncoderLayer nn.TransformerDecoderLayer nn.LPPool1d nn.LPPool2d nn.LPPool3d
    nn.FractionalMaxPool2d nn.FractionalMaxPool3d nn.CTCLoss nn.TransformerEncoder
    """.split()
)

# Their values are drawn at random: shapes and dtypes are compared, and values only where PyTorch
# itself gives the same ones for two seeds (a dropout that drops nothing).
RANDOM = frozenset(
    """
    randn randn_like rand_like randint randint_like normal bernoulli multinomial uniform
    exponential geometric cauchy log_normal nn.functional.dropout nn.functional.dropout2d
    nn.functional.dropout3d nn.functional.alpha_dropout nn.functional.feature_alpha_dropout
    nn.functional.rrelu nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d
    nn.functional.scaled_dot_product_attention nn.functional.multi_head_attention_forward
    """.split()
)

# Their values are whatever the memory held.
UNINITIALISED = frozenset(
    "empty empty_like new_empty new_empty_strided empty_strided empty_permuted".split()
)


def without_indices_of_ties(result: Any, sample: Any) -> Any:
    """Values, and of their indices only the shapes: equal values may stand in any order."""
    if sample.kwargs.get("stable") or not has_ties(sample.input):
        return result
    if isinstance(result, tuple):
        return (result[0], result[1] * 0)
    return result * 0


def has_ties(values: Any) -> bool:
    """Whether a value occurs twice."""
    return len(values.unique()) < values.numel()


def up_to_signs(result: Any, sample: Any) -> Any:
    """Singular vectors without their signs, which are free, but with the product that is not.

    Those of the null space are any basis of it: they are left out.
    """
    if not isinstance(result, tuple):
        return result
    U, S, V = result
    shapes = tuple(U.shape), tuple(V.shape)
    if "full_matrices" in sample.kwargs:
        V = V.mT
    U, V = U[..., : S.shape[-1]], V[..., : S.shape[-1]]
    return shapes, U.abs(), S, V.abs(), (U * S.unsqueeze(-2)) @ V.mT


def eigenvectors_up_to_signs(result: Any, sample: Any) -> Any:
    """Eigenvalues, and eigenvectors without their signs, which are free."""
    return result[0], result[1].abs()


# Results in which a library may choose, and what of them is not a matter of choice.
CHOICES: dict[str, Callable[[Any, Any], Any]] = {
    "kthvalue": without_indices_of_ties,
    "topk": without_indices_of_ties,
    "mode": without_indices_of_ties,
    "sort": without_indices_of_ties,
    "argsort": without_indices_of_ties,
    "svd": up_to_signs,
    "linalg.svd": up_to_signs,
    "linalg.eigh": eigenvectors_up_to_signs,
}

# Samples that are left out: operator, which of its samples, and why.
EXCLUDED_SAMPLES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "addbmm",
        lambda sample: tuple(sample.input.shape) != (5, 10),
        "PyTorch's addbmm_ resizes its tensor to the shape of the sum; kuai's in-place "
        "operations never change a shape",
    ),
    (
        "as_strided_scatter",
        lambda sample: sample.input.requires_grad,
        "PyTorch passes gradient to elements that were overwritten; kuai's gradient there is 0",
    ),
    (
        "cov",
        lambda sample: (
            sample.kwargs.get("aweights") is not None and sample.input.dtype.itemsize == 4
        ),
        "the gradient is 0 but for rounding, of which float32 leaves 3e-5",
    ),
)
