"""The page: a machine in the browser.  A thin server over one look at a time, and plain files that show its answers.

Nothing is known here that the rooms below do not say; nothing is written, neither to the machine nor to disk.
"""
