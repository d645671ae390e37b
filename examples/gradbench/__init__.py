"""The evals hello, llsq, lse, gmm, lstm and ba of the public benchmark GradBench, with gradients by gradgen.

    python -m examples.gradbench           the tool process: JSON messages on stdin, replies on stdout

Each module gives `FUNCTIONS`, which maps a function's name to `prepare(input) -> run`: what is parsed and compiled before the
clock starts, and a call without arguments that is timed.
"""
