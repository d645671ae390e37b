"""The product of matrices in emitted C: a packed kernel that keeps a tile of the result in registers, in plain C99.

A block of `a` and a strip of `b` are copied in the order in which they are read; a tile of ROWS x COLUMNS sums is then
collected in registers (one line per row: a form that gcc and clang turn into vector instructions for all of the widths): 8 rows
of two vectors where there are 32 registers (AVX-512), 4 rows of three where there are 16. The last columns go in a tile of one
vector where they fit into it: 20 columns cost 24 instead of 32.
The scheme is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (ACM TOMS 34, 2008). Small
products are three plain loops. Every sum adds its terms in order of depth, within blocks of DEPTH.
"""

from __future__ import annotations

from gradgen.types import BYTES, C_NAMES

DEPTH, HEIGHT = 128, 128
ROWS = (8, 4)  # with 32 vector registers of 64 bytes; with 16 of 32 bytes
COLUMNS = {"f64": (16, 12), "f32": (32, 24)}
FEW = {"f64": (8, 4), "f32": (16, 8)}  # columns of a narrow tile: one vector
NAMES = ("gemm", "gemm_tile", "gemm_narrow", "gemm_pack")


def gemm_name(dtype: str) -> str:
    return "gemmf" if dtype == "f32" else "gemm"


def reserved() -> list[str]:
    """Every name that the routines may define."""
    names = [f"{name}{suffix}" for name in NAMES for suffix in ("", "f")]
    words = ("ROWS", "COLUMNS", "FEW", "DEPTH", "HEIGHT", "SMALL", "UNROLL")
    return names + [f"GEMM{suffix}_{word}" for word in words for suffix in ("", "F")]


def stack_bytes(dtype: str) -> int:
    """Bytes of the copies that a call holds on the stack."""
    wide = COLUMNS[dtype][0]
    return BYTES[dtype] * (HEIGHT * DEPTH + wide * DEPTH + ROWS[0] * wide)


def gemm_text(dtype: str, parallel: bool, blas: str = "auto") -> str:
    """The definitions, callees first. blas="cblas": the product by cblas_dgemm or cblas_sgemm, declared here."""
    f = "f" if dtype == "f32" else ""
    zero = "0.0f" if f else "0.0"
    tiles = "".join(
        _TILE.replace("@TILE@", name).replace("@COLUMNS@", columns)
        for name, columns in (("gemm_tile", "GEMM_COLUMNS"), ("gemm_narrow", "GEMM_FEW"))
    )

    widths = "GEMM_COLUMNS = {}, GEMM_FEW = {}"

    def lines(text: str) -> str:
        few, many = (
            "\n".join(text.format(r=r) for r in rows)
            for rows in (range(ROWS[1]), range(ROWS[1], ROWS[0]))
        )
        return f"{few}\n#if GEMM_ROWS > {ROWS[1]}\n{many}\n#endif"

    words = {
        "@PRAGMA@\n": _PRAGMA if parallel else "",
        "@WIDE@": widths.format(COLUMNS[dtype][0], FEW[dtype][0]),
        "@NARROW@": widths.format(COLUMNS[dtype][1], FEW[dtype][1]),
        "@ROW_LINES@": lines("            s[{r}][j] += x[{r}] * y[j];"),
        "@COPY_LINES@": lines("        t[{r}][j] = s[{r}][j];"),
        "@ZERO_LINES@": lines("        s[{r}][j] = @ZERO@;"),
        "GEMM_": "GEMMF_" if f else "GEMM_",
        "@REAL@": C_NAMES[dtype],
        "@F@": f,
        "@ZERO@": zero,
        "@MANY@": str(ROWS[0]),
        "@FEW@": str(ROWS[1]),
        "@DEPTH@": str(DEPTH),
        "@HEIGHT@": str(HEIGHT // 4 if parallel else HEIGHT),  # enough blocks for a few threads
    }
    words |= {"@LETTER@": "s" if f else "d", "@ONE@": "1.0f" if f else "1.0"}
    text = _CBLAS if blas == "cblas" else f"{_PACK}{tiles}{_PRODUCT}"
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return text


_PRAGMA = """\
#if defined(_OPENMP)
#pragma omp parallel for if (m * n * k > 500000)
#endif
"""
_PACK = """\
#if defined(__GNUC__) && !defined(__clang__)
#define GEMM_UNROLL _Pragma("GCC unroll 32") /* s is in registers from the start to the end */
#else
#define GEMM_UNROLL
#endif
#if defined(__AVX512F__) /* a tile of sums, in registers: as many as there are, but for a few */
#define GEMM_ROWS @MANY@
enum { @WIDE@ };
#else
#define GEMM_ROWS @FEW@
enum { @NARROW@ };
#endif
enum { GEMM_DEPTH = @DEPTH@, GEMM_HEIGHT = @HEIGHT@, GEMM_SMALL = 4096 };

/* to[p][r] = x[r * across + p * along] for `used` of `width` r; the others are 0. */
static void gemm_pack@F@(int64_t width, int64_t used, int64_t depth, const @REAL@ *x,
    int64_t across, int64_t along, @REAL@ *restrict to)
{
    if (used == width && across == 1) {
        for (int64_t p = 0; p < depth; p++)
            for (int64_t r = 0; r < width; r++)
                to[p * width + r] = x[p * along + r];
    } else {
        for (int64_t p = 0; p < depth; p++)
            for (int64_t r = 0; r < width; r++)
                to[p * width + r] = r < used ? x[p * along + r * across] : @ZERO@;
    }
}

"""
_TILE = """\
/* to = a b (with add: to += a b) of packed strips; `rows` x `columns` of it are stored. */
static void @TILE@@F@(int64_t depth, const @REAL@ *restrict a, const @REAL@ *restrict b,
    int64_t rows, int64_t columns, int add, @REAL@ *restrict to, int64_t to_row)
{
    @REAL@ s[GEMM_ROWS][@COLUMNS@];
    @REAL@ t[GEMM_ROWS][@COLUMNS@];
    GEMM_UNROLL
    for (int j = 0; j < @COLUMNS@; j++) {
@ZERO_LINES@
    }
    for (int64_t p = 0; p < depth; p++) {
        const @REAL@ *x = a + p * GEMM_ROWS;
        const @REAL@ *y = b + p * @COLUMNS@;
        for (int j = 0; j < @COLUMNS@; j++) {
@ROW_LINES@
        }
    }
    GEMM_UNROLL
    for (int j = 0; j < @COLUMNS@; j++) {
@COPY_LINES@
    }
    if (rows == GEMM_ROWS && columns == @COLUMNS@ && !add) {
        for (int i = 0; i < GEMM_ROWS; i++)
            for (int j = 0; j < @COLUMNS@; j++)
                to[i * to_row + j] = t[i][j];
    } else {
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                to[i * to_row + j] = add ? to[i * to_row + j] + t[i][j] : t[i][j];
    }
}

"""
_PRODUCT = """\
/* c = a b, m x k times k x n; rows of a are a_row elements apart, its columns a_column. */
static void gemm@F@(int64_t m, int64_t n, int64_t k, const @REAL@ *a, int64_t a_row,
    int64_t a_column, const @REAL@ *b, int64_t b_row, int64_t b_column, @REAL@ *restrict c,
    int64_t c_row)
{
    if (k == 0 || m * n * k < GEMM_SMALL) {
        for (int64_t i = 0; i < m; i++) {
            for (int64_t j = 0; j < n; j++)
                c[i * c_row + j] = @ZERO@;
            for (int64_t p = 0; p < k; p++)
                for (int64_t j = 0; j < n; j++)
                    c[i * c_row + j] += a[i * a_row + p * a_column] * b[p * b_row + j * b_column];
        }
        return;
    }
@PRAGMA@
    for (int64_t i0 = 0; i0 < m; i0 += GEMM_HEIGHT) {
        const int64_t height = m - i0 < GEMM_HEIGHT ? m - i0 : GEMM_HEIGHT;
        @REAL@ left[GEMM_HEIGHT * GEMM_DEPTH];
        @REAL@ right[GEMM_COLUMNS * GEMM_DEPTH];
        for (int64_t p0 = 0; p0 < k; p0 += GEMM_DEPTH) {
            const int64_t depth = k - p0 < GEMM_DEPTH ? k - p0 : GEMM_DEPTH;
            for (int64_t i = 0; i < height; i += GEMM_ROWS)
                gemm_pack@F@(GEMM_ROWS, height - i < GEMM_ROWS ? height - i : GEMM_ROWS, depth,
                    a + (i0 + i) * a_row + p0 * a_column, a_row, a_column, left + i * GEMM_DEPTH);
            for (int64_t j = 0; j < n; j += GEMM_COLUMNS) {
                const int64_t columns = n - j < GEMM_COLUMNS ? n - j : GEMM_COLUMNS;
                const int few = columns <= GEMM_FEW;
                gemm_pack@F@(few ? GEMM_FEW : GEMM_COLUMNS, columns, depth,
                    b + p0 * b_row + j * b_column, b_column, b_row, right);
                for (int64_t i = 0; i < height; i += GEMM_ROWS) {
                    const @REAL@ *strip = left + i * GEMM_DEPTH;
                    const int64_t rows = height - i < GEMM_ROWS ? height - i : GEMM_ROWS;
                    @REAL@ *to = c + (i0 + i) * c_row + j;
                    if (few)
                        gemm_narrow@F@(depth, strip, right, rows, columns, p0 > 0, to, c_row);
                    else
                        gemm_tile@F@(depth, strip, right, rows, columns, p0 > 0, to, c_row);
                }
            }
        }
    }
}"""
# 101 is row-major, 111 as it is, 112 transposed (the enumerators of cblas.h).
_CBLAS = """\
/* Of any BLAS: link with -lopenblas, -lcblas or -lblas. */
void cblas_@LETTER@gemm(int order, int turn_a, int turn_b, int m, int n, int k, @REAL@ alpha,
    const @REAL@ *a, int lda, const @REAL@ *b, int ldb, @REAL@ beta, @REAL@ *c, int ldc);

/* c = a b, m x k times k x n; rows of a are a_row elements apart, its columns a_column. */
static void gemm@F@(int64_t m, int64_t n, int64_t k, const @REAL@ *a, int64_t a_row,
    int64_t a_column, const @REAL@ *b, int64_t b_row, int64_t b_column, @REAL@ *restrict c,
    int64_t c_row)
{
    const int turn_a = a_column != 1;
    const int turn_b = b_column != 1;
    const int64_t lda = turn_a ? a_column : a_row;
    const int64_t ldb = turn_b ? b_column : b_row;
    const int64_t most = INT32_MAX;
    if (m > 0 && n > 0 && k > 0 && (a_row == 1 || a_column == 1) && (b_row == 1 || b_column == 1) &&
        lda >= (turn_a ? m : k) && ldb >= (turn_b ? k : n) && m <= most && n <= most && k <= most &&
        lda <= most && ldb <= most && c_row <= most) {
        cblas_@LETTER@gemm(101, turn_a ? 112 : 111, turn_b ? 112 : 111, (int)m, (int)n, (int)k,
            @ONE@, a, (int)lda, b, (int)ldb, @ZERO@, c, (int)c_row);
        return;
    }
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++)
            c[i * c_row + j] = @ZERO@;
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < n; j++)
                c[i * c_row + j] += a[i * a_row + p * a_column] * b[p * b_row + j * b_column];
    }
}"""
