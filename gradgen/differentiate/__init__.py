"""Differentiation, Function to Function.

canonicalise   stability rewrites, before any derivative is taken
reverse        a Function and its cotangents: outputs and gradients
forward        a Function and its tangents
transforms     grad, value_and_grad, vjp, jvp: functions in, functions out, nesting in any order
"""
