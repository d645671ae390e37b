"""Colours for the columns of a matrix, so that one derivative along a sum of directions gives all of a colour at once.

    column_colours(pattern, n)      columns of a colour share no row (Curtis, Powell and Reid, J. Inst. Maths Applics 13, 1974):
                                    entry (i, j) is element i of the derivative along colour[j]
    star_colours(pattern)           for a symmetric matrix, fewer: any path of four vertices has three colours (Coleman and
                                    More, Math. Prog. 28, 1984), so entry (i, j) can be read as itself or as (j, i)

What these problems need is the survey of Gebremedhin, Manne and Pothen, What Color Is Your Jacobian?, SIAM Review 47,
2005. Both are greedy: the first colour that is free. Sets of colours are the bits of an integer.
"""

from __future__ import annotations

import heapq

import numpy as np

from gradgen.sparse.sets import Pattern

SHORT = 64  # entries of a row whose columns are told of each other's colours at once


def column_colours(pattern: Pattern, columns: int) -> np.ndarray:
    """A colour for each column; those of no entries get the first.

    The next column is the one whose neighbours have most colours already (Brelaz, Comm. ACM 22, 1979), then that of most
    entries: five colours for a five-point stencil, where plain orders give seven. The colours in long rows are looked up when
    a column's turn has come, so that the work is of the order of the entries.
    """
    by_column = pattern.transpose(columns)
    starts, rows = by_column.indptr.tolist(), by_column.indices.tolist()
    firsts, cols = pattern.indptr.tolist(), pattern.indices.tolist()
    short = (np.diff(pattern.indptr) <= SHORT).tolist()
    size = np.diff(by_column.indptr).tolist()
    taken = [0] * pattern.rows  # the colours in each long row
    forbidden, saturation = [0] * columns, [0] * columns
    colour = [-1] * columns
    queue = [(0, -size[j], j) for j in range(columns)]
    heapq.heapify(queue)
    while queue:
        rank, _, j = heapq.heappop(queue)
        if colour[j] >= 0 or rank != -saturation[j]:
            continue  # it has been coloured, or stands further on with another rank
        own = rows[starts[j] : starts[j + 1]]
        barred = forbidden[j]
        for i in own:
            barred |= taken[i]
        colour[j] = _first_free(barred)
        bit = 1 << colour[j]
        for i in own:
            if not short[i]:
                taken[i] |= bit
                continue
            for k in cols[firsts[i] : firsts[i + 1]]:
                if colour[k] < 0 and not forbidden[k] & bit:
                    forbidden[k] |= bit
                    saturation[k] += 1
                    heapq.heappush(queue, (-saturation[k], -size[k], k))
    return np.array(colour, np.int64)


def star_colours(pattern: Pattern) -> np.ndarray:
    """A colour for each column of a symmetric pattern.

    Where v has several neighbours of one colour, each of those must have no other neighbour of v's colour: then the
    derivative along v's colour has their entries apart. `lone` bars what would break that from the other side.
    """
    starts, indices = pattern.indptr.tolist(), pattern.indices.tolist()
    n = pattern.rows
    colour = [-1] * n
    seen = [0] * n  # the colours of each vertex's neighbours
    lone = [0] * n  # those of which it must keep the only neighbour it has
    count: list[dict[int, int]] = [{} for _ in range(n)]  # how many neighbours of each colour
    only: list[dict[int, int]] = [{} for _ in range(n)]  # the first of them
    for v in np.argsort(-np.diff(pattern.indptr), kind="stable").tolist():
        near = [w for w in indices[starts[v] : starts[v + 1]] if w != v]
        forbidden = 0
        for w in near:
            a = colour[w]
            if a >= 0:
                forbidden |= 1 << a | lone[w]
                if count[v][a] > 1:
                    forbidden |= seen[w]
        c = colour[v] = _first_free(forbidden)
        for w in near:
            known = count[w].get(c, 0)
            count[w][c] = known + 1
            seen[w] |= 1 << c
            if known == 0:
                only[w][c] = v
            if colour[w] >= 0:
                if count[v][colour[w]] > 1:
                    lone[w] |= 1 << c
                if known:
                    lone[only[w][c]] |= 1 << colour[w]
                    lone[v] |= 1 << colour[w]
    return np.array(colour, np.int64)


def _first_free(forbidden: int) -> int:
    return ((forbidden + 1) & ~forbidden).bit_length() - 1


def readable(pattern: Pattern, colour: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Which entries (row, col) of a symmetric pattern stand alone in the derivative along colour[col]; others do in that along
    colour[row], at col."""
    colours = int(colour.max(initial=0)) + 1
    found, counts = np.unique(pattern.row * colours + colour[pattern.indices], return_counts=True)
    alone: np.ndarray = counts[np.searchsorted(found, row * colours + colour[col])] == 1
    return alone
