"""micrograd's README: two scalars through sums, products, powers and relu, in 50 nodes.

Prints g = 24.7041, dg/da = 138.8338, dg/db = 645.5773 from every engine.
"""

from engines import Answer, everywhere


def program(a, b):
    """An expression with no meaning, which uses each operator and reuses its own results."""
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    return g


def main() -> dict[str, Answer]:
    return everywhere(program, a=-4.0, b=2.0)


if __name__ == "__main__":
    main()
