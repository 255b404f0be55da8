"""The proof: our MMU beside machines that no one here wrote, case by case.

A bare-metal probe (probe/) makes every access on the other machine; this package makes the page tables and the cases,
runs them there and here, and compares cause, tval, the frame reached, the value read and the PTEs afterwards.
"""
