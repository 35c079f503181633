"""The commands: each checks, calls and prints; typer reads its options from its parameters.

What a command calls is imported in its body, so that `emofuse --help` does not wait for it.
"""
