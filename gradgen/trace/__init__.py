"""The front end: a user's function and specs in, a Function out.

rewrite   the AST-rewritten copy of a user function
hooks     what assignments, subscripts and calls in that copy do
spec      what an argument is: dtype, shape with symbolic sizes, static
reads     what looks at more than the number: keys, texts, identity, errors that are caught
stage     trace a function at types to a closed Function; inline a Function into the open trace
"""
