"""Differentiation, Function to Function.

canonicalise   stability rewrites, before any derivative is taken
reverse        a Function and its cotangents: outputs and gradients
forward        a Function and its tangents
activity       what depends on what a derivative is taken by
adjoints       reverse mode of loops and branches; residuals: what of the forward half it keeps
tangents       forward mode of loops and branches
batch          a Function over a leading axis of some of its inputs
jacobians      vmap, jacobian, hessian: maps over items and over the directions of a basis
solvers        root, fixed_point, minimize, differentiated implicitly
transforms     grad, value_and_grad, vjp, jvp: functions in, functions out, nesting in any order
"""
