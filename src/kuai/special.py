"""Special functions, as in `torch.special`."""

from kuai.ops import (
    digamma,
    erf,
    erfc,
    erfinv,
    exp2,
    expm1,
    i0,
    i1,
    log1p,
    log_softmax,
    logit,
    logsumexp,
    polygamma,
    round,
    sinc,
    softmax,
    xlog1py,
    xlogy,
)
from kuai.ops import digamma as psi
from kuai.ops import lgamma as gammaln
from kuai.ops import mvlgamma as multigammaln
from kuai.ops import sigmoid as expit
from kuai.ops.arguments import explain_all
from kuai.ops.special import (
    entr,
    erfcx,
    gammainc,
    gammaincc,
    i0e,
    i1e,
    log_ndtr,
    ndtr,
    ndtri,
    zeta,
)

__all__ = [
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammainc",
    "gammaincc",
    "gammaln",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "log1p",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "round",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
    "zeta",
]

explain_all(globals(), __all__)
