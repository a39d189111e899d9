"""The verbs of the command line, one module each, in the order in which `chatanyone --help` lists them.

A module has ``add(verbs)``, which declares the verb's options, and imports what it needs only when the verb runs, so that
`--help` answers at once. A new verb is a module here and its name in `VERBS`.
"""

VERBS: tuple[str, ...] = (
    "animate", "serve", "track", "edit", "plot", "convert", "style", "train", "export", "bench", "evaluate")
