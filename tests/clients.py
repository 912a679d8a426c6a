"""What test_clients.py runs in processes of their own: packages that are large, or set up once.

Each function raises AssertionError where a package does not take arrays as they are.
"""

import importlib
import operator
import re
import sys
import warnings
from pathlib import Path

import numpy as np

import lazyarray as la

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


def words(*text):
    """Names in one text."""
    return " ".join(text).split()


def on(function, then=None, **options):
    """A call of `function` with options, of whose result `then` takes a part."""
    return lambda *given: (then or (lambda found: found))(function(*given, **options))


def arrays(tree):
    """NumPy arrays as lazyarray's, in lists and tuples."""
    if isinstance(tree, list | tuple):
        return type(tree)(arrays(part) for part in tree)
    return la.asarray(tree) if isinstance(tree, np.ndarray) else tree


def alike(found, wanted, name, strictly=True):
    """Raise unless results are close, and arrays where NumPy's are."""
    if isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), name
        for f, w in zip(found, wanted, strict=True):
            alike(f, w, name, strictly)
        return
    if isinstance(wanted, np.ndarray):
        assert not strictly or type(found) is la.Array, (name, type(found))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7, err_msg=name)


def compare(calls, strictly=True):
    """Call each with NumPy's arrays and with lazyarray's; every failure is told."""
    wrong = []
    for name, (call, *given) in calls.items():
        try:
            alike(call(*arrays(given)), call(*given), name, strictly)
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


# ---- the page

PAGE = Path(__file__).parent.parent / "docs" / "clients.md"
ROW = re.compile(r"^\| ([\w -]+) \| `(.+?)` \| ", re.MULTILINE)
MODULES = {
    "array-api-compat": ["array_api_compat"],
    "Dask": ["dask.array"],
    "JAX": ["jax.numpy"],
    "matplotlib": ["matplotlib.figure"],
    "Numba": ["numba"],
    "NumPy": ["numpy"],
    "Pillow": ["PIL.Image"],
    "safetensors": ["safetensors.numpy"],
    "SciPy": ["scipy.special"],
    "scikit-learn": ["sklearn.preprocessing"],
}
DOCUMENTED = dict(ROW.findall(PAGE.read_text()))


def documented(package):
    """Run a package's line on the page."""
    names = {"np": np, "la": la, "a": la.asarray(normal(8, 6))}
    for module in MODULES.get(package, [package]):
        importlib.import_module(module)
        names[module.partition(".")[0]] = sys.modules[module.partition(".")[0]]
    return eval(DOCUMENTED[package], names)


# ---- torch, JAX


def torch():
    import torch

    a = la.asarray(np.arange(12.0).reshape(3, 4)) + 0.0
    t = torch.from_dlpack(a)
    assert t.data_ptr() == np.asarray(a).ctypes.data
    t[0, 0] = 7
    assert a[0, 0] == 7
    a[1] += 5
    assert t[1].tolist() == [9, 10, 11, 12]
    total = a.sum()
    t.zero_()
    assert (float(total), float(a.sum())) == (93, 0)
    source = torch.arange(5.0)
    b = la.from_dlpack(source)
    assert b.dtype == np.float32
    b[1] = 9
    source[2] = 8
    assert (source.tolist(), b.tolist()) == ([0, 9, 8, 3, 4], [0, 9, 8, 3, 4])
    c = b * 2  # reads before the next write
    source.fill_(1)
    assert (c.tolist(), b.sum()) == ([0, 18, 16, 6, 8], 5)
    part = torch.from_dlpack(a[1:, ::2])  # strides go along
    a[1, 2] = 3
    assert (tuple(part.shape), float(part[0, 1])) == ((2, 2), 3)
    for kind in ("int8", "uint8", "int64", "bool", "float16", "complex64"):
        made = la.ones(2, dtype=kind)
        assert la.from_dlpack(torch.from_dlpack(made)).dtype == made.dtype
    assert torch.as_tensor(np.asarray(a)).shape == (3, 4)
    assert type(a + torch.ones(4, dtype=torch.float64)) is la.Array
    assert type(torch.ones(4, dtype=torch.float64) * a) is la.Array
    model = torch.nn.Linear(4, 2).double()
    assert la.asarray(model(torch.from_dlpack(a)).detach()).shape == (3, 2)
    assert documented("torch").shape == (8, 6)


def jax():
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    a = la.asarray(np.arange(1024.0)) * 1
    x = jnp.from_dlpack(a)
    assert x.unsafe_buffer_pointer() == np.asarray(a).ctypes.data
    np.testing.assert_array_equal(jnp.sin(x), np.sin(np.arange(1024.0)))
    y = jnp.arange(1024.0) + 1
    b = la.from_dlpack(y)
    assert np.asarray(b).ctypes.data == y.unsafe_buffer_pointer()
    assert not b.flags.writeable
    assert float((b + a).sum()) == 1024**2
    assert jnp.asarray(a[:3]).tolist() == [0, 1, 2]
    assert type(a + jnp.ones(1024)) is la.Array or isinstance(a + jnp.ones(1024), jax.Array)
    out = jax.jit(lambda v: (v * 2).sum())(np.asarray(a))
    assert float(out) == 1024 * 1023
    assert documented("JAX").shape == (8, 6)


# ---- SciPy: SCIPY_ARRAY_API=1


def scipy():
    import scipy.cluster.vq as vq
    import scipy.differentiate as differentiate
    import scipy.fft as fft
    import scipy.integrate as integrate
    import scipy.ndimage as ndimage
    import scipy.optimize.elementwise as roots
    import scipy.signal as signal
    import scipy.special as special
    import scipy.stats as stats
    from scipy.spatial.transform import Rotation

    x, y, pos = normal(40), normal(40) + 1, abs(normal(40)) + 0.1
    table, image, b, a = (
        normal(4, 6),
        normal(6, 6),
        np.array([1.0, 2, 1]),
        np.array([1.0, 0.2, 0.1]),
    )
    sos = np.array([[1.0, 2, 1, 1, 0.1, 0.2]])
    pvalue = operator.attrgetter("pvalue")
    calls = {}
    for name in words("erf erfc gammaln expit logit ndtr ndtri i0 i0e i1 i1e log_ndtr entr"):
        calls[f"special.{name}"] = getattr(special, name), pos / 10
    for name in words("xlogy rel_entr gammainc gammaincc"):
        calls[f"special.{name}"] = getattr(special, name), pos, pos[::-1].copy()
    for name in words("logsumexp softmax log_softmax"):
        calls[f"special.{name}"] = on(getattr(special, name), axis=1), table
    for name in words(
        "zscore skew kurtosis gmean hmean variation sem kstat kstatvar circmean circstd entropy",
        "rankdata tmean tvar tmin iqr gstd lmoment",
    ):
        calls[f"stats.{name}"] = getattr(stats, name), pos
    for name in words(
        "ttest_ind ttest_rel pearsonr bartlett f_oneway mannwhitneyu wilcoxon brunnermunzel"
    ):
        calls[f"stats.{name}"] = on(getattr(stats, name), pvalue), x, y
    for name in words("jarque_bera skewtest kurtosistest normaltest chisquare power_divergence"):
        calls[f"stats.{name}"] = on(getattr(stats, name), pvalue), pos
    calls["stats.pearsonr constant"] = on(stats.pearsonr, pvalue), x, np.ones(40)
    calls["stats.f_oneway constant"] = on(stats.f_oneway, pvalue), np.zeros(5), np.ones(5)
    calls["stats.ttest_1samp"] = on(stats.ttest_1samp, pvalue, popmean=0.0), x
    for name in words("fft ifft rfft hfft fft2 fftn rfftn ifftn dct idct dst dctn fftshift"):
        calls[f"fft.{name}"] = on(getattr(fft, name), abs), table
    calls |= {
        "stats.pmean": (lambda v: stats.pmean(v, 2), pos),
        "stats.moment": (lambda v: stats.moment(v, 3), x),
        "stats.describe": (lambda v: stats.describe(v).variance, x),
        "stats.zmap": (stats.zmap, x, y),
        "stats.quantile": (lambda v: stats.quantile(v, 0.3), x),
        "stats.mode": (lambda v: stats.mode(v).mode, np.array([3, 1, 3])),
        "stats.directional_stats": (
            lambda v: stats.directional_stats(v).mean_direction,
            normal(9, 3),
        ),
    }
    calls |= {
        "signal.convolve": (signal.convolve, x, b),
        "signal.fftconvolve": (signal.fftconvolve, x, b),
        "signal.oaconvolve": (signal.oaconvolve, x, b),
        "signal.correlate": (signal.correlate, x, b),
        "signal.lfilter": (signal.lfilter, b, a, x),
        "signal.filtfilt": (signal.filtfilt, b, a, x),
        "signal.sosfilt": (signal.sosfilt, sos, x),
        "signal.sosfiltfilt": (signal.sosfiltfilt, sos, x),
        "signal.detrend": (signal.detrend, x),
        "signal.hilbert": (lambda v: abs(signal.hilbert(v)), x),
        "signal.savgol_filter": (lambda v: signal.savgol_filter(v, 5, 2), x),
        "signal.resample": (lambda v: signal.resample(v, 20), x),
        "signal.resample_poly": (lambda v: signal.resample_poly(v, 1, 2), x),
        "signal.medfilt": (signal.medfilt, x),
        "signal.freqz": (lambda v, w: abs(signal.freqz(v, w)[1]), b, a),
        "ndimage.gaussian_filter": (lambda v: ndimage.gaussian_filter(v, 1), image),
        "ndimage.uniform_filter": (lambda v: ndimage.uniform_filter(v, 3), image),
        "ndimage.median_filter": (lambda v: ndimage.median_filter(v, 3), image),
        "ndimage.sobel": (ndimage.sobel, image),
        "ndimage.label": (lambda v: ndimage.label(v > 0)[0], image),
        "ndimage.zoom": (lambda v: ndimage.zoom(v, 2), image),
        "ndimage.rotate": (lambda v: ndimage.rotate(v, 30), image),
        "ndimage.binary_dilation": (lambda v: ndimage.binary_dilation(v > 0), image),
        "ndimage.distance_transform_edt": (lambda v: ndimage.distance_transform_edt(v > 0), image),
        "integrate.trapezoid": (integrate.trapezoid, x),
        "integrate.cumulative_trapezoid": (integrate.cumulative_trapezoid, x),
        "integrate.cumulative_simpson": (lambda v: integrate.cumulative_simpson(v), x),
        "optimize.find_root": (lambda u, v: roots.find_root(lambda z: z * z - 2.0, (u, v)).x,
                               np.array(0.0), np.array(2.0)),
        "differentiate.jacobian": (lambda v: differentiate.jacobian(lambda z: z**2, v).df, x[:3]),
        "cluster.whiten": (vq.whiten, table),
        "spatial.Rotation": (lambda v: Rotation.from_quat(v).as_matrix(), normal(4)),
    }  # fmt: skip
    compare(calls)
    assert type(fft.fftfreq(5, xp=la)) is la.Array
    assert type(signal.get_window("hann", 8, xp=la)) is la.Array
    assert type(documented("SciPy")) is la.Array


# ---- scikit-learn: SCIPY_ARRAY_API=1


def sklearn():
    import sklearn
    from sklearn import metrics, preprocessing
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Lasso, Ridge, RidgeClassifier, RidgeCV
    from sklearn.mixture import GaussianMixture
    from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline

    x = normal(60, 5)
    y = x @ normal(5) + 0.1 * normal(60)
    classes, three = (y > 0).astype(np.int64), np.digitize(y, [-1, 1])
    guesses, pos = classes.copy(), abs(y) + 0.1
    guesses[::5] ^= 1
    ridge = Ridge(solver="svd")

    def projected(v, **options):
        model = PCA(3, random_state=0, **options)
        found = model.fit_transform(v)
        return [abs(found), abs(model.components_), model.explained_variance_ratio_,
                model.inverse_transform(found)]  # fmt: skip

    def fitted(v, w):
        model = Ridge(solver="svd").fit(v, w)
        return [model.coef_, model.predict(v)]

    calls = {
        f"preprocessing.{name}": (getattr(preprocessing, name)().fit_transform, x)
        for name in ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "Normalizer", "Binarizer",
                     "PolynomialFeatures")
    }  # fmt: skip
    calls |= {
        "LabelEncoder": (lambda v: preprocessing.LabelEncoder().fit_transform(v), three),
        "LabelBinarizer": (lambda v: preprocessing.LabelBinarizer().fit_transform(v), three),
        "PCA full": (lambda v: projected(v, svd_solver="full"), x),
        "PCA covariance": (lambda v: projected(v, svd_solver="covariance_eigh"), x),
        "PCA randomized": (lambda v: projected(v, svd_solver="randomized",
                                               power_iteration_normalizer="QR"), x),
        "Ridge": (fitted, x, y),
        "RidgeCV": (lambda v, w: RidgeCV().fit(v, w).predict(v), x, y),
        "RidgeClassifier": (lambda v, w: RidgeClassifier(solver="svd").fit(v, w).predict(v), x,
                            classes),
        "LinearDiscriminantAnalysis": (
            lambda v, w: LinearDiscriminantAnalysis(solver="svd").fit(v, w).predict_proba(v), x,
            three),
        "GaussianNB": (lambda v, w: GaussianNB().fit(v, w).predict_proba(v), x, three),
        "GaussianMixture": (lambda v: GaussianMixture(2, init_params="random", random_state=0)
                            .fit(v).score(v), x),
        "pipeline": (lambda v, w: make_pipeline(preprocessing.StandardScaler(), PCA(3), ridge)
                     .fit(v, w).predict(v), x, y),
        "cross_val_predict": (lambda v, w: cross_val_predict(ridge, v, w), x, y),
        "GridSearchCV": (lambda v, w: GridSearchCV(ridge, {"alpha": [0.1, 1]}).fit(v, w).predict(v),
                         x, y),
        "train_test_split": (lambda v, w: train_test_split(v, w, random_state=0), x, y),
    }  # fmt: skip
    for names, pair in (
        ("accuracy_score zero_one_loss confusion_matrix f1_score precision_score recall_score "
         "jaccard_score balanced_accuracy_score matthews_corrcoef cohen_kappa_score hamming_loss "
         "multilabel_confusion_matrix roc_auc_score", (classes, guesses)),
        ("r2_score mean_squared_error mean_absolute_error explained_variance_score max_error "
         "mean_absolute_percentage_error median_absolute_error mean_pinball_loss "
         "d2_absolute_error_score mean_tweedie_deviance", (y, y * 1.1)),
        ("mean_gamma_deviance mean_poisson_deviance mean_squared_log_error", (pos, pos * 1.1)),
        ("log_loss brier_score_loss roc_curve precision_recall_curve average_precision_score",
         (classes, np.clip(abs(normal(60)) / 3, 0.01, 0.99))),
    ):  # fmt: skip
        for name in names.split():
            calls[f"metrics.{name}"] = getattr(metrics, name), *pair
    for name in words(
        "cosine_similarity linear_kernel polynomial_kernel rbf_kernel sigmoid_kernel"
    ):
        calls[f"metrics.pairwise.{name}"] = getattr(metrics.pairwise, name), x, x[::-1].copy()
    with sklearn.config_context(array_api_dispatch=True):
        compare(calls)
        assert type(documented("scikit-learn")) is la.Array
    # Without dispatch they are converted, as every array-like.
    compare({"KMeans": (lambda v: KMeans(2, random_state=0).fit(v).cluster_centers_, x),
             "Lasso": (lambda v, w: Lasso(0.1).fit(v, w).coef_, x, y)}, strictly=False)  # fmt: skip


# ---- import order


def imported_later():
    """Packages that are told of arrays when they are imported after lazyarray."""
    assert not {"einops", "dask"} & sys.modules.keys()
    import dask.array
    import einops

    assert type(einops.rearrange(la.ones((2, 3)), "a b -> b a")) is la.Array
    chunks = dask.array.from_array(la.ones(4), chunks=2, asarray=False)
    assert isinstance(la.ones(4) + chunks, dask.array.Array)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the packages' own
    globals()[sys.argv[1]]()
