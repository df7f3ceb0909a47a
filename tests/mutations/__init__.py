"""Break modules of qbitsim on purpose, one small mutation at a time, and tell which breaks no test notices.

::

    python -m tests.mutations --limit 20 --seed 1
    python -m tests.mutations qbitsim/copying/block_copy.py --tests tests/copying tests/jobs

A mutation swaps comparisons (``<`` and ``<=``, ``==`` and ``!=``, ``is`` and ``is not``, ``in`` and ``not in``),
``and`` and ``or``, ``+`` and ``-``, ``True`` and ``False``, moves a number by one, turns a condition round, or removes
a statement. ``--limit`` of them are drawn of each module, the same ones for the same seed. Without names of modules,
they are those that dirty bitmaps and the copying of what is dirty are made of.

How it works: pytest collects the tests once. A first process runs them all and writes down how long each takes and
which statements of the modules it reaches. For each mutation another process puts the broken function in the place of
the real one and runs the tests that reach the statement, first those that noticed most up to then, then those in the
folder of the module, the quick ones before the slow ones, until the first failure or until they have taken ``--budget``
seconds. What runs once, when a module is imported, is broken while a process of its own imports everything. A test that
takes five times as long as without the mutation, and two seconds more, has noticed it, too.

What survives is printed with its place, what it was and what it became, then the share of each module that was noticed
and that of all; the exit status is 1 if anything survived. With some breaks the module cannot be imported: no test runs
then, so that they say nothing of the tests; they are counted apart and are no part of the share.

What no test can notice is no survivor, so nothing is mutated in annotations, docstrings, ``__slots__``, ``assert``,
``raise``, ``strict=`` of ``zip``, the deletion of a name, the lines of ``TYPE_CHECKING`` and ``__repr__``, nor is done
what :data:`SAME` names. A survivor asks for a test or for less code.
"""
