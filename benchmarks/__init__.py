"""Side by side with the other libraries, on this machine: ``python -m benchmarks``, run from the repository's root.

Absolute times move from machine to machine and from hour to hour, so nothing is compared with a number from elsewhere.
Every contestant runs in a process of its own (``worker.py``), on the same cores, with the same number of threads.
Before anything is timed, all of them get the same weights and inputs, and what they compute is compared with minirnn's
plain equations in float64 (``agreement.py``); a contestant that disagrees is reported as WRONG, is not timed, and the
run exits 1.  Then they take turns (``race.py``): in each round every contestant is timed once, only one works at a
time (the others' processes are stopped, so that no idle thread of theirs spins), and ratios are taken within a round,
so that a machine that slows down slows all of them.

    cases.py      what is measured               peers/       one room for each library
    inputs.py     weights and inputs             worker.py    a contestant's process; server.py its answers
    agreement.py  who computes the right thing   channel.py   the parent's end of the line to it
    race.py       taking turns                   session.py   who is there, case after case
    results.py    what it came to                report.py    tables; picture.py a plot
    peak.py       the processor's limits         memory.py    growth of the resident set; machine.py the rest

Contestants with fewer bits, ``--narrow``, have bounds, ratios and a peak of their own: those that multiply in bfloat16
are compared with each other and with minirnn in float32, and their share is that of bfloat16's instruction.  Who asked
for fewer bits and got float32 takes no part.

Seconds inside, and in the JSON file; the tables say which unit they use.
"""
