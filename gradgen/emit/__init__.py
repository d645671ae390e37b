"""Printing: Functions and Kernels as source text.

names     one table of identifiers per file
printer   statements of a Function as Python expressions, single-use values folded in, precedence true
numpy     standalone module that imports numpy;  python: one that imports math
c         standalone .c and .h
files     templates, and files written whole or not at all
"""
