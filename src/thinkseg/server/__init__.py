"""The reward service: rewards of replies for trainers in other programs, with the ground truth and a tracker.

    requests    a request, checked, and the outcome of its replies
    questions   data sets to look questions up in
    scoring     replies to a prompt collected, scored and tracked together
    app         the HTTP interface

docs/export.md describes the protocol and how trainers use it.
"""
