"""Models, vocabulary and helpers that the API and the workers share.

Its import sets the garbage collector: a process keeps the classes and functions of its modules, so
searching them after every 700 new objects, as is Python's default, finds nothing.
"""

import gc

gc.set_threshold(50_000, 20, 100)
