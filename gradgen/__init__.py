"""gradgen: write a model once in plain NumPy; get the source of its gradient.

    fn = gg.compile(gg.value_and_grad(loss, wrt=("w", "b")), w="f64[d]", b="f64[]", X="f64[n,d]", y="f64[n]", target="c")

How the house is built, floor by floor; imports go one way, upwards:

    errors sites texts sizes types spelling options version written    what everything speaks in
    ir                                                   Op record, Node, Function, verifier
    value  operators  functions  selection  handle  inplace  scalars  cotangents  eager  ops/   Value, apply, arrays; the ops
    rewriting  cse  invariant  tree  graph  trace/  engine     front end; interpreter
    differentiate/  symbolic                             reverse, forward, batch, transforms; SymPy at the border
    passes/                                              Function -> Function
    lower/  cost                                         Function -> loop IR, and its passes; what both cost
    sparse/                                              Jacobians by their pattern, the cheapest way
    emit/                                                text
    toolchain  build  checking  quick  flat  runners  compiled  api  modules   callable
    cli  listing  drawing  nn  demo  chart               what stands on it
"""

from gradgen import nn
from gradgen import ops as _ops  # enters every op and NumPy function
from gradgen.api import check, compile
from gradgen.compiled import Compiled
from gradgen.differentiate.jacobians import value_and_jacobian, value_grad_hessian, vmap
from gradgen.differentiate.solvers import fixed_point, minimize, root
from gradgen.differentiate.transforms import grad, hvp, jvp, value_and_grad, vjp
from gradgen.errors import (
    BuildError,
    CheckError,
    EmitError,
    GradgenError,
    ShapeError,
    SpecError,
    TraceError,
    UnsupportedError,
)
from gradgen.functions import register
from gradgen.modules import Module, module
from gradgen.options import Options
from gradgen.sparse import Sparse, hessian, jacobian
from gradgen.symbolic import define, from_sympy
from gradgen.trace import comprehensions as _lists  # enters the hook of comprehensions
from gradgen.trace import loops as _loops  # enters the hooks of loops, and with them those of tests
from gradgen.trace import python_calls as _python_calls  # and of builtins
from gradgen.trace import reads as _reads  # and of keys, texts and identity
from gradgen.trace import ufunc_methods as _ufunc_methods  # and the methods of ufuncs
from gradgen.trace.calls import checkpoint, custom_jvp, custom_vjp, stop_gradient
from gradgen.trace.control import cond, fori_loop, map, scan, while_loop
from gradgen.trace.spec import spec, static
from gradgen.value import Value
from gradgen.version import VERSION as __version__

del _lists, _loops, _ops, _python_calls, _reads, _ufunc_methods
__all__ = [
    "BuildError",
    "CheckError",
    "Compiled",
    "EmitError",
    "GradgenError",
    "Module",
    "Options",
    "ShapeError",
    "Sparse",
    "SpecError",
    "TraceError",
    "UnsupportedError",
    "Value",
    "__version__",
    "check",
    "checkpoint",
    "compile",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "define",
    "fixed_point",
    "fori_loop",
    "from_sympy",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "map",
    "minimize",
    "module",
    "nn",
    "register",
    "root",
    "scan",
    "spec",
    "static",
    "stop_gradient",
    "value_and_grad",
    "value_and_jacobian",
    "value_grad_hessian",
    "vjp",
    "vmap",
    "while_loop",
]
