"""Printing: Functions and Kernels as source text.

names       one table of identifiers per file
printer     statements of a Function as Python expressions, single-use values folded in, precedence true
guards      under which conditions a statement is needed, for targets whose arithmetic raises
entry       what a file is made of: one function, or several
numpy       one function of the numpy and python targets;  lists: small arrays in the python target
python_file, python_*, parts          the module around such functions, and its pieces
c, c_*      standalone .c and .h;  c_function: one function of them
header, selftest, layout              what files of all targets share
files       templates, and files written whole or not at all
"""
