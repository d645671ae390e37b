"""scipy.special's functions at the ends of their domains: what SciPy says there, in every target and in the gradient."""

import numpy as np
import pytest
from compilers import ARRAY_TARGETS

import gradgen as gg

sp = pytest.importorskip("scipy.special")

FEW = np.array([0.0, 1.0, -1.0, 0.5, -0.5, -2.0, -7.0, 2.0, 3.0, 30.0, 3.7, -3.7, -0.25])
A, B = (v.ravel() for v in np.meshgrid(FEW, FEW))
ONE = ["exprel", "gammaln", "loggamma", "ndtr", "log_ndtr", "entr", "logit", "expit", "rgamma"]
TWO = ["binom", "poch", "rel_entr", "kl_div", "gammainc", "gammaincc", "pseudo_huber", "huber", "xlogy",
       "xlog1py", "boxcox", "inv_boxcox"]  # fmt: skip
CASES = dict.fromkeys(ONE, (FEW,)) | dict.fromkeys(TWO, (A, B))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_values_are_scipys(target):
    entries = {
        f"of_{name}": (getattr(sp, name), ["f64[n]"] * len(arrays))
        for name, arrays in CASES.items()
    }
    made = gg.module("special", entries, target=target)
    for name, arrays in CASES.items():
        with np.errstate(all="ignore"):
            found, expected = getattr(made, f"of_{name}")(*arrays), getattr(sp, name)(*arrays)
        if name == "poch":  # at a pole SciPy has no sign
            found = np.where(np.isinf(found), np.inf, found)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300, err_msg=name)


def test_slopes_next_to_what_is_left_out():
    """A finite value where only a neighbour has none: its slope is finite too."""
    slopes = gg.grad(lambda d, r: np.sum(sp.pseudo_huber(d, r)), wrt=(0, 1))
    d, r = slopes(np.array([0.0, 1.5]), np.array([2.0, 2.0]))
    np.testing.assert_allclose(d, [2.0, 0.4])
    np.testing.assert_allclose(r, [0.0, 1.2])
    by_z = gg.grad(lambda z: np.sum(sp.poch(z, 3.0)))(np.array([-7.0, -6.5]))
    z = np.array([-7.0, -6.5])
    np.testing.assert_allclose(by_z, 3 * z**2 + 6 * z + 2, rtol=1e-9)


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_zero_times_nan_is_nan_and_digamma_has_no_value_at_its_poles(target):
    x, y = np.array([0.0, 0.0, 0.0, 2.0]), np.array([np.nan, 0.0, -2.0, np.nan])
    for f in (sp.xlogy, sp.xlog1py, sp.rel_entr, sp.kl_div):
        with np.errstate(all="ignore"):
            found = gg.compile(f, "f64[n]", "f64[n]", target=target)(x, y)
            np.testing.assert_array_equal(found, f(x, y), err_msg=f.__name__)
    poles = np.array([-7.0, -1.0, -np.inf, 0.0, np.inf])
    with np.errstate(all="ignore"):
        found = gg.compile(sp.digamma, "f64[n]", target=target)(poles)
    np.testing.assert_array_equal(found, sp.digamma(poles))


@pytest.mark.parametrize("target", ARRAY_TARGETS)
def test_distributions_at_nan_and_with_parameters_they_do_not_have(target):
    """SciPy's answer is NaN, not the density of another distribution, nor none at all."""
    st = pytest.importorskip("scipy.stats")
    x = np.array([0.3, np.nan, 1.4, -0.5])
    k = np.array([1.0, np.nan, 0.0, 3.0])
    a = np.array([-0.4, 2.0, 0.0, -1.5])
    p = np.array([1.3, 0.5, -0.2, 1.1])
    good = np.full(4, 0.4)
    calls = {
        st.expon.logpdf: (x,), st.uniform.logpdf: (x,), st.halfnorm.logpdf: (x,), st.norm.cdf: (good, x, a),
        st.gamma.logpdf: (x, good), st.gamma.pdf: (good, a), st.invgamma.logpdf: (good, a), st.chi2.logpdf: (good, a),
        st.beta.logpdf: (x, good, good), st.beta.pdf: (good, a, good), st.lognorm.cdf: (good, a),
        st.poisson.logpmf: (k, good), st.poisson.pmf: (np.zeros(4), a), st.bernoulli.logpmf: (k, p),
        st.binom.pmf: (k, np.full(4, 5.0), p), st.binom.logpmf: (k, 0.0 * good, good), st.geom.logpmf: (k, p),
    }  # fmt: skip
    entries = {f"of_{i}": (f, ["f64[n]"] * len(args)) for i, (f, args) in enumerate(calls.items())}
    made = gg.module("distributions", entries, target=target)
    for i, (f, args) in enumerate(calls.items()):
        with np.errstate(all="ignore"):
            found = getattr(made, f"of_{i}")(*args)
            np.testing.assert_allclose(found, f(*args), rtol=1e-12, err_msg=str(i))
