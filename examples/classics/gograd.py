"""gograd, a scalar engine in Go: add, mul and pow, and the case that it cannot do.

pow is differentiated in its base and in its exponent: 8, 12, 5.5452 at (2, 3). gograd keeps a
neuron's partner in the neuron, so that one used in two operations forgets the first; here the
contributions of both uses add up.
"""

from engines import Answer, everywhere


def add(a, b):
    return a + b


def mul(a, b):
    return a * b


def power(base, exponent):
    return base**exponent


def reused(a, b):
    """`both` is used twice, and so is `a`: (a + b) a (a + b)."""
    both = a + b
    return (both * a) * both


def main() -> dict[str, dict[str, Answer]]:
    return {
        "add": everywhere(add, a=2.0, b=3.0),
        "mul": everywhere(mul, a=2.0, b=3.0),
        "power": everywhere(power, base=2.0, exponent=3.0),
        "reused": everywhere(reused, a=2.0, b=3.0),
    }


if __name__ == "__main__":
    main()
