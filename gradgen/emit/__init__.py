"""Printing: Functions and Kernels as source text.

names       one table of identifiers per file
printer     statements of a Function as Python expressions, single-use values folded in, precedence true
guards      under which conditions a statement is needed, for targets whose arithmetic raises
numpy       standalone modules: numpy and python targets;  lists: small arrays in the python target
parts, python_text, python_selftest   pieces of such a module
c, c_*      standalone .c and .h
header, selftest, layout              what files of all targets share
files       templates, and files written whole or not at all
"""
