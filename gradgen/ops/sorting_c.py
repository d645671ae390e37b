"""Order in C: static functions that emitted files define when they use them. NaN comes last, as in NumPy."""

from __future__ import annotations

from gradgen.ops.helpers import Helper, enter

enter(Helper(
    "merge_argsort", (), "order becomes the stable order of x, by merging runs of 1, 2, 4, ... from one array into the other.",
    signature="int64_t n, const double *x, int64_t *order, int64_t *room",
    result="void",
    c="""int64_t *from = order;
int64_t *to = room;
for (int64_t i = 0; i < n; i++)
    order[i] = i;
for (int64_t run = 1; run < n; run *= 2) {
    int64_t *const swap = from;
    for (int64_t start = 0; start < n; start += 2 * run) {
        const int64_t middle = start + run < n ? start + run : n;
        const int64_t end = middle + run < n ? middle + run : n;
        int64_t i = start;
        int64_t j = middle;
        for (int64_t k = start; k < end; k++) {
            int later = i == middle;
            if (i < middle && j < end) {
                const double a = x[from[i]];
                const double b = x[from[j]];
                later = b < a || (a != a && b == b);
            }
            to[k] = later ? from[j] : from[i];
            j += later;
            i += !later;
        }
    }
    from = to;
    to = swap;
}
for (int64_t i = 0; i < n && from != order; i++)
    order[i] = from[i];
""",
))  # fmt: skip
for _side, _before, _words in (
    ("left", "a[middle] < x || (x != x && a[middle] == a[middle])", "less than"),
    ("right", "a[middle] <= x || x != x", "at most"),
):
    enter(Helper(
        f"bisect_{_side}", (), f"at becomes the numbers of elements of the sorted a that are {_words} each v.",
        signature="int64_t n, int64_t m, const double *a, const double *v, int64_t *at",
        result="void",
        c=f"""for (int64_t k = 0; k < m; k++) {{
    const double x = v[k];
    int64_t low = 0;
    int64_t high = n;
    while (low < high) {{
        const int64_t middle = low + (high - low) / 2;
        if ({_before})
            low = middle + 1;
        else
            high = middle;
    }}
    at[k] = low;
}}
""",
    ))  # fmt: skip
