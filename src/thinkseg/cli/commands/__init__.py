"""One file per group of commands, one function per command.

A function's parameters declare its options, see `thinkseg.cli.declare`. It returns the exit status. Declaring must stay
cheap, so a function imports what it needs when it runs.
"""
