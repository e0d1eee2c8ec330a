"""The commands of the command line: one file for each group, one function for each command.

A file has `add_to`, which describes its commands to argparse and must stay cheap, and the functions that run them,
which take the parsed arguments and return the exit status. They import what they need when they run.
"""
